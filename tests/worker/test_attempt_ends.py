"""What becomes of a job after an attempt: the rules as a table, and all that holds whatever is combined."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, cast, get_args

import msgspec
import pytest

from nursery_tasks import Retry
from nursery_tasks.errors import JobTimedOut
from nursery_tasks.events import EventKind, Events, JobEvent
from nursery_tasks.model.codec import unpack_outcome
from nursery_tasks.model.delivery import Delivery, Finished, Released, Retried, Settlement
from nursery_tasks.model.options import JobOptions
from nursery_tasks.model.outcome import GIVEN_BACK, LEASE_LOST, TIMED_OUT
from nursery_tasks.model.reasons import DEADLINE_OVER
from nursery_tasks.model.retry import RetryRule
from nursery_tasks.model.states import JobState
from nursery_tasks.registry import Registry, make_spec
from nursery_tasks.worker.ending import (
    WORKER_STOPS,
    AttemptEnd,
    Cancel,
    Fail,
    Ignore,
    MarkUnresponsive,
    Release,
    StrayCancellation,
    Succeed,
    TryAgain,
    Verdict,
    decide_ending,
)
from nursery_tasks.worker.in_flight import InFlightJob
from nursery_tasks.worker.log_notes import LogNotes
from nursery_tasks.worker.reporting import Reporter
from nursery_tasks.worker.settler import Settler

NOW = 100.0
OVER, LONG_OVER, LATER = 99.0, 90.0, 101.0
ERROR = ValueError("no")
TWICE = RetryRule(attempts=2)  # waits half a second: the random number is 0.5
USERS = "the user cancelled it"


class LoopCancelled(BaseException):
    """Stands for the event loop's own."""


CANCELLED = LoopCancelled()


def end(**known: Any) -> AttemptEnd:
    plain = AttemptEnd(
        job_id="job-1",
        task="render",
        attempt=1,
        timeout_seconds=10.0,
        rule=None,
        now=NOW,
        timeout_at=math.inf,
        deadline_at=math.inf,
    )
    known.setdefault("is_cancellation", known.get("error") is CANCELLED)
    return msgspec.structs.replace(plain, **known)


def describe(verdict: Verdict) -> tuple[Any, ...]:
    """Return a verdict so that two of them can be compared: an error of ours by its class, as each is a new one."""
    fields = [getattr(verdict, name) for name in verdict.__struct_fields__]
    return (type(verdict), *(type(each) if isinstance(each, JobTimedOut | StrayCancellation) else each for each in fields))


TIME_OVER = (Fail, JobTimedOut, TIMED_OUT)

TABLE: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    # the handler's own end
    "it returns": ({"value": 1}, (Succeed,)),
    "it raises": ({"error": ERROR}, (Fail, ERROR, None)),
    "it raises, and may try again": ({"error": ERROR, "rule": TWICE}, (TryAgain, ERROR, 0.5)),
    "it raises in its last attempt": ({"error": ERROR, "rule": TWICE, "attempt": 2}, (Fail, ERROR, None)),
    "it raises a cancellation of nobody's": ({"error": CANCELLED}, (Fail, StrayCancellation, None)),
    "it does so, and may try again": ({"error": CANCELLED, "rule": TWICE}, (TryAgain, StrayCancellation, 0.5)),
    "its scope has caught what nobody has asked for": ({"caught": True}, (Cancel, None, None)),
    # cancelled by a person, a lost lease, or for another worker
    "cancelled": ({"cancelled": True, "cancel_reason": USERS, "caught": True}, (Cancel, USERS, None)),
    "cancelled, and the cancellation comes through": (
        {"cancelled": True, "cancel_reason": USERS, "error": CANCELLED},
        (Cancel, USERS, None),
    ),
    "cancelled, and its clean-up fails": (
        {"cancelled": True, "cancel_reason": USERS, "error": ERROR, "rule": TWICE},
        (Cancel, USERS, ERROR),
    ),
    "cancelled, and it finishes first": ({"cancelled": True, "cancel_reason": USERS, "value": 1}, (Succeed,)),
    "lost": ({"cancelled": True, "lost": True, "caught": True}, (Release, LEASE_LOST, False)),
    "lost, and its clean-up fails": ({"cancelled": True, "lost": True, "error": ERROR}, (Release, LEASE_LOST, False)),
    "lost, and it finishes first": ({"cancelled": True, "lost": True, "value": 1}, (Succeed,)),  # its token decides
    "lost after it was handed on": (
        {"cancelled": True, "lost": True, "given_back": True, "caught": True},
        (Release, LEASE_LOST, False),
    ),
    "handed on": ({"cancelled": True, "given_back": True, "caught": True}, (Release, GIVEN_BACK, False)),
    # the worker stops
    "interrupted": ({"error": CANCELLED, "stopping": True}, (Release, WORKER_STOPS, True)),
    "interrupted, and its clean-up fails": ({"error": ERROR, "stopping": True, "rule": TWICE}, (Release, WORKER_STOPS, True)),
    "interrupted, and its clean-up lasts": (
        {"error": CANCELLED, "stopping": True, "timeout_at": OVER},
        (Release, WORKER_STOPS, True),
    ),
    "interrupted after it was cancelled": (
        {"error": CANCELLED, "stopping": True, "cancelled": True, "cancel_reason": USERS},
        (Cancel, USERS, None),
    ),
    # time
    "timed out": ({"timeout_at": OVER}, TIME_OVER),
    "timed out at this moment": ({"timeout_at": NOW}, TIME_OVER),
    "not timed out yet": ({"timeout_at": LATER, "deadline_at": LATER}, (Succeed,)),
    "timed out, and it swallows that": ({"timeout_at": OVER, "value": 1}, TIME_OVER),
    "timed out, and raises something else": ({"timeout_at": OVER, "error": ERROR}, TIME_OVER),
    "timed out, and may try again": ({"timeout_at": OVER, "rule": TWICE}, (TryAgain, JobTimedOut, 0.5)),
    "timed out after it was cancelled": (
        {"timeout_at": OVER, "cancelled": True, "cancel_reason": USERS, "caught": True},
        (Cancel, USERS, None),
    ),
    "timed out, and a cancel comes too late": (
        {"timeout_at": OVER, "cancelled": True, "cancel_reason": USERS, "value": 1},
        TIME_OVER,
    ),
    "its caller's time is over": ({"deadline_at": OVER, "caught": True}, (Cancel, DEADLINE_OVER, None)),
    "its caller's time is over, and it swallows that": ({"deadline_at": OVER, "value": 1}, (Cancel, DEADLINE_OVER, None)),
    "its caller's time is over, and its clean-up fails": (
        {"deadline_at": OVER, "error": ERROR, "rule": TWICE},
        (Cancel, DEADLINE_OVER, ERROR),
    ),
    "its caller's time is over first": ({"deadline_at": LONG_OVER, "timeout_at": OVER}, (Cancel, DEADLINE_OVER, None)),
    "its own time is over first": ({"deadline_at": OVER, "timeout_at": LONG_OVER}, TIME_OVER),
    "both are over at once": ({"deadline_at": OVER, "timeout_at": OVER}, TIME_OVER),
    # it does not end
    "given up while out of time": ({"given_up": True, "timeout_at": OVER, "rule": TWICE}, TIME_OVER),
    "given up after a cancel": ({"given_up": True, "timeout_at": OVER, "cancelled": True}, (MarkUnresponsive,)),
    "given up while its caller is out of time": ({"given_up": True, "deadline_at": OVER}, (MarkUnresponsive,)),
    "given up while the worker stops": ({"given_up": True, "timeout_at": LATER}, (MarkUnresponsive,)),
    "it ends after it was given up": ({"settled": True, "value": 1}, (Ignore,)),
}


@pytest.mark.parametrize("row", TABLE)
def test_an_ending(row: str) -> None:
    known, verdict = TABLE[row]
    assert describe(decide_ending(end(**known), 0.5)) == verdict


def test_a_timeout_tells_what_came_out() -> None:
    verdict = decide_ending(end(timeout_at=OVER, error=ERROR), 0.5)
    assert isinstance(verdict, Fail)
    assert verdict.error.__cause__ is ERROR
    assert str(verdict.error) == "render (job-1) ran longer than its timeout of 10 s"


def test_the_last_retry_tells_what_it_was_raised_from() -> None:
    asked = Retry(attempts=1)
    asked.__cause__ = ERROR
    assert decide_ending(end(error=asked), 0.5) == Fail(ERROR)
    again = decide_ending(end(error=Retry(attempts=2)), 0.5)
    assert isinstance(again, TryAgain)


# --- all combinations ----------------------------------------------------------------------------------------------------

FLAGS = ("settled", "given_up", "caught", "cancelled", "given_back", "lost", "stopping")
TIMES = ((math.inf, math.inf), (LATER, LATER), (OVER, math.inf), (math.inf, OVER), (OVER, LONG_OVER), (LONG_OVER, OVER))


def all_ends() -> Iterator[AttemptEnd]:
    errors = (None, ERROR, CANCELLED, Retry(attempts=3), ExceptionGroup("both", [ERROR, OSError()]), SystemExit(1))
    rules = ((None, 1), (TWICE, 1), (TWICE, 2))
    for error, (timeout_at, deadline_at), (rule, attempt), *flags in product(
        errors, TIMES, rules, *((False, True) for _ in FLAGS)
    ):
        known = dict(zip(FLAGS, flags, strict=True))
        yield end(error=error, timeout_at=timeout_at, deadline_at=deadline_at, rule=rule, attempt=attempt, **known)


def is_late(known: AttemptEnd) -> bool:
    return min(known.timeout_at, known.deadline_at) <= NOW


def was_told(known: AttemptEnd) -> bool:
    return known.cancelled and (known.caught or known.error is not None)


def is_first(known: AttemptEnd) -> bool:
    """Say whether this is an attempt that ends, for the first time."""
    return not known.settled and not known.given_up


Rule = tuple[Callable[[AttemptEnd], bool], Callable[[AttemptEnd, Verdict], bool]]

# For whichever ends the first holds, the second holds of the verdict. Written from the guarantees, not from the code.
RULES: dict[str, Rule] = {
    "each end has a verdict": (
        lambda known: True,
        lambda known, verdict: isinstance(verdict, get_args(Verdict)),
    ),
    "a job is settled once": (
        lambda known: known.settled,
        lambda known, verdict: isinstance(verdict, Ignore),
    ),
    "what may still be running is not started again": (
        lambda known: known.given_up,
        lambda known, verdict: not isinstance(verdict, TryAgain | Release | Succeed | Cancel),
    ),
    "a cancelled job is cancelled only once its handler has ended": (
        lambda known: known.given_up and not known.settled and known.cancelled,
        lambda known, verdict: isinstance(verdict, MarkUnresponsive),
    ),
    "without a lease nobody speaks for the job": (
        lambda known: is_first(known) and known.lost and was_told(known),
        lambda known, verdict: verdict == Release(LEASE_LOST),
    ),
    "what is handed on is no attempt": (
        lambda known: is_first(known) and known.given_back and not known.lost and was_told(known),
        lambda known, verdict: verdict == Release(GIVEN_BACK),
    ),
    "a cancel outweighs the clock, the worker's stop and the handler's error": (
        lambda known: is_first(known) and was_told(known) and not known.lost and not known.given_back,
        lambda known, verdict: isinstance(verdict, Cancel) and verdict.reason == known.cancel_reason,
    ),
    "interrupted is not failed": (
        lambda known: is_first(known) and known.stopping and known.error is not None and not was_told(known),
        lambda known, verdict: verdict == Release(WORKER_STOPS, interrupted=True),
    ),
    "only the worker's stop interrupts": (
        lambda known: not known.stopping,
        lambda known, verdict: not (isinstance(verdict, Release) and verdict.interrupted),
    ),
    "who finishes first wins over a cancel": (
        lambda known: is_first(known) and known.error is None and not known.caught and not is_late(known),
        lambda known, verdict: isinstance(verdict, Succeed),
    ),
    "nothing else succeeds": (
        lambda known: known.error is not None or known.caught or is_late(known) or known.settled or known.given_up,
        lambda known, verdict: not isinstance(verdict, Succeed),
    ),
    "an attempt that overran has timed out, whatever it returned or raised": (
        lambda known: (
            is_first(known)
            and NOW >= known.timeout_at <= known.deadline_at
            and not was_told(known)
            and not (known.stopping and known.error is not None)
        ),
        lambda known, verdict: isinstance(verdict, Fail | TryAgain) and isinstance(verdict.error, JobTimedOut),
    ),
    "a caller whose time is over wants no other attempt": (
        lambda known: NOW >= known.deadline_at < known.timeout_at,
        lambda known, verdict: not isinstance(verdict, TryAgain | Fail),
    ),
    "no attempt follows the last one": (
        lambda known: known.rule is not None and not known.rule.allows(known.attempt),
        lambda known, verdict: not isinstance(verdict, TryAgain),
    ),
    "a cancellation is nobody's error": (
        lambda known: known.is_cancellation,
        lambda known, verdict: getattr(verdict, "error", None) is not known.error,
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_holds_for_all_combinations(name: str) -> None:
    applies, holds = RULES[name]
    concerned = [known for known in all_ends() if applies(known)]
    assert concerned
    wrong = [(known, verdict) for known in concerned if not holds(known, verdict := decide_ending(known, 0.5))]
    assert not wrong[:3]


# --- what is settled, and what is told -----------------------------------------------------------------------------------


class Outbox:
    """Stands for the settler: keeps what it is given."""

    def __init__(self) -> None:
        self.settled: list[Settlement] = []
        self.marked = 0

    def settle(self, job: InFlightJob, settlement: Settlement) -> None:
        job.ended = True
        self.settled.append(settlement)

    def release(self, job: InFlightJob) -> None:
        self.settle(job, Released(job.delivery))

    def mark_unresponsive(self, job: InFlightJob) -> None:
        self.marked += 1


def render() -> int:
    return 1


RENDER = make_spec(render, "render", None, JobOptions())


@pytest.mark.parametrize(
    ("verdict", "settlement", "state", "event"),
    [
        (Succeed(), Finished, JobState.SUCCEEDED, EventKind.SUCCEEDED),
        (Fail(ERROR), Finished, JobState.FAILED, EventKind.FAILED),
        (TryAgain(ERROR, 3.0), Retried, JobState.FAILED, EventKind.RETRYING),
        (Cancel("no need"), Finished, JobState.CANCELLED, EventKind.CANCELLED),
        (Release(WORKER_STOPS), Released, None, EventKind.RELEASED),
        (MarkUnresponsive(), None, None, None),
        (Ignore(), None, None, None),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, msgspec.Struct) else "",
)
def test_a_verdict_is_settled_and_told(
    verdict: Verdict, settlement: type[Settlement] | None, state: JobState | None, event: EventKind | None
) -> None:
    outbox, events, told = Outbox(), Events(), list[JobEvent]()
    events.subscribe(told.append)
    notes = LogNotes(events, "worker-1")
    reporter = Reporter(cast("Settler", outbox), events, Registry(), 1000, "worker-1", lambda: 5.0, notes)
    job = InFlightJob(Delivery("job-1", "default", "render", b"", b"token", attempt=2), 0.0, 0.0)
    reporter.report(job, RENDER, verdict, 7, began_at=3.0)
    assert [type(each) for each in outbox.settled] == ([settlement] if settlement else [])
    assert outbox.marked == (type(verdict) is MarkUnresponsive)
    assert [(each.kind, each.attempt) for each in told] == ([(event, 2)] if event else [])
    packed = [each.outcome if isinstance(each, Finished) else each.failure for each in outbox.settled if state is not None]
    outcomes = [unpack_outcome(each) for each in packed]
    assert [(each.state, each.attempt, each.started_at) for each in outcomes] == ([(state, 2, 3.0)] if state else [])
