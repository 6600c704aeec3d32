"""The one place where async code calls a broker.

A call runs in a worker thread, shielded, with a deadline: a cancelled caller cannot leave a transition half done, and a broker
that does not answer cannot hold anybody for longer than `call_seconds`. What concurrent callers want of the same kind goes out
as one batch: the first caller takes along whatever others have added by then, and while its call is under way the next batch
gathers. A broker that never blocks (`memory:`) is called on the loop, so that a virtual clock stays exact.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from anyio import Event, move_on_after
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from ..errors import BrokerUnavailable, NotSupported
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
from ..model.listing import TransportQueue
from .lanes import Lane
from .patience import Patience
from .posting import HintPost
from .protocol import Broker, BrokerAdmin, HasTransport, Listener, ManagesQueues, Pushes, TakesMessages, step_of
from .threads import Call, Threads

CALL_SECONDS: Final = 10.0  # how long one call may take before it counts as lost
CLOSE_SECONDS: Final = 2.0
THREADS: Final = 8  # submit, claim, settle, outcomes, sweep, cancel and two for people; of the gateway's own

Item = TypeVar("Item")
Answer = TypeVar("Answer")
T = TypeVar("T")

_Cancel = tuple[str, str | None, bytes | None]  # job id, reason, owner


class Gateway:
    """A broker, for async code. Make it inside the event loop that uses it.

    Args:
        broker: Stays open; closing it is up to whoever opened it.
        call_seconds: The deadline of each call.

    Attributes:
        patience: A limit for all calls, for when the caller has to leave.
    """

    def __init__(self, broker: Broker, call_seconds: float = CALL_SECONDS) -> None:
        self.broker = broker
        self.call_seconds = call_seconds
        self.patience = Patience()
        self._threads = Threads(THREADS)
        self._submit: Lane[Submission, Receipt] = self._lane(broker.submit, "submit")
        self._outcomes: Lane[str, Stored | None] = self._lane(broker.outcomes, "outcomes")
        self._cancel: Lane[_Cancel, CancelAnswer] = self._lane(self._cancel_each, "cancel")
        self._late: dict[str, list[Call[Any]]] = {}  # method -> calls that outlived their deadline

    def with_patience(self, patience: Patience) -> Gateway:
        """Return this gateway for a caller with a limit of its own; `submit`, `outcomes` and `cancel` are for all alike."""
        view = copy.copy(self)
        view.patience = patience
        return view

    async def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        """Store jobs, together with those of concurrent callers. See `Broker.submit`."""
        return await self._gather(self._submit, self.broker.submit, jobs)

    async def wait_submitted(self) -> None:
        """Wait until no submission of this program is under way: what a caller left in the middle is decided then."""
        await self._submit.wait_quiet()

    async def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        """Look jobs up, together with those of concurrent callers. See `Broker.outcomes`."""
        return await self._gather(self._outcomes, self.broker.outcomes, ids)

    async def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        """Lease jobs. See `Broker.claim`."""
        return await self.call(self.broker.claim, queues, limit, worker, lease_seconds)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Record what happened. See `Broker.settle`."""
        return await self.call(self.broker.settle, settlements)

    async def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        """Cancel jobs, together with those of concurrent callers. See `Broker.cancel`."""
        return await self._gather(self._cancel, self._cancel_each, [(job_id, reason, owner) for job_id in ids])

    async def hold(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        """Prolong owners' leases, or let them go. See `Broker.hold`."""
        return await self.call(self.broker.hold, owners, lease_seconds)

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
            raise NotSupported(self.broker.name, "listings", step_of(self.broker))
        return self.broker

    @property
    def queue_admin(self) -> ManagesQueues:
        """The broker's side for queues that are things at a server; pass its methods to `call`.

        Raises:
            NotSupported: Its queues are none.
        """
        if not isinstance(self.broker, ManagesQueues):
            raise NotSupported(self.broker.name, "queues at a server: here a queue is nothing but its jobs")
        return self.broker

    @property
    def postbox(self) -> TakesMessages:
        """The broker's side for messages of other programs; pass its method to `call`.

        Raises:
            NotSupported: It has none.
        """
        if not isinstance(self.broker, TakesMessages):
            raise NotSupported(self.broker.name, "messages to send")
        return self.broker

    @property
    def has_only_messages(self) -> bool:
        """Whether nothing is known of jobs but the messages that wait in their queues."""
        return isinstance(self.broker, ManagesQueues) and not isinstance(self.broker, BrokerAdmin)

    async def transport_queue(self, queue: str) -> TransportQueue | None:
        """Return what the server that moves the messages knows of a queue; None: nothing, or there is no such server."""
        if not isinstance(self.broker, HasTransport):
            return None
        return await self.call(self.broker.transport_queue, queue)

    async def drop_messages(self, queue: str) -> int | None:
        """Delete the messages of a queue; None: there is no server with any."""
        if not isinstance(self.broker, ManagesQueues):
            return None
        return await self.call(self.broker.drop_messages, queue)

    async def call(self, method: Callable[..., T], *args: Any) -> T:
        """Make one blocking call to the broker.

        Raises:
            BrokerUnavailable: No answer came in time; whether the call took effect is unknown.

        Cancellation:
            Seen before the call starts; then the call goes to its end or its deadline, and its answer is returned.
        """
        await checkpoint_if_cancelled()
        if not self.broker.blocking:
            return await self._call_here(method, *args)
        name = method.__name__
        if self.patience.is_over:
            raise BrokerUnavailable(self.broker.name, f"there is no time left for {name}")
        if name in self._late:
            late = self._late[name] = [call for call in self._late[name] if call.is_busy]
            if late:  # one thread that hangs is enough
                raise BrokerUnavailable(self.broker.name, f"an earlier {name} has not returned yet")
        done = Event()
        call = Call(method, args, lambda _: done.set())
        self._threads.start(call)
        with self.patience.move_on_after(self.call_seconds):
            await done.wait()
        if call.ended:
            return call.result()
        self._threads.give_up(call)
        self._late.setdefault(name, []).append(call)
        raise BrokerUnavailable(self.broker.name, f"no answer to {name} within {self.call_seconds:g} s")

    async def _call_here(self, method: Callable[..., T], *args: Any) -> T:
        answer = method(*args)
        await cancel_shielded_checkpoint()
        return answer

    async def _gather(
        self, lane: Lane[Item, Answer], method: Callable[[Sequence[Item]], list[Answer]], items: Sequence[Item]
    ) -> list[Answer]:
        await checkpoint_if_cancelled()
        return await (lane.call(items) if self.broker.blocking else self._call_here(method, items))

    def _lane(self, method: Callable[[Sequence[Item]], list[Answer]], name: str) -> Lane[Item, Answer]:
        return Lane(
            method,
            self._threads,
            broker=self.broker.name,
            name=name,
            call_seconds=lambda: self.call_seconds,
            patience=self.patience,
        )

    def _cancel_each(self, wanted: Sequence[_Cancel]) -> list[CancelAnswer]:
        """Cancel jobs for several callers, one call for each reason and owner."""
        alike: dict[tuple[str | None, bytes | None], list[str]] = {}
        for job_id, reason, owner in wanted:
            alike.setdefault((reason, owner), []).append(job_id)
        answers: dict[_Cancel, CancelAnswer] = {}
        for (reason, owner), ids in alike.items():
            found = self.broker.cancel(ids, reason, owner)
            answers.update(zip(((job_id, reason, owner) for job_id in ids), found, strict=True))
        return [answers[each] for each in wanted]

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
            await self._close(listener)

    @asynccontextmanager
    async def feeding(self, queues: Sequence[str], slots: int) -> AsyncGenerator[None, None]:
        """Let a broker that brings work by itself know who wants it, while the context is open. See `Pushes`."""
        if not isinstance(self.broker, Pushes):
            yield
            return
        listener = await self.call(self.broker.feed, queues, slots)
        try:
            yield
        finally:
            await self._close(listener)

    async def _close(self, listener: Listener) -> None:
        # In a thread: close() waits for the listener's own thread, which may be waiting for something itself.
        with move_on_after(CLOSE_SECONDS, shield=True):
            if self.broker.blocking:
                closed = Event()
                self._threads.start(Call(listener.close, (), lambda _: closed.set()))
                await closed.wait()
            else:
                listener.close()
