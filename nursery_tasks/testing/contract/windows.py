"""Windows in time: the submissions of one name for which one job stands, the last of a debounce and the first of a throttle."""

from __future__ import annotations

from typing import Any

from ...brokers.needed import admin_of
from ...brokers.protocol import Feature
from ...model.delivery import CancelAnswer, Released, Retried, Started, Submission
from ...model.limits import Limit
from ...model.reasons import OWNER_GONE
from ...model.states import JobState
from ...model.windows import Window
from .harness import ContractHarness, Part, Topic
from .steps import (
    OWNER,
    awaited,
    cancel,
    claim,
    claim_one,
    expect_cancelled,
    expect_claimable,
    expect_equal,
    expect_state,
    expect_swept,
    expect_unknown,
    job,
    leased,
    record,
    repeat,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("windows", Feature.WINDOWS, Feature.DELAYS)

QUIET_SECONDS = 10.0
THROTTLED_SECONDS = 60.0


def debounced(job_id: str, name: str = "n", most: float | None = None, **changes: Any) -> Submission:
    changes.setdefault("delay_seconds", QUIET_SECONDS)
    return job(job_id, window=Window(f"debounce:{name}", most_seconds=most), **changes)


def throttled(job_id: str, name: str = "n", **changes: Any) -> Submission:
    return job(job_id, window=Window(f"throttle:{name}", THROTTLED_SECONDS), **changes)


# --- debounce ---------------------------------------------------------------------------------------------------------


@topic.check(clock=True)
def debounce_waits_until_it_is_quiet(harness: ContractHarness) -> None:
    """A debounced job waits until nobody has submitted the same for its time; it has the last message and the first id."""
    broker = harness.open()
    submit(broker, debounced("a", payload=b"first"))
    for payload in (b"second", b"third"):
        harness.advance(8)
        expect_swept(broker)
        repeat(broker, debounced("b", payload=payload), known="a")
    harness.advance(8)
    expect_swept(broker)
    expect_claimable(broker)
    harness.advance(2)
    expect_swept(broker, due=1)
    expect_equal(claim_one(broker, "a").payload, b"third", "the payload")
    expect_unknown(broker, "b")


@topic.check(Part.ADMIN, clock=True)
def debounce_takes_all_of_the_last_submission(harness: ContractHarness) -> None:
    """What takes a debounced job's place brings its options, and leaves its id, its place and the moment of the first one."""
    broker = harness.open()
    submit(broker, debounced("a", priority=1, parent="p1", expires_seconds=5.0, tags=("x",), keep_seconds=5.0), "between")
    before = record(broker, "a")
    harness.advance(1)
    last = debounced(
        "b", payload=b"last", queue="other", task="tests.other", priority=7, parent="p2", tags=("y",), max_crashes=1, raw=True
    )
    repeat(broker, last, known="a")
    after = record(broker, "a")
    expect_equal(
        (after.queue, after.task, after.priority, after.parent, after.tags, after.payload, after.raw, after.state),
        ("other", "tests.other", 7, "p2", ("y",), b"last", True, JobState.SCHEDULED),
        "what the last submission said",
    )
    expect_equal((after.cursor, after.created_at), (before.cursor, before.created_at), "what stays")
    expect_equal(after.due_at, harness.now() + QUIET_SECONDS, "the moment when it is due")
    counts = {queue.name: {state: n for state, n in queue.counts.items() if n} for queue in admin_of(broker).list_queues()}
    expect_equal(counts.get("other"), {JobState.SCHEDULED: 1}, "the jobs of its new queue")
    expect_equal(counts.get("work"), {JobState.READY: 1}, "the jobs of its old queue")
    harness.advance(100)
    expect_swept(broker, due=1)  # and it does not expire
    delivery = claim_one(broker, "a", queues=["other"])
    settle(broker, Started(delivery))
    harness.advance(16)
    expect_swept(broker, died=1)


@topic.check(Part.LIMITS, clock=True)
def debounce_takes_the_limits_of_the_last_submission(harness: ContractHarness) -> None:
    """A debounced job has the limits of the last submission, or none."""
    broker = harness.open()
    one = Limit("concurrency:one", most=1)
    submit(broker, job("holds", limits=(one,)), debounced("a", "free", limits=(one,)), debounced("b", "limited"))
    claim_one(broker, "holds", lease_seconds=1_000.0)
    repeat(broker, debounced("c", "free"), known="a")
    repeat(broker, debounced("d", "limited", limits=(one,)), known="b")
    harness.advance(10)
    expect_swept(broker, due=2)
    expect_claimable(broker, "a")


@topic.check(clock=True)
def debounce_that_expires(harness: ContractHarness) -> None:
    """A debounced job expires as its last submission says, from the moment when it is due."""
    broker = harness.open()
    submit(broker, debounced("a"))
    harness.advance(5)
    repeat(broker, debounced("b", expires_seconds=5.0), known="a")
    harness.advance(14)
    expect_swept(broker, due=1)
    harness.advance(1)
    expect_swept(broker, expired=1)
    expect_state(broker, JobState.EXPIRED, "a")


@topic.check(clock=True)
def debounce_waits_no_longer_than_its_most(harness: ContractHarness) -> None:
    """However often others come, a debounced job is due when its longest time since the first one is over."""
    broker = harness.open()
    submit(broker, debounced("a", most=15.0))
    for _ in range(2):
        harness.advance(7)
        expect_swept(broker)
        repeat(broker, debounced("b", most=15.0), known="a")
    harness.advance(1)
    expect_swept(broker, due=1)
    submit(broker, debounced("c", most=15.0))
    expect_claimable(broker, "a")


@topic.check(clock=True)
def debounce_that_is_due_is_closed(harness: ContractHarness) -> None:
    """Once a debounced job is due, swept or not, the next submission begins a new one."""
    broker = harness.open()
    submit(broker, debounced("a", payload=b"first"))
    harness.advance(10)
    submit(broker, debounced("b", payload=b"second"))
    expect_swept(broker, due=1)
    repeat(broker, debounced("c", payload=b"third"), known="b")
    expect_equal(claim_one(broker, "a").payload, b"first", "the payload of the first one")
    harness.advance(10)
    expect_swept(broker, due=1)
    expect_equal(claim_one(broker, "b").payload, b"third", "the payload of the second one")


@topic.check(clock=True)
def debounce_that_came_back_is_closed(harness: ContractHarness) -> None:
    """A job that waits for a retry, was released, or came back from a dead worker, is not taken for one that still waits."""
    broker = harness.open()
    submit(broker, debounced("a"))
    harness.advance(10)
    expect_swept(broker, due=1)
    settle(broker, Retried(claim_one(broker, "a"), 100.0))
    submit(broker, debounced("b"))
    harness.advance(10)
    expect_swept(broker, due=1)
    settle(broker, Released(claim_one(broker, "b"), 100.0))
    submit(broker, debounced("c"))
    harness.advance(10)
    expect_swept(broker, due=1)
    settle(broker, Started(claim_one(broker, "c")))
    harness.advance(15)
    expect_swept(broker, returned=1)
    submit(broker, debounced("d"))


@topic.check(Part.ADMIN, clock=True)
def debounce_that_was_moved_is_closed(harness: ContractHarness) -> None:
    """A debounced job that was cancelled and asked for again runs as it is, although its window is not over."""
    broker = harness.open()
    submit(broker, debounced("a", delay_seconds=1_000.0, payload=b"first"))
    cancel(broker, "a", CancelAnswer.CANCELLED)
    expect_equal(admin_of(broker).requeue(["a"]), [True], "the answer to requeue")
    settle(broker, Released(claim_one(broker, "a"), 10.0))
    submit(broker, debounced("b"))
    harness.advance(10)
    expect_swept(broker, due=2)
    first, _ = expect_claimable(broker, "a", "b")
    expect_equal(first.payload, b"first", "the payload")


@topic.check(clock=True)
def debounce_that_was_cancelled_is_closed(harness: ContractHarness) -> None:
    """A debounced job that was cancelled stays cancelled, and the next submission begins a new one."""
    broker = harness.open()
    submit(broker, debounced("a"))
    cancel(broker, "a", CancelAnswer.CANCELLED)
    submit(broker, debounced("b"))
    repeat(broker, debounced("c"), known="b")
    harness.advance(10)
    expect_swept(broker, due=1)
    expect_claimable(broker, "b")


@topic.check(Part.ADMIN)
def debounce_that_was_purged_is_closed(harness: ContractHarness) -> None:
    """When a debounced job was purged, the next submission begins a new one."""
    broker = harness.open()
    submit(broker, debounced("a"))
    expect_equal(admin_of(broker).purge("work", frozenset({JobState.SCHEDULED})), 1, "the number of purged jobs")
    submit(broker, debounced("b"))


@topic.check()
def windows_by_name(harness: ContractHarness) -> None:
    """Windows of different names do not get in each other's way, whatever their tasks and queues are."""
    broker = harness.open()
    submit(broker, debounced("a", "n1"), debounced("b", "n2"), throttled("c", "n1"), throttled("d", "n2"), "e")
    repeat(broker, debounced("f", "n1", task="tests.other"), known="a")
    repeat(broker, throttled("g", "n2", queue="other"), known="d")


@topic.check(clock=True)
def windows_in_one_batch(harness: ContractHarness) -> None:
    """In one batch the last of a debounce takes the place of those before it, and of a throttle the first one is stored."""
    broker = harness.open()
    batch = [debounced("a", payload=b"1"), debounced("b", payload=b"2"), job("plain"), throttled("c", payload=b"3")]
    batch += [throttled("d", payload=b"4"), debounced("e", payload=b"5", queue="other")]
    receipts = broker.submit(batch)
    expect_equal(
        [(receipt.id, receipt.created) for receipt in receipts],
        [("a", True), ("a", False), ("plain", True), ("c", True), ("c", False), ("a", False)],
        "the receipts",
    )
    _, first = expect_claimable(broker, "plain", "c")
    expect_equal(first.payload, b"3", "the payload of the throttled one")
    harness.advance(10)
    expect_swept(broker, due=1)
    expect_equal(claim_one(broker, "a", queues=["other"]).payload, b"5", "the payload of the debounced one")


@topic.check(clock=True)
def known_id_wins_over_a_window(harness: ContractHarness) -> None:
    """A submission whose id is known names that job, and changes nothing in its window."""
    broker = harness.open()
    submit(broker, "other", debounced("a", payload=b"first"), throttled("t"))
    repeat(broker, debounced("other", payload=b"second"), throttled("other"))
    harness.advance(5)
    repeat(broker, debounced("a", payload=b"third"))
    harness.advance(5)
    expect_swept(broker, due=1)
    _, waited, _ = expect_claimable(broker, "other", "a", "t")
    expect_equal(waited.payload, b"first", "the payload")


# --- throttle ---------------------------------------------------------------------------------------------------------


@topic.check(clock=True)
def throttle_stores_the_first(harness: ContractHarness) -> None:
    """The first submission of a throttle can be claimed at once; others are not stored until its time is over."""
    broker = harness.open()
    submit(broker, throttled("a", payload=b"first"))
    repeat(broker, throttled("b", payload=b"second"), known="a")
    expect_equal(claim_one(broker, "a", lease_seconds=1_000.0).payload, b"first", "the payload")
    harness.advance(59)
    repeat(broker, throttled("c"), known="a")
    harness.advance(1)
    submit(broker, throttled("d"))
    repeat(broker, throttled("e"), known="d")
    expect_unknown(broker, "b", "c", "e")


@topic.check(clock=True)
def throttle_outlasts_its_job(harness: ContractHarness) -> None:
    """What has ended, or was dropped since, still stands for the submissions of its throttle."""
    broker = harness.open()
    settle(broker, succeeded(submit_and_claim(broker, window=Window("throttle:n", THROTTLED_SECONDS), keep_seconds=20.0)))
    repeat(broker, throttled("b"), known="a")
    harness.advance(20)
    expect_swept(broker, dropped=1)
    repeat(broker, throttled("b"), known="a")
    expect_unknown(broker, "a", "b")
    harness.advance(40)
    submit(broker, throttled("b"))


@topic.check(clock=True)
def sweeps_forget_no_open_window(harness: ContractHarness) -> None:
    """Sweeps change nothing in windows that are open, however long these are."""
    broker = harness.open()
    submit(
        broker, job("long", window=Window("throttle:long", 86_400.0)), throttled("short"), debounced("a", delay_seconds=900.0)
    )
    harness.advance(500)
    expect_swept(broker)
    repeat(broker, job("again", window=Window("throttle:long", 86_400.0)), known="long")
    repeat(broker, debounced("b", delay_seconds=900.0), known="a")
    harness.advance(500)
    expect_swept(broker)
    submit(broker, throttled("next"))


# --- owners, and ends by force ------------------------------------------------------------------------------------------


@topic.check()
def detached_submission_of_a_window_detaches(harness: ContractHarness) -> None:
    """A detached submission whose window is open makes its job detached, and an owned one leaves the job whose it is."""
    broker = harness.open()
    debounce, throttle = debounced("a").window, throttled("t").window
    submit(broker, leased("a", window=debounce, delay_seconds=10.0), leased("t", window=throttle))
    submit(broker, leased("b", window=Window("throttle:b", 60.0)))
    repeat(broker, debounced("c"), known="a")
    repeat(broker, throttled("d"), known="t")
    repeat(broker, leased("e", b"somebody else's id", window=Window("throttle:b", 60.0)), known="b")
    expect_equal(broker.renew_owners([OWNER], 0.0), [True], "whether the owner was there")
    expect_state(broker, JobState.SCHEDULED, "a")
    expect_state(broker, JobState.READY, "t")
    expect_cancelled(broker, "b", OWNER_GONE)


@topic.check(clock=True)
def submitter_that_died_blocks_nobody(harness: ContractHarness) -> None:
    """When the program that owns a debounced job dies, the job is cancelled, and the next submission begins a new one."""
    broker = harness.open()
    submit(broker, leased("a", seconds=5.0, window=debounced("a").window, delay_seconds=10.0))
    harness.advance(5)
    expect_swept(broker, orphaned=1)
    submit(broker, debounced("b"))
    harness.advance(10)
    expect_swept(broker, due=1)
    expect_claimable(broker, "b")


@topic.check(clock=True)
def submission_of_a_dead_attempt_is_nothing(harness: ContractHarness) -> None:
    """What an attempt submits that is over takes nobody's place, and opens no window."""
    broker = harness.open()
    parent = submit_and_claim(broker, "parent")
    settle(broker, succeeded(parent))
    submit(broker, debounced("a", payload=b"first"))
    harness.advance(5)
    late = debounced("b", payload=b"late")
    repeat(broker, awaited("b", parent, window=late.window, payload=b"late", delay_seconds=10.0), known="a")
    submit(broker, awaited("c", parent, window=throttled("c").window))
    submit(broker, throttled("d"))
    expect_cancelled(broker, "c", OWNER_GONE)
    harness.advance(5)
    expect_swept(broker, due=1)
    waited, _ = expect_claimable(broker, "a", "d")
    expect_equal(waited.payload, b"first", "the payload")


@topic.check(Feature.DURABLE, clock=True)
def windows_outlive_the_program(harness: ContractHarness) -> None:
    """Windows are stored like jobs: they are open after everybody was gone, and over when their time is."""
    broker = harness.open()
    submit(broker, debounced("a", payload=b"first"), throttled("t"))
    broker = harness.reopen()
    repeat(broker, debounced("b", payload=b"second"), known="a")
    repeat(broker, throttled("u"), known="t")
    harness.advance(60)
    broker = harness.reopen()
    submit(broker, debounced("c"), throttled("v"))
    expect_swept(broker, due=1)
    expect_equal([each.payload for each in claim(broker) if each.id == "a"], [b"second"], "the payload")
