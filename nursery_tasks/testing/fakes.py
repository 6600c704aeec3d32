"""Fakes with hooks: a broker that fails, stalls or is only watched at the calls that a test chooses.

    broker = FaultyBroker(MemoryBroker())
    with app.use_broker(broker):
        async with app, app.open_worker():
            with broker.failing("settle"):
                ...  # outcomes cannot be stored here
            broker.fail("submit", times=1, effect=True)  # one answer gets lost on its way back
            stall = broker.stall("claim")  # the next claim hangs in its thread
            ...
            stall.release()

A broker in memory never blocks, so the gateway calls it on the event loop; with `threads=True` it is called in threads, like
a broker with a file or a socket, and only then may it stall.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, Final, TypeVar

from ..brokers.protocol import Broker, BrokerAdmin, BrokerLimits, BrokerLocks, Emit, Feature, Listener
from ..errors import BrokerUnavailable, NotSupported
from ..model.delivery import CancelAnswer, Delivery, Hint, Receipt, Renewal, Settlement, Stored, Submission, Swept, Topic
from ..model.listing import JobFilter, JobRecord, LimitRecord, LockRecord, QueueRecord, WorkerRecord
from ..model.states import JobState

T = TypeVar("T")

Hook = Callable[[tuple[Any, ...]], object]
MOST_SECONDS: Final = 30.0  # a stall that a test forgot to release ends by itself


class Stall:
    """One call that hangs in its thread."""

    def __init__(self) -> None:
        self._reached = Event()
        self._released = Event()

    @property
    def reached(self) -> bool:
        """Whether a call hangs here, or has."""
        return self._reached.is_set()

    def release(self) -> None:
        """Let it go on."""
        self._released.set()

    def wait_until_reached(self, timeout: float = MOST_SECONDS) -> bool:
        """Wait, in a thread, until a call hangs; False: none came in time."""
        return self._reached.wait(timeout)

    def __call__(self, args: tuple[Any, ...]) -> None:
        self._reached.set()
        self._released.wait(MOST_SECONDS)


class FaultyBroker:
    """A broker around a real one, which does the work.

    Args:
        broker: The real one. Closing this one closes it.
        threads: Have it called in threads; None: as the real one wants it.

    Attributes:
        calls: How often each method was called.
        hints: False: no hint gets through any more, so that only polling is left.
    """

    def __init__(self, broker: Broker, *, threads: bool | None = None) -> None:
        self.name = broker.name
        self.blocking = broker.blocking if threads is None else threads
        self.features: frozenset[Feature] = broker.features
        self.calls: Counter[str] = Counter()
        self.hints = True
        self._broker = broker
        self._lock = Lock()
        self._before: list[tuple[str, Hook]] = []
        self._after: list[tuple[str, Hook]] = []

    # --- what a test says ----------------------------------------------------------------------------------------------------

    def before(self, method: str, hook: Hook) -> Callable[[], None]:
        """Call *hook* with the arguments of each call of *method*, before the call; returns a function that ends it.

        What the hook raises, the call raises, and it has no effect then.
        """
        return self._add(self._before, method, hook)

    def after(self, method: str, hook: Hook) -> Callable[[], None]:
        """Do the same after the call: what the hook raises, the call raises, though it took effect."""
        return self._add(self._after, method, hook)

    def fail(
        self, *methods: str, error: Exception | None = None, times: int | None = None, effect: bool = False
    ) -> Callable[[], None]:
        """Let calls fail; returns a function that ends it.

        Args:
            methods: Which ones.
            error: What they raise; default: `BrokerUnavailable`.
            times: How many calls of each; None: all, until it is ended.
            effect: Let the call take effect first, so that only its answer is lost.
        """
        problem = BrokerUnavailable(self.name, "out of order, says the test") if error is None else error
        enders: list[Callable[[], None]] = []
        for method in methods:
            failing = _Failing(problem, times)
            enders.append(self.after(method, failing) if effect else self.before(method, failing))

        def end() -> None:
            for ender in enders:
                ender()

        return end

    @contextmanager
    def failing(self, *methods: str, error: Exception | None = None, effect: bool = False) -> Generator[None, None, None]:
        """Let calls fail while the context is open. See `fail`."""
        end = self.fail(*methods, error=error, effect=effect)
        try:
            yield
        finally:
            end()

    def stall(self, method: str, *, effect: bool = False) -> Stall:
        """Let the next call of *method* hang until it is released; with *effect*, after it has taken effect."""
        if not self.blocking:
            raise ValueError("a broker that is called on the event loop must not stall: FaultyBroker(..., threads=True)")
        stall = Stall()

        def once(args: tuple[Any, ...]) -> None:
            end()
            stall(args)

        end = self.after(method, once) if effect else self.before(method, once)
        return stall

    def _add(self, hooks: list[tuple[str, Hook]], method: str, hook: Hook) -> Callable[[], None]:
        entry = (method, hook)
        with self._lock:
            hooks.append(entry)

        def remove() -> None:
            with self._lock:
                if entry in hooks:
                    hooks.remove(entry)

        return remove

    def _call(self, name: str, method: Callable[..., T], *args: Any) -> T:
        with self._lock:
            self.calls[name] += 1
            before = [hook for wanted, hook in self._before if wanted == name]
        for hook in before:
            hook(args)
        answer = method(*args)
        with self._lock:
            after = [hook for wanted, hook in self._after if wanted == name]
        for hook in after:
            hook(args)
        return answer

    # --- Broker --------------------------------------------------------------------------------------------------------------

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        return self._call("submit", self._broker.submit, jobs)

    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        return self._call("claim", self._broker.claim, queues, limit, worker, lease_seconds)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return self._call("settle", self._broker.settle, settlements)

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        return self._call("renew", self._broker.renew, deliveries, lease_seconds)

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        return self._call("cancel", self._broker.cancel, ids, reason, owner)

    def hold(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        return self._call("hold", self._broker.hold, owners, lease_seconds)

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        return self._call("outcomes", self._broker.outcomes, ids)

    def sweep(self, limit: int) -> Swept:
        return self._call("sweep", self._broker.sweep, limit)

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        def tell(hint: Hint) -> None:
            if self.hints:
                emit(hint)

        return self._call("listen", self._broker.listen, topics, tell)

    def close(self) -> None:
        self._call("close", self._broker.close)

    # --- BrokerAdmin ---------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRecord | None:
        return self._call("job", self._admin.job, job_id)

    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        return self._call("jobs", self._admin.jobs, wanted, limit, after, newest_first)

    def queues(self) -> list[QueueRecord]:
        return self._call("queues", self._admin.queues)

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        return self._call("purge", self._admin.purge, queue, states, limit)

    def pause(self, queue: str) -> None:
        self._call("pause", self._admin.pause, queue)

    def resume(self, queue: str) -> None:
        self._call("resume", self._admin.resume, queue)

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        return self._call("requeue", self._admin.requeue, ids)

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        self._call("beat", self._admin.beat, worker, ttl_seconds)

    def workers(self) -> list[WorkerRecord]:
        return self._call("workers", self._admin.workers)

    # --- BrokerLimits and BrokerLocks ----------------------------------------------------------------------------------------

    def limits(self, limit: int) -> list[LimitRecord]:
        if not isinstance(self._broker, BrokerLimits):
            raise NotSupported(self.name, Feature.LIMITS)
        return self._call("limits", self._broker.limits, limit)

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        return self._call("lock", self._locks.lock, name, holder, lease_seconds, wait)

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        return self._call("relock", self._locks.relock, holds, lease_seconds)

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        return self._call("unlock", self._locks.unlock, holds)

    def locks(self, limit: int) -> list[LockRecord]:
        return self._call("locks", self._locks.locks, limit)

    @property
    def _locks(self) -> BrokerLocks:
        if not isinstance(self._broker, BrokerLocks):
            raise NotSupported(self.name, Feature.LOCKS)
        return self._broker

    @property
    def _admin(self) -> BrokerAdmin:
        if not isinstance(self._broker, BrokerAdmin):
            raise NotSupported(self.name, "listings")
        return self._broker


class _Failing:
    def __init__(self, error: Exception, times: int | None) -> None:
        self._error, self._left = error, times

    def __call__(self, args: tuple[Any, ...]) -> None:
        if self._left == 0:
            return
        if self._left is not None:
            self._left -= 1
        raise self._error
