"""After an attempt: what becomes of its job. One pure function; the clock and the scopes have been asked already.

The first rule that fits decides:

1. What was settled before does not count again: the attempt was given up, and its handler has ended after all.
2. A handler that is given up has failed if its own time is over, and is marked as unresponsive otherwise.
3. A cancel counts where the handler has ended because of it; whoever finishes first wins. A lost lease outweighs a hand-over to
   another worker, and that a cancel: without a lease nobody knows whose job it is. If it is still ours, it goes back.
4. What the worker interrupts because it stops is not failed, and no attempt. This comes before the clock is asked, because the
   clean-up may have lasted. What is delivered at most once has started, so it cannot go back: it is dead, and says why.
5. Time limits are judged by the clock, whatever came out: who swallowed a timeout has not succeeded. Of the timeout and the
   caller's deadline the one that was over first counts.
6. What is left is the handler's own: a value, or an error, after which the retry rule is asked unless it is a `Reject`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import JobTimedOut
from ..model.again import decide_retry
from ..model.outcome import GIVEN_BACK, LEASE_LOST, TIMED_OUT
from ..model.reasons import DEADLINE_OVER, WORKER_STOPS
from ..model.reject import reject_reason
from ..model.retry import Retry, RetryRule, told_by


class AttemptEnd(msgspec.Struct, frozen=True):  # made for every job: a frozen dataclass takes several times as long
    """What is known when an attempt has ended, or is given up.

    Attributes:
        job_id, task, attempt: Whose end it is.
        timeout_seconds, rule: The job's own time limit and its retry rule.
        now: The moment of the end; like the next two on the loop's clock.
        timeout_at, deadline_at: When its own time is over, and its caller's.
        value, error: What came out; no error: it has returned.
        is_cancellation: The error is the event loop's own cancellation, which has crossed the attempt's scopes.
        caught: The attempt's own scope has caught a cancellation.
        cancelled, cancel_reason, given_back, lost: See `InFlightJob`.
        stopping: The worker has interrupted it. Nobody asks while there is no error: then it cannot have been.
        given_up: It has not ended, and the time for its clean-up is over.
        settled: It was given up before, and what has become of the job is stored.
        once: The job is delivered at most once.
    """

    job_id: str
    task: str
    attempt: int
    timeout_seconds: float | None
    rule: RetryRule | None
    now: float
    timeout_at: float
    deadline_at: float
    value: Any = None
    error: BaseException | None = None
    is_cancellation: bool = False
    caught: bool = False
    cancelled: bool = False
    cancel_reason: str | None = None
    given_back: bool = False
    lost: bool = False
    stopping: bool = False
    given_up: bool = False
    settled: bool = False
    once: bool = False


class Succeed(msgspec.Struct, frozen=True):
    """The job has succeeded, if its value can travel."""


class Fail(msgspec.Struct, frozen=True):
    """The job has failed, and is not tried again."""

    error: BaseException
    reason: str | None = None


class TryAgain(msgspec.Struct, frozen=True):
    """The attempt has failed, and another one follows."""

    error: BaseException
    wait_seconds: float


class PutAside(msgspec.Struct, frozen=True):
    """The handler has rejected its job: it is dead."""

    reason: str


class Cancel(msgspec.Struct, frozen=True):
    """The job is cancelled; *error* is what the handler's clean-up raised, if it did."""

    reason: str | None
    error: BaseException | None = None


class Release(msgspec.Struct, frozen=True):
    """The job goes back: it was not its fault, so this was no attempt. *interrupted*: it cost the worker a running handler."""

    why: str
    interrupted: bool = False


class Bury(msgspec.Struct, frozen=True):
    """The job would go back, and is delivered at most once: it is dead."""

    why: str
    interrupted: bool = False


class MarkUnresponsive(msgspec.Struct, frozen=True):
    """The job stays in flight until its handler ends; meanwhile people can see that it does not."""


class Ignore(msgspec.Struct, frozen=True):
    """Nothing is left to be said."""


Verdict = Succeed | Fail | TryAgain | PutAside | Cancel | Release | Bury | MarkUnresponsive | Ignore

SUCCEED: Final = Succeed()  # the only one


class StrayCancellation(RuntimeError):
    """The handler was left by a cancellation that no scope around it had asked for.

    On asyncio that happens when a handler awaits a future or task that somebody else cancels.
    """


def decide_ending(end: AttemptEnd, fraction: float) -> Verdict:
    """Say what becomes of a job after an attempt.

    Args:
        end: What is known.
        fraction: A random number in [0, 1), for the wait before another attempt.
    """
    if end.settled:
        return Ignore()
    if end.given_up:
        return _given_up(end)
    error = end.error
    if end.cancelled and (end.caught or error is not None):
        return _told(end)
    if end.stopping and error is not None:
        return _back(end, WORKER_STOPS, interrupted=True)
    if end.now >= end.timeout_at or end.now >= end.deadline_at:
        return _late(end, fraction)
    if error is not None:
        return _failed(end, _stray(error) if end.is_cancellation else error, fraction)
    # Caught, although nobody has cancelled it and no time is over: not the handler's doing.
    return Cancel(end.cancel_reason) if end.caught else SUCCEED


def _given_up(end: AttemptEnd) -> Verdict:
    # Out of its own time it has failed, and is not tried again, because it may still be running. Everybody else waits for it.
    if end.cancelled or end.deadline_at < end.timeout_at or end.now < end.timeout_at:
        return MarkUnresponsive()
    return Fail(JobTimedOut(end.job_id, end.task, end.timeout_seconds), TIMED_OUT)


def _told(end: AttemptEnd) -> Verdict:
    if end.lost:
        return _back(end, LEASE_LOST)
    return _back(end, GIVEN_BACK) if end.given_back else Cancel(end.cancel_reason, _own_error(end))


def _back(end: AttemptEnd, why: str, *, interrupted: bool = False) -> Release | Bury:
    return Bury(why, interrupted) if end.once else Release(why, interrupted)


def _late(end: AttemptEnd, fraction: float) -> Verdict:
    if end.deadline_at < end.timeout_at:
        return Cancel(DEADLINE_OVER, _own_error(end))
    error = JobTimedOut(end.job_id, end.task, end.timeout_seconds)
    error.__cause__ = end.error
    return _failed(end, error, fraction, TIMED_OUT)


def _failed(end: AttemptEnd, error: BaseException, fraction: float, reason: str | None = None) -> Verdict:
    rejected = reject_reason(error)
    if rejected is not None:
        return PutAside(rejected)
    again = None if end.once else decide_retry(error, end.attempt, end.rule, fraction)
    if again is not None:
        return TryAgain(error, again.wait_seconds)
    # A `Retry` has asked for one attempt too many: what it was raised from says more.
    return Fail(told_by(error) if isinstance(error, Retry) else error, reason)


def _own_error(end: AttemptEnd) -> BaseException | None:
    return None if end.is_cancellation else end.error


def _stray(error: BaseException) -> StrayCancellation:
    stray = StrayCancellation("a cancellation came out of the handler that nobody here had asked for")
    stray.__cause__ = error
    return stray
