"""How many jobs may run at once, and how many may start in a time: what a task declares, and the data that goes to brokers.

A rate is held by the *generic cell rate algorithm* (ITU-T I.371, annex A, and
https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm), which is a token bucket kept as one number: the moment `full_at` at
which the bucket would be full again. With `interval` seconds between two starts and a burst of b, a job may start at
`now` when `now >= full_at - (b - 1) * interval`; it then moves `full_at` to `max(full_at, now) + interval`. In any time
of length t at most `b + t / interval` jobs start.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from ..errors import InvalidOptions
from .keys import Key, Keyed

Excess = Literal["wait", "reject"]

MAX_LIMITS: Final = 8  # of one job
MAX_AT_ONCE: Final = 1_000_000
ORDER: Final = "order"  # the rule of limits that are turns
BURST_SECONDS: Final = 0.1  # what a rate lets start at once by default: one, and what so much time brings

_RATE: Final = re.compile(r"(\d{1,9})/(\d{0,6})(s|m|h|d)")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Limit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One limit of one job, as brokers get it.

    Attributes:
        name: What is counted together, whatever the job, task or queue.
        most: How many may be held by workers at once; 0: this is a rate.
        interval_seconds: Of a rate, the time between two claims.
        tolerance_seconds: Of a rate, by how much a claim may come before its time: (burst - 1) intervals.
        rejects: What finds no room is cancelled, instead of waiting.
        ordered: It is the turn of jobs with one ordering key, and the first limit of each: *most* is 1, those who wait stand in
            the order of submission, and the place is given back only when the job has ended.
    """

    name: str
    most: int = 0
    interval_seconds: float = 0.0
    tolerance_seconds: float = 0.0
    rejects: bool = False
    ordered: bool = False

    @property
    def rule(self) -> str:
        """What else tells two limits of the same name apart: jobs wait together only under the same rule. Has no space."""
        if self.ordered:
            return ORDER
        how = str(self.most) if self.most else f"{self.interval_seconds!r}/{self.tolerance_seconds!r}"
        return f"{how}!" if self.rejects else how

    def opens_at(self, full_at: float) -> float:
        """Of a rate, when the next claim may be."""
        return full_at - self.tolerance_seconds

    def full_after(self, full_at: float, now: float) -> float:
        """Of a rate, what `full_at` is after a claim."""
        return max(full_at, now) + self.interval_seconds


def gate_of(limit: Limit, queue: str) -> str:
    """Name the place where the jobs of a queue wait for a limit."""
    return f"{limit.rule} {queue} {limit.name}"


def no_room(name: str) -> str:
    """Say why a job was refused."""
    return f"there was no room in its limit {name}"


class _Declared(Keyed):
    """What the two kinds of limits have in common."""

    __slots__ = ("excess",)

    def __init__(self, name: str | None, key: Key | None, excess: Excess) -> None:
        if excess not in ("wait", "reject"):
            raise InvalidOptions("excess", excess, "'wait' or 'reject'")
        super().__init__(name, key)
        self.excess = excess

    def _facts(self) -> tuple[object, ...]:
        return *super()._facts(), self.excess

    def _shown(self) -> str:
        return super()._shown() + (f", excess={self.excess!r}" if self.excess != "wait" else "")


class Concurrency(_Declared):
    """Let at most *most* attempts run at once, across all workers of a broker.

        @app.task(limits=[Concurrency(3)])
        @app.task(limits=[Concurrency(1, key="{account}")])     # for each account
        @app.task(limits=[Concurrency(10, name="database")])    # all tasks with this name together

    What a worker holds counts, from its claim to its end, its retry or its release; a worker that dies gives back what it held
    when the lease is over.

    Args:
        most: How many.
        key: Jobs with different keys are counted apart: a template over the task's parameters, such as `"{user}"`, or a
            function that is called with the job's arguments. It is made when the job is submitted.
        name: What is counted together; default: the task's name.
        excess: `wait`: what is too much waits in the queue and lets others pass. `reject`: a job that a worker would
            take while there is no room is cancelled, and the reason says so.

    Raises:
        InvalidOptions: A value makes no sense.
    """

    __slots__ = ("most",)

    def __init__(self, most: int, *, key: Key | None = None, name: str | None = None, excess: Excess = "wait") -> None:
        if isinstance(most, bool) or not isinstance(cast("object", most), int) or not 1 <= most <= MAX_AT_ONCE:
            raise InvalidOptions("most", most, f"a whole number from 1 to {MAX_AT_ONCE:,}: how many may run at once")
        super().__init__(name, key, excess)
        self.most = most

    def __repr__(self) -> str:
        return f"Concurrency({self.most}{self._shown()})"

    def _facts(self) -> tuple[object, ...]:
        return self.most, *super()._facts()

    @property
    def kind(self) -> str:
        """What tells it apart from other limits of the same name."""
        return "concurrency"

    def for_job(
        self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> Limit:
        """Make the limit of one job; *bound* returns its arguments by name.

        Raises:
            InvalidOptions: The key cannot be made of these arguments.
        """
        return Limit(self.full_name(task, self.kind, args, kwargs, bound), most=self.most, rejects=self.excess == "reject")


class RateLimit(_Declared):
    """Let attempts start at a rate, across all workers of a broker and by its clock.

        @app.task(limits=[RateLimit("10/s")])
        @app.task(limits=[RateLimit("100/m", key="{user}"), RateLimit("1000/h")])

    Starts are spaced evenly: `"100/m"` lets one go each 0.6 s, and after a pause up to *burst* at once. Each attempt counts, a
    retry too; what counts is that a worker takes the job.

    Args:
        rate: A number, a slash, and a time: `s`, `m`, `h` or `d`, or several of one, as in `"5/10s"`.
        key, name, excess: As for `Concurrency`.
        burst: How many may start at once after a pause. Default: one, and for rates above one a second what a tenth of a second
            brings on top, so that the rate is kept although nobody looks at the very moment.

    Raises:
        InvalidOptions: A value makes no sense.
    """

    __slots__ = ("burst", "count", "period", "rate")

    def __init__(
        self, rate: str, *, key: Key | None = None, burst: int | None = None, name: str | None = None, excess: Excess = "wait"
    ) -> None:
        found = _RATE.fullmatch(rate) if isinstance(cast("object", rate), str) else None
        if found is None or int(found[1]) < 1 or (found[2] and int(found[2]) < 1):
            raise InvalidOptions("rate", rate, "a number and a time, such as '10/s', '100/m', '5/h' or '3/10s'")
        if burst is not None and (
            isinstance(burst, bool) or not isinstance(cast("object", burst), int) or not 1 <= burst <= MAX_AT_ONCE
        ):
            raise InvalidOptions("burst", burst, f"a whole number from 1 to {MAX_AT_ONCE:,}, or None")
        super().__init__(name, key, excess)
        self.rate, self.count = rate, int(found[1])
        self.period = found[2] + found[3]
        per_second = self.count / self.period_seconds
        self.burst = burst or (1 if per_second <= 1 else 1 + math.ceil(per_second * BURST_SECONDS))

    def __repr__(self) -> str:
        return f"RateLimit({self.rate!r}, burst={self.burst}{self._shown()})"

    def _facts(self) -> tuple[object, ...]:
        return self.rate, self.burst, *super()._facts()

    @property
    def period_seconds(self) -> float:
        """The time that the count is for."""
        return float(self.period[:-1] or 1) * _UNITS[self.period[-1]]

    @property
    def kind(self) -> str:
        """What tells it apart from other limits of the same name: a task may have one rate per period."""
        return f"rate/{self.period}"

    def for_job(
        self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> Limit:
        """Make the limit of one job; *bound* returns its arguments by name.

        Raises:
            InvalidOptions: The key cannot be made of these arguments.
        """
        interval = self.period_seconds / self.count
        return Limit(
            self.full_name(task, self.kind, args, kwargs, bound),
            interval_seconds=interval,
            tolerance_seconds=(self.burst - 1) * interval,
            rejects=self.excess == "reject",
        )


class OrderingKey(_Declared):
    """Let jobs of one key start one at a time, in the order of their submission, across all workers of a broker.

        @app.task(ordering_key="{account}")
        @app.task(ordering_key=OrderingKey("{account}", name="accounts"))    # in one order with other tasks that say this name

    The first of a key has its *turn*, and keeps it until it has ended: also while it waits for a retry, was given back, or its
    worker has died. All others of the key wait.

    Args:
        key: As for `Concurrency`.
        name: Keys of tasks with the same name are the same; default: the task's name.

    Raises:
        InvalidOptions: A value makes no sense.
    """

    __slots__ = ()

    def __init__(self, key: Key, *, name: str | None = None) -> None:
        if cast("object", key) is None:
            raise InvalidOptions("key", key, "a text such as '{account}', or a function of the job's arguments")
        super().__init__(name, key, "wait")

    def __repr__(self) -> str:
        return f"OrderingKey({self.key!r}{f', name={self.name!r}' if self.name is not None else ''})"

    @property
    def kind(self) -> str:
        """What tells it apart from other limits of the same name."""
        return ORDER

    def for_job(
        self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> Limit:
        """Make the limit of one job; *bound* returns its arguments by name.

        Raises:
            InvalidOptions: The key cannot be made of these arguments.
        """
        return Limit(self.full_name(task, self.kind, args, kwargs, bound), most=1, ordered=True)


AnyLimit = Concurrency | RateLimit


def check_ordering_key(option: str, value: object) -> OrderingKey | None:
    """Check `ordering_key=`: a template, a function, an `OrderingKey`, or None.

    Raises:
        InvalidOptions: It is something else.
    """
    if value is None or isinstance(value, OrderingKey):
        return value
    if isinstance(value, str) or callable(value):
        return OrderingKey(value)
    raise InvalidOptions(
        option, value, "a text such as '{account}', a function of the job's arguments, OrderingKey(...) or None"
    )


def check_limits(option: str, value: object) -> tuple[AnyLimit, ...]:
    """Check `limits=`: a list of limits, or one.

    Raises:
        InvalidOptions: It is something else, or two of them would be counted together.
    """
    given = [value] if isinstance(value, Concurrency | RateLimit) else value
    if not isinstance(given, list | tuple):
        raise InvalidOptions(option, value, "a list of Concurrency(...) and RateLimit(...)")
    limits: list[AnyLimit] = []
    for each in cast("Sequence[object]", given):
        if not isinstance(each, Concurrency | RateLimit):
            raise InvalidOptions(option, each, "a list of Concurrency(...) and RateLimit(...)")
        limits.append(each)
    if len(limits) > MAX_LIMITS:
        raise InvalidOptions(option, value, f"at most {MAX_LIMITS} limits")
    counted = [(limit.kind, limit.name, limit.key) for limit in limits]
    for place, each in enumerate(counted):
        if each in counted[:place]:
            raise InvalidOptions(
                option, limits[place], f"limits that are counted apart; {each[0]} occurs twice with this name and key"
            )
    return tuple(limits)


def limits_for_job(
    limits: Sequence[AnyLimit | OrderingKey],
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    bound: Callable[[], Mapping[str, Any]],
) -> tuple[Limit, ...]:
    """Make the limits of one job.

    Raises:
        InvalidOptions: A key cannot be made of its arguments, or two limits came out with the same name.
    """
    made = tuple(limit.for_job(task, args, kwargs, bound) for limit in limits)
    if len({limit.name for limit in made}) < len(made):
        raise InvalidOptions("limits", [limit.name for limit in made], f"limits with different names for each job of {task}")
    return made
