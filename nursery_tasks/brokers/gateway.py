"""The one place where async code calls a broker.

A call is shielded, with a deadline: a cancelled caller cannot leave a transition half done, and a broker that does not answer
cannot hold anybody for longer than `call_seconds`. It runs in a worker thread, or the loop carries it to the server and back
where the broker has `steps` (`carrier/`). What concurrent callers want of the same kind goes out as one batch: one call of a
kind is under way, and what comes meanwhile shares the next (`loop/batcher.py`). A broker that never blocks (`memory:`) is
called on the loop, so that a virtual clock stays exact.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

from anyio import Event, move_on_after
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from ..errors import BrokerUnavailable
from ..loop.batcher import Batcher
from ..loop.deadline import CallDeadline
from ..loop.threads import Call
from ..model.delivery import (
    CancelAnswer,
    Delivery,
    Hint,
    Receipt,
    Released,
    Settlement,
    Stored,
    Submission,
    Swept,
    Topic,
)
from .carrier import Carrier
from .common.subscription import Listener
from .hint_relay import HintRelay
from .needed import admin_of
from .parts import Admin
from .protocol import Broker, is_of_an_item
from .steps import Request

CALL_SECONDS: Final = 10.0  # how long one call may take before it counts as lost
CLOSE_SECONDS: Final = 2.0

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
        deadline: A limit for all calls, for when the caller has to leave.
    """

    def __init__(self, broker: Broker, call_seconds: float = CALL_SECONDS) -> None:
        self.broker = broker
        self.call_seconds = call_seconds
        self.deadline = CallDeadline()
        self._carrier = Carrier(broker, lambda: self.call_seconds)
        self._carrier.add(self._cancel_each, self._cancel_request)
        self._submit: Batcher[Submission, Receipt] = self._batcher(broker.submit, "submit")
        self._outcomes: Batcher[str, Stored | None] = self._batcher(broker.outcomes, "outcomes")
        self._cancel: Batcher[_Cancel, CancelAnswer] = self._batcher(self._cancel_each, "cancel")
        self._late: dict[str, list[Call[Any]]] = {}  # method -> calls that outlived their deadline

    def with_deadline(self, deadline: CallDeadline) -> Gateway:
        """Return this gateway for a caller with a limit of its own; `submit`, `outcomes` and `cancel` are for all alike."""
        view = copy.copy(self)
        view.deadline = deadline
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

    async def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        """Lease jobs. See `Broker.claim`; a broker that parks nothing is given no names.

        What a claim brings after the caller has been told that it brings nothing is given back.
        """
        wanted = (queues, limit, worker, lease_seconds)
        if names and self.broker.parking is not None:
            return await self.call(self.broker.claim, *wanted, names, unclaimed=self._give_back)
        return await self.call(self.broker.claim, *wanted, unclaimed=self._give_back)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Record what happened. See `Broker.settle`."""
        return await self.call(self.broker.settle, settlements)

    async def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        """Cancel jobs, together with those of concurrent callers. See `Broker.cancel`."""
        return await self._gather(self._cancel, self._cancel_each, [(job_id, reason, owner) for job_id in ids])

    async def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        """Prolong owners' leases, or let them go. See `Broker.renew_owners`."""
        return await self.call(self.broker.renew_owners, owners, lease_seconds)

    async def sweep(self, limit: int) -> Swept:
        """Do what time has made necessary. See `Broker.sweep`."""
        return await self.call(self.broker.sweep, limit)

    def on_loop(self) -> AbstractAsyncContextManager[None]:
        """Have calls carried by this loop itself while the context is open, where the broker can; it owns a nursery."""
        return self._carrier.on_loop()

    def close(self) -> None:
        """End the threads. The broker stays open."""
        self._carrier.close()

    @property
    def admin(self) -> Admin:
        """The broker's side for people; pass its methods to `call`.

        Raises:
            NotSupported: It has none.
        """
        return admin_of(self.broker)

    async def call(self, method: Callable[..., T], *args: Any, unclaimed: Callable[[T], None] | None = None) -> T:
        """Make one blocking call to the broker.

        Args:
            unclaimed: Called on the loop with an answer that came after the call was given up, or its caller was gone.

        Raises:
            BrokerUnavailable: No answer came in time; whether the call took effect is unknown.

        Cancellation:
            Seen before the call starts; then the call goes to its end or its deadline, and its answer is returned.
        """
        await checkpoint_if_cancelled()
        if not self.broker.blocking:
            return await self._call_here(method, *args)
        name = method.__name__
        if self.deadline.is_over:
            raise BrokerUnavailable(self.broker.name, f"there is no time left for {name}")
        if name in self._late:
            late = self._late[name] = [call for call in self._late[name] if call.is_busy]
            if late:  # one thread that hangs is enough
                raise BrokerUnavailable(self.broker.name, f"an earlier {name} has not returned yet")
        done, left = Event(), False

        def end(ended: Call[T]) -> None:
            done.set()
            if unclaimed is not None and (left or ended.given_up) and ended.error is None:
                unclaimed(ended.answer)

        call = Call(method, args, end)
        self._carrier.start(call)
        try:
            with self.deadline.move_on_after(self.call_seconds):
                await done.wait()
        except BaseException:  # asyncio's own cancel knows no shield
            left = True
            if done.is_set():
                end(call)
            raise
        if not call.ended:
            self._carrier.give_up(call)
        if call.ended:
            return call.result()
        self._late.setdefault(name, []).append(call)
        raise BrokerUnavailable(self.broker.name, self.deadline.why_given_up(name, self.call_seconds))

    def _give_back(self, deliveries: list[Delivery]) -> None:
        """Give back what nobody here waits for any more; where that fails, too, it comes back when its leases are over."""
        if deliveries:
            self._carrier.start(Call(self.broker.settle, ([Released(each) for each in deliveries],), lambda _: None))

    def _let_go(self, listener: Listener) -> None:
        """Close a listener that nobody here waits for any more."""
        self._carrier.start(Call(listener.close, (), lambda _: None))

    async def _call_here(self, method: Callable[..., T], *args: Any) -> T:
        answer = method(*args)
        await cancel_shielded_checkpoint()
        return answer

    async def _gather(
        self, batcher: Batcher[Item, Answer], method: Callable[[Sequence[Item]], list[Answer]], items: Sequence[Item]
    ) -> list[Answer]:
        await checkpoint_if_cancelled()
        return await (batcher.call(items) if self.broker.blocking else self._call_here(method, items))

    def _batcher(self, method: Callable[[Sequence[Item]], list[Answer]], name: str) -> Batcher[Item, Answer]:
        return Batcher(
            method,
            self._carrier,
            broker=self.broker.name,
            name=name,
            call_seconds=lambda: self.call_seconds,
            deadline=self.deadline,
            is_of_an_item=is_of_an_item,
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

    def _cancel_request(self, args: tuple[Any, ...]) -> Request | None:
        """Encode such a cancel, where one call is enough."""
        [wanted] = args
        ids = [job_id for job_id, _, _ in wanted]
        alike = {(reason, owner) for _, reason, owner in wanted}
        return self._carrier.make(self.broker.cancel, (ids, *alike.pop())) if len(alike) == 1 else None

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
        relay = HintRelay(on_hint, is_wanted)
        listener = await self.call(self.broker.listen, topics, relay.emit, unclaimed=self._let_go)
        try:
            yield
        finally:
            await self._close(listener)

    @asynccontextmanager
    async def feeding(self, queues: Sequence[str], slots: int) -> AsyncGenerator[None, None]:
        """Let a broker that brings work by itself know who wants it, while the context is open. See `Prefetch`."""
        if self.broker.prefetch is None:
            yield
            return
        listener = await self.call(self.broker.prefetch.feed, queues, slots, unclaimed=self._let_go)
        try:
            yield
        finally:
            await self._close(listener)

    async def _close(self, listener: Listener) -> None:
        # In a thread: close() waits for the listener's own thread, which may be waiting for something itself.
        with move_on_after(CLOSE_SECONDS, shield=True):
            if self.broker.blocking:
                closed = Event()
                self._carrier.start(Call(listener.close, (), lambda _: closed.set()))
                await closed.wait()
            else:
                listener.close()
