"""What the machine draws from: small sets, so that repetitions and coincidences are the rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from ...model.delivery import Delivery, Finished, Progressed, Released, Retried, Settlement, Started, Submission, Unresponsive
from ...model.limits import Limit
from ...model.listing import JobFilter, WorkerRecord
from ...model.outgoing import Outgoing
from ...model.pauses import name_of_pause
from ...model.states import ENDED, JobState
from ...model.windows import Window
from .steps import packed

QUEUES = ["a", "b"]
OWNERS = [b"owner-1", b"owner-2"]
LIMITS = [
    Limit("concurrency:x", most=1),
    Limit("concurrency:x", most=2),
    Limit("concurrency:y 1", most=2),
    Limit("concurrency:y 1", most=1, rejects=True),
    Limit("rate/s:x", interval_seconds=1.0),
    Limit("rate/m:y", interval_seconds=5.0, tolerance_seconds=5.0),
    Limit("rate/m:y", interval_seconds=5.0, rejects=True),
]
TURNS = [Limit("order:x 1", most=1, ordered=True), Limit("order:x 2", most=1, ordered=True)]  # the first limit of a job
WINDOWS = [
    Window("debounce:x"),
    Window("debounce:x", most_seconds=15.0),
    Window("debounce:y 1", most_seconds=0.5),
    Window("throttle:x", 5.0),
    Window("throttle:x", 60.0),
]
NAMES = ["t1", "t2@1"]
PAUSES = [name_of_pause("t1", {}), name_of_pause("t1", {"x": "1"})]
LOCKS = ["l1", "l2"]
LOCKERS = [b"h1", b"h2", b"h3"]
SCHEDULES = ["s1", "é 2", "😀"]
OUTGOING = ((Outgoing("o1", b"x"),), (Outgoing("o2", b""), Outgoing("o1", b"y"), Outgoing("o2", b"z")))


@dataclass(frozen=True)
class Wish:
    """A submission before it meets the broker: the clock, the ids so far and the features decide the rest."""

    job: Submission
    again: int | None  # None: a new id; else one that was used before, counted from the latest one
    start_after: float | None  # seconds from now, for `start_at`
    awaited_by: tuple[bool, int] | None  # which delivery owns it, as `picks` says; None: nobody, or the job names a lease


@dataclass(frozen=True)
class Plan:
    """A change of a schedule before it meets the broker, which says what versions there are."""

    name: str
    version: Literal["current", "old", "none"]
    look_after: float | None  # seconds from now
    body: bytes | None  # None: it is removed


@dataclass(frozen=True)
class Word:
    """What a worker says of a delivery."""

    kind: Literal["start", "progress", "unresponsive", "finish", "retry", "release"]
    delay_seconds: float
    state: JobState
    park: str | None = None
    sends: tuple[Outgoing, ...] = ()

    def __call__(self, delivery: Delivery) -> Settlement:
        match self.kind:
            case "start":
                return Started(delivery)
            case "progress":
                return Progressed(delivery, b'{"until":%d}' % self.delay_seconds)
            case "unresponsive":
                return Unresponsive(delivery)
            case "finish":
                return Finished(delivery, self.state, packed(self.state, attempt=delivery.attempt), outgoing=self.sends)
            case "retry":
                return Retried(delivery, self.delay_seconds, packed(JobState.FAILED, attempt=delivery.attempt))
            case "release":
                return Released(delivery, self.delay_seconds, self.park)


def _all_of(drawn: tuple[Limit, tuple[Limit, ...]]) -> tuple[Limit, ...]:
    turn, more = drawn
    return (turn, *more)


delays = st.sampled_from([0.0, 0.0, 0.5, 5.0, 20.0])
leases = st.sampled_from([1.0, 5.0, 15.0, 15.0, 60.0])
limits = st.sampled_from([1, 2, 5, 100])
orders = st.permutations(QUEUES).flatmap(lambda order: st.sampled_from([order, order, order[:1]]))
names = st.sampled_from([(), (), NAMES[:1], NAMES])
times = st.sampled_from([0.0, 0.5, 1.0, 2.5, 5.0, 5.0, 5.0, 15.0, 15.0, 60.0, 60.0, 1_300_000.0])
sweep_limits = st.sampled_from([0, 1, 2, 100, 100, 100])
which_ids = st.lists(st.integers(-1, 30), min_size=1, max_size=4)  # counted from the latest id; -1: one that was never used
picks = st.tuples(st.sampled_from([True, True, False]), st.integers(0, 30))  # among those held or all, from the latest on
owner_leases = st.sampled_from([0.0, 1.0, 15.0, 15.0])
which_owners = st.lists(st.sampled_from([*OWNERS, b"nobody"]), min_size=1, max_size=3, unique=True)
words = st.builds(
    Word,
    kind=st.sampled_from(["start", "start", "progress", "unresponsive", "finish", "retry", "release"]),
    delay_seconds=delays,
    state=st.sampled_from(sorted(ENDED)),
    park=st.sampled_from([None, *NAMES, *PAUSES]),
    sends=st.sampled_from([(), (), *OUTGOING]),
)
turns = st.sampled_from(TURNS)
several_limits = st.lists(st.sampled_from(LIMITS), min_size=1, max_size=3, unique_by=lambda limit: limit.name).map(tuple)
turn_and_limits = st.tuples(turns, several_limits).map(_all_of)
wishes = st.builds(
    Wish,
    job=st.builds(
        Submission,
        id=st.just(""),
        queue=st.sampled_from(QUEUES),
        task=st.sampled_from(["t1", "t2"]),
        payload=st.binary(max_size=3),
        priority=st.integers(0, 3),
        delay_seconds=delays,
        expires_seconds=st.sampled_from([None, None, None, 0.0, 10.0, 30.0]),
        key=st.sampled_from([None, None, "k1", "k2"]),
        parent=st.sampled_from([None, "job-0"]),
        keep_seconds=st.sampled_from([0.0, 5.0, 60.0, 86_400.0]),
        max_crashes=st.integers(1, 3),
        owner=st.sampled_from([None, None, None, *OWNERS]),
        owner_seconds=st.sampled_from([1.0, 5.0, 15.0, 15.0]),
        tags=st.sampled_from([(), (), ("x",), ("x", 'y"')]),
        limits=st.one_of(st.just(()), several_limits, st.tuples(turns), turn_and_limits),
        raw=st.sampled_from([False, False, True]),
        once=st.sampled_from([False, False, True]),
        window=st.sampled_from([None, None, None, None, *WINDOWS]),
        max_length=st.sampled_from([0, 0, 0, 1, 3, 6]),
        share=st.sampled_from([None, None, "x", "y", "z"]),
        weight=st.sampled_from([1.0, 1.0, 2.0, 3.0, 0.5]),
    ),
    again=st.sampled_from([None, None, None, None, 0, 1, 2, 5]),
    start_after=st.sampled_from([None, None, None, -5.0, 0.0, 7.0]),
    awaited_by=st.one_of(st.none(), st.none(), picks),
)
lock_calls = st.tuples(
    st.sampled_from(["lock", "lock", "lock", "relock", "unlock", "unlock"]),
    st.sampled_from(LOCKS),
    st.sampled_from(LOCKERS),
    leases,
    st.booleans(),
)
plans = st.builds(
    Plan,
    name=st.sampled_from(SCHEDULES),
    version=st.sampled_from(["current", "current", "current", "old", "none"]),
    look_after=st.sampled_from([None, -5.0, 0.0, 0.5, 7.0, 60.0]),
    body=st.sampled_from([None, b"", b"x", b"\x00\xff", b"long" * 1_000]),
)
filters = st.builds(
    JobFilter,
    states=st.frozensets(st.sampled_from(list(JobState)), max_size=3),
    queue=st.sampled_from([None, *QUEUES]),
    task=st.sampled_from([None, "t1"]),
    parent=st.sampled_from([None, None, "job-0"]),
    tag=st.sampled_from([None, None, None, "x", 'y"']),
)
worker_records = st.builds(
    WorkerRecord, name=st.sampled_from(["w2", "w1"]), node=st.just("n"), pid=st.integers(1, 9), slots=st.integers(0, 2)
)
