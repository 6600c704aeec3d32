"""What the suite needs to know of a broker, and how one check is described and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from ...brokers.parts import (
    Admin,
    Ends,
    EventLog,
    Facts,
    Limits,
    Locks,
    Outbox,
    Parking,
    Pauses,
    Prefetch,
    Replies,
    Schedules,
    States,
)
from ...brokers.protocol import Broker, Feature
from ...brokers.server import Postbox, Queues


class Part(StrEnum):
    """The parts of a broker, each by the name of its attribute."""

    ADMIN = "admin"
    LIMITS = "limits"
    LOCKS = "locks"
    REPLIES = "replies"
    OUTBOX = "outbox"
    STATES = "states"
    PARKING = "parking"
    PAUSES = "pauses"
    PREFETCH = "prefetch"
    FACTS = "facts"
    QUEUES = "queues"
    POSTBOX = "postbox"
    SCHEDULES = "schedules"
    EVENT_LOG = "event_log"
    ENDS = "ends"


PROTOCOLS: Final[dict[Part, type]] = {
    Part.ADMIN: Admin,
    Part.LIMITS: Limits,
    Part.LOCKS: Locks,
    Part.REPLIES: Replies,
    Part.OUTBOX: Outbox,
    Part.STATES: States,
    Part.PARKING: Parking,
    Part.PAUSES: Pauses,
    Part.PREFETCH: Prefetch,
    Part.FACTS: Facts,
    Part.QUEUES: Queues,
    Part.POSTBOX: Postbox,
    Part.SCHEDULES: Schedules,
    Part.EVENT_LOG: EventLog,
    Part.ENDS: Ends,
}

Ability: TypeAlias = "Feature | Part"


def abilities_of(broker: Broker) -> frozenset[Ability]:
    """Return what a broker can do beyond the least: the features that it declares, and the parts that it has."""
    return broker.features | {part for part in Part if getattr(broker, part) is not None}


class ContractClock(Protocol):
    """A clock that only moves when it is told to. The broker under test reads it."""

    def __call__(self) -> float:
        """Tell the time in epoch seconds."""
        ...

    def advance(self, seconds: float) -> None:
        """Move on."""


class ManualClock:
    """The clock for brokers that take one as a function."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class ContractHarness:
    """One empty broker for one check.

    Args:
        opener: Opens the broker. Called again, it opens the same storage once more: after a close where the broker is
            durable, at the same time where it is shared.
        clock: The clock that the broker reads; None: it has no clock that a test can move, and the checks of what time
            does are left out.
        clean_up: Removes what the brokers left behind, after all of them were closed.
        hint_seconds: How long a hint may take to arrive.
    """

    def __init__(
        self,
        opener: Callable[[], Broker],
        *,
        clock: ContractClock | None = None,
        clean_up: Callable[[], None] | None = None,
        hint_seconds: float = 5.0,
    ) -> None:
        self._opener, self._clock, self._clean_up = opener, clock, clean_up
        self._opened: list[Broker] = []
        self.hint_seconds = hint_seconds

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the broker can do. See `abilities_of`."""
        return abilities_of(self._opened[0] if self._opened else self.open())

    @property
    def has_clock(self) -> bool:
        return self._clock is not None

    def open(self) -> Broker:
        """Open the broker, empty when it is the first of this harness; the harness closes it."""
        broker = self._opener()
        self._opened.append(broker)
        return broker

    def reopen(self) -> Broker:
        """Close all and open the same storage again."""
        for broker in self._opened:
            broker.close()
        return self.open()

    def now(self) -> float:
        """Tell the time on the broker's clock."""
        return self._needed_clock()()

    def advance(self, seconds: float) -> None:
        """Let time pass on the broker's clock."""
        self._needed_clock().advance(seconds)

    def close(self) -> None:
        """Close what was opened and clean up."""
        for broker in self._opened:
            broker.close()
        if self._clean_up is not None:
            self._clean_up()

    def _needed_clock(self) -> ContractClock:
        if self._clock is None:
            raise RuntimeError("this check moves the clock and did not say so: declare it with clock=True")
        return self._clock


Run = Callable[[ContractHarness], None]


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence of the contract.

    Attributes:
        topic, name: Where the check stands; together they are unique.
        sentence: What every broker does that has what the check needs.
        needs: The features and parts without which the sentence says nothing.
        clock: Whether it lets time pass.
        run: Raises `AssertionError` where the sentence does not hold.
    """

    topic: str
    name: str
    sentence: str
    needs: frozenset[Ability]
    clock: bool
    run: Run

    def why_not(self, harness: ContractHarness) -> str | None:
        """Say why the check does not apply; None: it does."""
        missing = sorted(self.needs - harness.abilities)
        if missing:
            return f"the broker has no {', no '.join(missing)}"
        if self.clock and not harness.has_clock:
            return "the broker has no clock that a test can move"
        return None


class Topic:
    """The checks of one module, in the order in which they stand there."""

    def __init__(self, name: str, *needs: Ability) -> None:
        self.name = name
        self.checks: list[Check] = []
        self._needs = frozenset(needs)  # by every check of the topic

    def check(self, *needs: Ability, clock: bool = False) -> Callable[[Run], Run]:
        """Make the decorated function a check; its docstring is the sentence."""

        def add(run: Run) -> Run:
            sentence = (run.__doc__ or "").strip().splitlines()[0].rstrip(".")
            self.checks.append(Check(self.name, run.__name__, sentence, self._needs | set(needs), clock, run))
            return run

        return add
