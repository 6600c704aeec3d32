"""The one place where async code calls a broker.

A call runs in a worker thread, shielded, with a deadline: a cancelled caller cannot leave a transition half done, and a broker
that does not answer cannot hold anybody for longer than `call_seconds`. What concurrent callers want of the same kind goes out
as one batch: the first caller takes along whatever others have added by then, and while its call is under way the next batch
gathers. A broker that never blocks (`memory:`) is called on the loop, so that a virtual clock stays exact.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from anyio import CancelScope, Event, move_on_after
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from ..errors import BrokerError, BrokerUnavailable, NotSupported
from ..model.delivery import (
    CancelAnswer,
    Delivery,
    Hint,
    Receipt,
    Settlement,
    Stored,
    Submission,
    Swept,
    Topic,
)
from .posting import HintPost
from .protocol import Broker, BrokerAdmin
from .threads import Call, Threads

CALL_SECONDS: Final = 10.0  # how long one call may take before it counts as lost
CLOSE_SECONDS: Final = 2.0
THREADS: Final = 8  # submit, claim, settle, outcomes, sweep, cancel and two for people; of the gateway's own
BATCH_LIMIT: Final = 5_000  # items that concurrent callers put together; what comes on top begins the next batch

Item = TypeVar("Item")
Answer = TypeVar("Answer")
T = TypeVar("T")


class Gateway:
    """A broker, for async code. Make it inside the event loop that uses it.

    Args:
        broker: Stays open; closing it is up to whoever opened it.
        call_seconds: The deadline of each call.
    """

    def __init__(self, broker: Broker, call_seconds: float = CALL_SECONDS) -> None:
        self.broker = broker
        self.call_seconds = call_seconds
        self._threads = Threads(THREADS)
        self._submit: _Lane[Submission, Receipt] = _Lane(self, broker.submit)
        self._outcomes: _Lane[str, Stored | None] = _Lane(self, broker.outcomes)
        self._late: dict[str, list[Call[Any]]] = {}  # method -> calls that outlived their deadline

    async def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        """Store jobs, together with those of concurrent callers. See `Broker.submit`."""
        return await self._submit.call(jobs)

    async def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        """Look jobs up, together with those of concurrent callers. See `Broker.outcomes`."""
        return await self._outcomes.call(ids)

    async def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        """Lease jobs. See `Broker.claim`."""
        return await self.call(self.broker.claim, queues, limit, worker, lease_seconds)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Record what happened. See `Broker.settle`."""
        return await self.call(self.broker.settle, settlements)

    async def cancel(self, ids: Sequence[str], reason: str | None) -> list[CancelAnswer]:
        """Cancel jobs. See `Broker.cancel`."""
        return await self.call(self.broker.cancel, ids, reason)

    async def sweep(self, limit: int) -> Swept:
        """Do what time has made necessary. See `Broker.sweep`."""
        return await self.call(self.broker.sweep, limit)

    def close(self) -> None:
        """End the threads. The broker stays open."""
        self._threads.close()

    @property
    def admin(self) -> BrokerAdmin:
        """The broker's side for people; pass its methods to `call`.

        Raises:
            NotSupported: It has none.
        """
        if not isinstance(self.broker, BrokerAdmin):
            raise NotSupported(self.broker.name, "listings")
        return self.broker

    async def call(self, method: Callable[..., T], *args: Any) -> T:
        """Make one blocking call to the broker.

        Raises:
            BrokerUnavailable: No answer came in time; whether the call took effect is unknown.

        Cancellation:
            Seen before the call starts; then the call goes to its end or its deadline, and its answer is returned.
        """
        await checkpoint_if_cancelled()
        return await self.call_shielded(method, *args)

    async def call_shielded(self, method: Callable[..., T], *args: Any) -> T:
        """Do the same without looking at a cancellation first; for lanes, which have looked."""
        if not self.broker.blocking:
            answer = method(*args)
            await cancel_shielded_checkpoint()
            return answer
        name = method.__name__
        if name in self._late:
            late = self._late[name] = [call for call in self._late[name] if call.is_busy]
            if late:  # one thread that hangs is enough
                raise BrokerUnavailable(self.broker.name, f"an earlier {name} has not returned yet")
        call = Call(method, args)
        with move_on_after(self.call_seconds, shield=True):
            return await self._threads.make(call)
        self._late.setdefault(name, []).append(call)
        raise BrokerUnavailable(self.broker.name, f"no answer to {name} within {self.call_seconds:g} s")

    @asynccontextmanager
    async def listen(
        self,
        topics: Sequence[Topic],
        on_hint: Callable[[Topic, set[str] | None], None],
        is_wanted: Callable[[Hint], bool] | None = None,
    ) -> AsyncGenerator[None, None]:
        """Have *on_hint* called on the loop with a topic and names (None: anything) while the context is open.

        Args:
            is_wanted: Asked first, in the thread that brings the hint: is it of use to anybody here?
        """
        post = HintPost(on_hint, is_wanted)
        listener = await self.call(self.broker.listen, topics, post.emit)
        try:
            yield
        finally:
            # In a thread: close() waits for the listener's own thread, which may be waiting for something itself.
            with move_on_after(CLOSE_SECONDS, shield=True):
                if self.broker.blocking:
                    await self._threads.make(Call(listener.close, ()))
                else:
                    listener.close()


class _Batch(Generic[Item, Answer]):
    """Items that leave in one call. Whoever made the batch sends it and then sets `done`."""

    __slots__ = ("answers", "callers", "done", "error", "items")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.callers = 1
        self.answers: list[Answer] = []
        self.error: Exception | None = None
        self.done = Event()


class _Lane(Generic[Item, Answer]):
    """Calls of one kind, gathered: at most one is under way, and what comes meanwhile shares the next.

    `_gathering` is the batch that can still be added to. Its maker waits for the call before it (`_last`), sends it, and tells
    the others. All waiting is shielded and bounded by the gateway's deadline for the calls ahead.

    A broker takes a batch as a whole or not at all. When it refuses one for what is in it, each caller asks again alone: nobody
    fails because of somebody else's item.
    """

    def __init__(self, gateway: Gateway, method: Callable[[Sequence[Item]], list[Answer]]) -> None:
        self._gateway = gateway
        self._method = method
        self._gathering: _Batch[Item, Answer] | None = None
        self._last: Event | None = None  # set when the call under way has ended

    async def call(self, items: Sequence[Item]) -> list[Answer]:
        await checkpoint_if_cancelled()
        if not self._gateway.broker.blocking:
            return await self._gateway.call_shielded(self._method, items)
        batch, begin = self._gathering, 0
        if batch is None or len(batch.items) + len(items) > BATCH_LIMIT:
            batch = self._gathering = _Batch()
            batch.items.extend(items)
            await self._send(batch)
        else:
            begin = len(batch.items)
            batch.items.extend(items)
            batch.callers += 1
            with CancelScope(shield=True):  # bounded: there is a deadline for each of the calls ahead
                await batch.done.wait()
        if batch.error is None:
            return batch.answers[begin : begin + len(items)]
        if batch.callers > 1 and not isinstance(batch.error, BrokerError):
            return await self._gateway.call_shielded(self._method, items)
        raise batch.error

    async def _send(self, batch: _Batch[Item, Answer]) -> None:
        before, self._last = self._last, batch.done
        try:
            if before is not None:
                with CancelScope(shield=True):
                    await before.wait()
            if self._gathering is batch:
                self._gathering = None  # from here on a new batch gathers
            batch.answers = await self._gateway.call_shielded(self._method, batch.items)
        except Exception as error:
            batch.error = error
        except BaseException:  # such as Ctrl-C: it belongs to this caller, and the others only learn that there is no answer
            batch.error = BrokerUnavailable(self._gateway.broker.name, f"{self._method.__name__} was interrupted")
            raise
        finally:
            if self._gathering is batch:
                self._gathering = None
            if self._last is batch.done:
                self._last = None
            batch.done.set()
