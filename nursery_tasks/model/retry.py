"""When a failed attempt is followed by another one.

The waits are exponential with full jitter: before attempt n + 1 a job waits a random time between nothing and
`base * factor ** (n - 1)`, capped. Full jitter spreads a thundering herd best for the least total work, see
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. The random number comes in as an argument, so that
everything here is a pure function.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final, cast

import msgspec

from ..errors import InvalidOptions
from .duration import Duration, to_seconds

ATTEMPTS: Final = 5
BASE_SECONDS: Final = 1.0
CAP_SECONDS: Final = 600.0
UNLIMITED_WAIT_SECONDS: Final = 0.1  # the least between attempts without an end: a job must not spin


class Backoff(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long to wait between attempts.

    Args:
        base: The wait after the first attempt, in seconds.
        factor: What each further wait is multiplied by.
        cap: No wait is longer than this, in seconds.
        jitter: Take a random time between nothing and the wait (full jitter), so that many jobs that failed together do not
            come back together.

    Raises:
        InvalidOptions: A number is negative or not finite.
    """

    base: float = BASE_SECONDS
    factor: float = 2.0
    cap: float = CAP_SECONDS
    jitter: bool = True

    def __post_init__(self) -> None:
        to_seconds("base", self.base)
        to_seconds("cap", self.cap)
        if not 0 <= self.factor < math.inf:
            raise InvalidOptions("factor", self.factor, "a number, 0 or more")

    def wait_seconds(self, attempt: int, fraction: float) -> float:
        """Compute the wait after attempt number *attempt* (from 1); *fraction* is a random number in [0, 1)."""
        try:
            full = min(self.cap, self.base * self.factor ** (attempt - 1))
        except OverflowError:  # attempt 2000 of an unlimited retry
            full = self.cap
        return full * fraction if self.jitter else full


class Fixed(msgspec.Struct, frozen=True):
    """The waits, in seconds, one after the other; the last one repeats."""

    seconds: tuple[float, ...]

    def wait_seconds(self, attempt: int, fraction: float) -> float:
        """Return the wait after attempt number *attempt* (from 1)."""
        return self.seconds[min(attempt, len(self.seconds)) - 1]


Wait = Duration | Sequence[Duration] | Backoff
ErrorClasses = type[BaseException] | Sequence[type[BaseException]]


class Retry(Exception):
    """Run a job again after an attempt that failed; a policy for a task, or an exception that a task raises itself.

    As a policy: `@app.task(retry=Retry(5, on=(OSError,)))`. Inside a task: `raise Retry(wait=30)` runs the job again in 30 s,
    as long as the policy's attempts (or the default number, where the task has none) are not used up.

    Args:
        attempts: How many times in all, the first one included; None goes on for ever.
        on: Retry only after these errors. Left out: after any `Exception`. A group is retried when all its members match.
        never: Errors that always end the job, also where *on* would match.
        wait: Seconds (or a timedelta), a sequence of them, or a `Backoff`. Default: 1 s, doubled each time, at most 10
            minutes, with full jitter.
    """

    def __init__(
        self,
        attempts: int | None = ATTEMPTS,
        *,
        on: ErrorClasses | None = None,
        never: ErrorClasses = (),
        wait: Wait | None = None,
    ) -> None:
        super().__init__()
        if attempts is not None and (isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1):
            raise InvalidOptions("attempts", attempts, "1 or more, or None for no limit")
        self.attempts = attempts
        self.classes = (*_as_classes("on", on or ()), *_as_classes("never", never))  # an app registers them for its callers
        self.on = None if on is None else tuple(map(qualified_name, _as_classes("on", on)))
        self.never = tuple(map(qualified_name, _as_classes("never", never)))
        if self.on is not None and not self.on:
            raise InvalidOptions("on", on, "at least one exception class; leave it out to retry after any")
        self.wait = to_wait(wait)
        if attempts is None and _least_wait(self.wait) < UNLIMITED_WAIT_SECONDS:
            expected = (
                f"{UNLIMITED_WAIT_SECONDS:g} s or more in the long run, for attempts=None would go on for ever without a rest"
            )
            raise InvalidOptions("wait", wait, expected)
        self.wait_given = wait is not None

    def __str__(self) -> str:
        limit = "without limit" if self.attempts is None else f"up to {self.attempts} attempts"
        return f"retry {limit}"

    def to_rule(self) -> RetryRule:
        """Return the policy as plain data that can travel."""
        wait = self.wait
        waits = None if isinstance(wait, Backoff) else wait.seconds
        return RetryRule(self.attempts, self.on, self.never, wait if isinstance(wait, Backoff) else None, waits)


class RetryRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A retry policy as it travels: exception classes are names, matched against the whole ancestry of what was raised.

    Raises:
        InvalidOptions: A number makes no sense. Messages come from anybody, and a worker finds out while it decodes them.
    """

    attempts: int | None = ATTEMPTS
    on: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()
    backoff: Backoff | None = None
    waits: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise InvalidOptions("attempts", self.attempts, "1 or more, or None for no limit")
        if self.waits is not None:
            to_wait(self.waits)

    def matches(self, error: BaseException) -> bool:
        """Say whether *error* is one to retry after; a group is when each of its leaves is."""
        members = members_of(error)
        if members and not self._names_group(error):
            return all(self.matches(member) for member in members)
        names = ancestry(type(error))
        if not names.isdisjoint(self.never):
            return False
        return isinstance(error, Exception) if self.on is None else not names.isdisjoint(self.on)

    def wait_seconds(self, attempt: int, fraction: float) -> float:
        """Compute the wait after attempt number *attempt* (from 1); *fraction* is a random number in [0, 1)."""
        if self.waits is not None:
            return Fixed(self.waits).wait_seconds(attempt, fraction)
        return (self.backoff or Backoff()).wait_seconds(attempt, fraction)

    def allows(self, attempt: int) -> bool:
        """Say whether another attempt may follow number *attempt*."""
        return self.attempts is None or attempt < self.attempts

    def _names_group(self, error: BaseException) -> bool:
        return not (ancestry(type(error)) - _COMMON).isdisjoint((*(self.on or ()), *self.never))


def asked_retry(error: BaseException) -> Retry | None:
    """Return the `Retry` that a handler raised, itself or alone in a group: in a child of its own nursery."""
    while len(members := members_of(error)) == 1:
        error = members[0]
    return error if isinstance(error, Retry) else None


def told_by(error: Retry) -> BaseException:
    """Return what a `Retry` was raised from: where no attempt follows, that says more."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__) or error


def _least_wait(wait: Backoff | Fixed) -> float:
    """Return the wait, before jitter, that all later ones reach or surpass."""
    if isinstance(wait, Fixed):
        return wait.seconds[-1]
    return min(wait.base, wait.cap) if wait.factor >= 1 else 0.0


def ancestry(cls: type[BaseException]) -> frozenset[str]:
    """Return the qualified names of *cls* and all its base classes."""
    return frozenset(qualified_name(base) for base in cls.__mro__ if base is not object)


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return a group's exceptions; nothing for what is no group."""
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if isinstance(error, BaseExceptionGroup) else ()


def qualified_name(cls: type[Any]) -> str:
    """Return `module.Name`, and only `Name` for what is built in.

    The module of a program that was started by `python program.py` is called `program`, as a worker that imports it says.
    """
    module = _main_module() if cls.__module__ in ("__main__", "__mp_main__") else cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _main_module() -> str:
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return str(spec.name) if spec else PurePath(file).stem if file else "__main__"


def to_wait(wait: Wait | None) -> Backoff | Fixed:
    """Check what a user gave as *wait*."""
    if wait is None:
        return Backoff()
    if isinstance(wait, Backoff):
        return wait
    if isinstance(wait, str):
        raise InvalidOptions("wait", wait, "seconds, a non-empty sequence of seconds, or a Backoff")
    if isinstance(wait, Sequence):
        if not wait:
            raise InvalidOptions("wait", wait, "seconds, a non-empty sequence of seconds, or a Backoff")
        return Fixed(tuple(to_seconds("wait", item) for item in wait))
    return Fixed((to_seconds("wait", wait),))


# A group counts as one error only where a rule names a group class; these names are in every group's ancestry too.
_COMMON = frozenset({"BaseException", "Exception"})


def _as_classes(option: str, classes: ErrorClasses) -> tuple[type[BaseException], ...]:
    listed: tuple[object, ...] = (classes,)
    if isinstance(classes, Sequence) and not isinstance(classes, str):
        listed = tuple(classes)
    checked: list[type[BaseException]] = []
    for cls in listed:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidOptions(option, cls, "exception classes, such as OSError")
        checked.append(cls)
    return tuple(checked)
