"""The server, for a broker whose messages are the jobs: what `Transport` has, and the box, the ladder and the marks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from ....errors import BrokerError, BrokerUnavailable, BrokerUnreachable
from ..address import Place
from ..failures import DriverError
from ..portal import LinkLost, guarded
from ..sending import Letter
from ..transport import Transport
from .box import Box
from .ladder import Ladder
from .owners import Owners
from .places import BareAddress
from .returned import Returned, WholeShelf
from .suspects import Suspects
from .words import Word

PAUSE_SECONDS: Final = 0.05


class BareTransport(Transport):
    """All that the broker without a store wants of RabbitMQ.

    Args:
        on_arrival, on_back: As those of `Transport`.
        on_word: Called, in the portal's thread, with what other processes say.
        on_open: Called there when the box was opened.
        on_lost: Called there when the messages that were delivered here are the server's again.
        boxes: Gives the boxes of those who await what is held here; any thread.
        on_gone: Called there with a box that nobody reads any more.

    Raises:
        BrokerUnreachable: The server cannot be used.
    """

    def __init__(
        self,
        address: BareAddress,
        on_arrival: Callable[[str], None],
        on_back: Callable[[], None],
        *,
        on_word: Callable[[Word], None],
        on_open: Callable[[], None],
        on_lost: Callable[[], None],
        boxes: Callable[[], Iterable[str]],
        on_gone: Callable[[str], None],
    ) -> None:
        self.places = address
        self._box = Box(address, on_word, on_open)
        self.returned = Returned()
        self._on_lost = on_lost
        self._boxes, self._on_gone = boxes, on_gone
        self._posted: set[asyncio.Future[Any]] = set()
        super().__init__(address, on_arrival, on_back)

    @property
    def box(self) -> str:
        """The name of this process's box."""
        return self._box.name

    def publish(self, letters: Sequence[Letter]) -> None:
        """Publish letters to what is there; on return the server has them.

        Raises:
            BrokerUnavailable: Unknown how many it has.
        """
        self.call(lambda: self._sender.publish(letters))

    def post(self, letters: Sequence[Letter]) -> None:
        """Publish letters soon, in the portal's thread; nobody hears whether that worked."""

        async def post() -> None:
            with suppress(BrokerError, LinkLost, *DriverError):
                await guarded(self._sender.publish(letters), self.address.timeout_seconds)

        task = asyncio.ensure_future(post())
        self._posted.add(task)
        task.add_done_callback(self._posted.discard)

    def delay(self, place: Place, letters: Sequence[tuple[Letter, float]]) -> None:
        """Publish letters that come to a place after so many seconds."""
        self.call(lambda: self._ladder.send(place, letters))

    def declare(self, places: Sequence[Place]) -> None:
        """Declare queues, so that the server can put something there itself."""
        self.send([(place, []) for place in places])

    def crashes(self, ids: Sequence[str]) -> list[int]:
        """Return how many workers have died while they ran each of these jobs."""
        return self.call(lambda: self._suspects.count(ids))

    def mark_starts(self, ids: Sequence[str]) -> None:
        """Write down that these jobs start."""
        self.call(lambda: self._suspects.mark(ids))

    def take_marks(self, ids: Sequence[str]) -> None:
        """Take one such mark of each back."""
        self.call(lambda: self._suspects.unmark(ids))

    def clear_marks(self, ids: Sequence[str]) -> None:
        """Forget all marks of these jobs."""
        self.call(lambda: self._suspects.clear(ids))

    def gone(self, boxes: Iterable[str]) -> set[str]:
        """Return which of these boxes are gone; those that were there a moment ago are not asked again."""
        unknown = [box for box in boxes if not self._owners.is_known(box)]
        return self.call(lambda: self._owners.look(unknown)) if unknown else set()

    def join(self) -> None:
        """Open the box: from now on this process hears the others, and may be told things.

        Raises:
            BrokerUnreachable: That failed; everything is closed.
        """
        try:
            self.call(self._join)
        except BaseException as error:
            self.close()
            if isinstance(error, BrokerUnavailable):
                raise BrokerUnreachable(error.broker, error.problem, error.step) from error
            raise

    async def _join(self) -> None:
        for keep in (self._box.line.keep, self._owners.keep, self._watch):
            self._portal.start(keep)
        await self._box.line.channel(at_once=True)

    async def _begin(self) -> None:
        await super()._begin()
        self._receiver.shelf = WholeShelf(self.returned)
        assert isinstance(self.address, BareAddress)
        self._ladder = Ladder(self.address, self._out, self._sender)
        self._suspects = Suspects(self.address.prefix, self._out, self._sender)
        self._owners = Owners(self._out, self._boxes, self._on_gone)

    async def _end(self) -> None:
        line = self._box.line
        with suppress(BrokerError, LinkLost, *DriverError):
            if line.current is not None:
                async with line.scratch() as channel:
                    await channel.queue_delete(self.box)
        with suppress(LinkLost, *DriverError):
            await line.end()
        await super()._end()

    async def _watch(self) -> None:
        """Tell when the line on which messages come has broken, until cancelled."""
        line = self._receiver.line
        while True:
            channel: Any = line.current
            if channel is None:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            closing: asyncio.Future[Any] = channel.closing
            await asyncio.wait({closing})
            closing.cancel()
            self._on_lost()
            while line.current is channel:  # noqa: ASYNC110 - the line has no event for it
                await asyncio.sleep(PAUSE_SECONDS)


def now() -> float:
    """Tell the time that goes with a job, in epoch seconds: on whichever machine the program is."""
    return time.time()
