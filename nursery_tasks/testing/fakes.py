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
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from threading import Event, Lock
from typing import Any, Final, TypeVar, cast

from ..brokers.protocol import Broker, Emit, Listener
from ..errors import BrokerUnavailable
from ..model.delivery import CancelAnswer, Delivery, Hint, Receipt, Renewal, Settlement, Stored, Submission, Swept, Topic

T = TypeVar("T")
Part = TypeVar("Part")

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


class FaultyBroker(Broker):
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
        self.features = broker.features
        self.place, self.step, self.look_seconds = broker.place, broker.step, broker.look_seconds
        self.calls: Counter[str] = Counter()
        self.hints = True
        self._broker = broker
        self._lock = Lock()
        self._before: list[tuple[str, Hook]] = []
        self._after: list[tuple[str, Hook]] = []
        self.admin = self._watched(broker.admin)
        self.limits = self._watched(broker.limits)
        self.locks = self._watched(broker.locks)
        self.replies = self._watched(broker.replies)
        self.outbox = self._watched(broker.outbox)
        self.states = self._watched(broker.states)
        self.parking = self._watched(broker.parking)
        self.prefetch = self._watched(broker.prefetch)
        self.schedules = self._watched(broker.schedules)
        self.event_log = self._watched(broker.event_log)
        self.ends = broker.ends
        self.facts = self._watched(broker.facts)
        self.queues = self._watched(broker.queues)
        self.postbox = self._watched(broker.postbox)

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

    def _watched(self, part: Part) -> Part:
        return part if part is None else cast(Part, _Watched(part, self._call))

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

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        what = (queues, limit, worker, lease_seconds, *([names] if names else []))
        return self._call("claim", self._broker.claim, *what)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return self._call("settle", self._broker.settle, settlements)

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        return self._call("renew", self._broker.renew, deliveries, lease_seconds)

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        return self._call("cancel", self._broker.cancel, ids, reason, owner)

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        return self._call("renew_owners", self._broker.renew_owners, owners, lease_seconds)

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


class _Watched:
    """A part of a broker, each of whose calls goes through the hooks, by the name of its method."""

    def __init__(self, part: object, call: Callable[..., Any]) -> None:
        self._part, self._call = part, call

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        @wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, partial(method, **kwargs), *args)

        return watched


class _Failing:
    def __init__(self, error: Exception, times: int | None) -> None:
        self._error, self._left = error, times

    def __call__(self, args: tuple[Any, ...]) -> None:
        if self._left == 0:
            return
        if self._left is not None:
            self._left -= 1
        raise self._error
