"""What people see: records, filters, pages, counts."""

from __future__ import annotations

from ...brokers.protocol import Broker
from ...model.delivery import Started
from ...model.listing import JobFilter
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    admin,
    claim,
    expect,
    expect_equal,
    expect_swept,
    ids_of,
    job,
    record,
    settle,
    submit,
    submit_and_claim,
    succeeded,
)

topic = Topic("listing", Part.ADMIN)

EVERYTHING = JobFilter()


@topic.check()
def record_shows_the_submission(harness: ContractHarness) -> None:
    """The record of a job shows what it was submitted with; an unknown id has none."""
    broker = harness.open()
    submit(broker, job("a", queue="images", task="app.render", payload=b"\x00payload", priority=7, key="k", parent="p"))
    found = record(broker, "a")
    expect_equal((found.queue, found.task, found.payload), ("images", "app.render", b"\x00payload"), "the record")
    expect_equal((found.priority, found.key, found.parent), (7, "k", "p"), "priority, key and parent")
    expect_equal((found.state, found.attempts, found.crashes), (JobState.READY, 0, 0), "state, attempts and crashes")
    expect_equal((found.outcome, found.progress, found.cancel_reason), (None, None, None), "what it cannot have yet")
    expect_equal(admin(broker).job("ghost"), None, "the record of an unknown job")


@topic.check()
def jobs_in_the_order_of_submission(harness: ContractHarness) -> None:
    """Jobs are listed in the order of submission, in whatever state and queue they are."""
    broker = harness.open()
    submit(broker, job("c", queue="x"), job("a", priority=9), "b")
    settle(broker, succeeded(claim(broker, 1)[0]))
    submit(broker, job("0", queue="a"))
    expect_equal(_list(broker), ["c", "a", "b", "0"], "the listing")


@topic.check()
def pages(harness: ContractHarness) -> None:
    """Pages that go on after the last cursor show each job once, also while others are submitted."""
    broker = harness.open()
    submit(broker, *(f"a{n}" for n in range(7)))
    people = admin(broker)
    first = people.list_jobs(EVERYTHING, 3)
    expect_equal(ids_of(first), ["a0", "a1", "a2"], "the first page")
    cursors = [found.cursor for found in first]
    expect(0 < cursors[0] < cursors[1] < cursors[2], f"cursors must grow from above 0, not {cursors}")
    submit(broker, "a7")
    second = people.list_jobs(EVERYTHING, 3, first[-1].cursor)
    third = people.list_jobs(EVERYTHING, 3, second[-1].cursor)
    expect_equal(ids_of([*second, *third]), ["a3", "a4", "a5", "a6", "a7"], "the following pages")
    expect_equal(people.list_jobs(EVERYTHING, 3, third[-1].cursor), [], "the page after the last")


@topic.check()
def cursor_stays(harness: ContractHarness) -> None:
    """The cursor of a job does not change while the job moves on."""
    broker = harness.open()
    submit(broker, "a")
    before = record(broker, "a").cursor
    settle(broker, succeeded(claim(broker)[0]))
    expect_equal(record(broker, "a").cursor, before, "the cursor")
    (listed,) = admin(broker).list_jobs(EVERYTHING, 10)
    expect_equal(listed, record(broker, "a"), "the same job in the listing and by its id")


@topic.check()
def newest_first(harness: ContractHarness) -> None:
    """Pages from the newest job on show each once, in the reverse order, also while others are submitted."""
    broker = harness.open()
    submit(broker, *(job(f"a{n}", task=f"t{n % 2}") for n in range(7)))
    people = admin(broker)
    first = people.list_jobs(EVERYTHING, 3, 0, True)
    expect_equal(ids_of(first), ["a6", "a5", "a4"], "the first page")
    submit(broker, "a7")
    second = people.list_jobs(EVERYTHING, 3, first[-1].cursor, True)
    third = people.list_jobs(EVERYTHING, 3, second[-1].cursor, True)
    expect_equal(ids_of([*second, *third]), ["a3", "a2", "a1", "a0"], "the following pages")
    expect_equal(people.list_jobs(EVERYTHING, 3, third[-1].cursor, True), [], "the page after the last")
    expect_equal(ids_of(people.list_jobs(JobFilter(task="t1"), 2, 0, True)), ["a5", "a3"], "a filtered page")


@topic.check()
def tags(harness: ContractHarness) -> None:
    """The record shows the tags, and a listing finds jobs by one of them, word for word."""
    broker = harness.open()
    odd = 'with "quotes", commas and ümlauts'
    submit(broker, job("a", tags=("red", "big")), job("b", tags=(odd, "red")), job("c", tags=("redder",)), "d")
    expect_equal([record(broker, each).tags for each in "abcd"], [("red", "big"), (odd, "red"), ("redder",), ()], "the tags")
    wanted = {"red": ["a", "b"], "big": ["a"], odd: ["b"], "redder": ["c"], "re": [], "": [], "%": []}
    for tag, ids in wanted.items():
        expect_equal(_list(broker, JobFilter(tag=tag)), ids, f"the listing for the tag {tag!r}")
    expect_equal(_list(broker, JobFilter(tag="red", states=frozenset({JobState.STARTED}))), [], "tag and state together")


@topic.check()
def filters(harness: ContractHarness) -> None:
    """A listing shows the jobs for which all filters hold."""
    broker = harness.open()
    submit(
        broker,
        job("a", task="t1"),
        job("b", task="t2", parent="a"),
        job("c", task="t1", queue="other"),
        job("d", task="t1", parent="a", queue="other"),
    )
    first, second = claim(broker)
    settle(broker, Started(first), succeeded(second))
    wanted = {
        JobFilter(states=frozenset({JobState.READY})): ["c", "d"],
        JobFilter(states=frozenset({JobState.STARTED, JobState.SUCCEEDED})): ["a", "b"],
        JobFilter(states=frozenset({JobState.DEAD})): [],
        JobFilter(queue="work"): ["a", "b"],
        JobFilter(queue="ghost"): [],
        JobFilter(task="t1"): ["a", "c", "d"],
        JobFilter(parent="a"): ["b", "d"],
        JobFilter(task="t1", parent="a", states=frozenset({JobState.READY}), queue="other"): ["d"],
        JobFilter(task="t2", queue="other"): [],
    }
    for which, ids in wanted.items():
        expect_equal(_list(broker, which), ids, f"the listing for {which}")


@topic.check()
def filtered_pages(harness: ContractHarness) -> None:
    """The limit of a page counts the jobs that are shown, not those that were passed over."""
    broker = harness.open()
    submit(broker, *(job(f"a{n}", task=f"t{n % 3}") for n in range(12)))
    which = JobFilter(task="t1")
    first = admin(broker).list_jobs(which, 3)
    expect_equal(ids_of(first), ["a1", "a4", "a7"], "the first page")
    expect_equal(ids_of(admin(broker).list_jobs(which, 3, first[-1].cursor)), ["a10"], "the second page")


@topic.check()
def queues_by_name_with_counts(harness: ContractHarness) -> None:
    """Queues are listed by name, each with the number of its jobs in each state."""
    broker = harness.open()
    submit(broker, job("b1", queue="b"), job("a1", queue="a"), job("b2", queue="b"), job("b3", queue="b"))
    first, second = claim(broker, 2, queues=["b"])
    settle(broker, Started(first), succeeded(second))
    found = {queue.name: {state: n for state, n in queue.counts.items() if n} for queue in admin(broker).list_queues()}
    wanted = {
        "a": {JobState.READY: 1},
        "b": {JobState.READY: 1, JobState.STARTED: 1, JobState.SUCCEEDED: 1},
    }
    expect_equal(found, wanted, "the counts of the queues")
    expect_equal(list(found), ["a", "b"], "the order of the queues")


@topic.check(clock=True)
def dropped_jobs_are_not_listed(harness: ContractHarness) -> None:
    """A job whose outcome was dropped is in no listing and no count."""
    broker = harness.open()
    settle(broker, succeeded(submit_and_claim(broker, keep_seconds=10)))
    harness.advance(10)
    expect_swept(broker, dropped=1)
    left = (len(_list(broker)), len(admin(broker).list_queues()), admin(broker).job("a"))
    expect_equal(left, (0, 0, None), "jobs, queues and the record of what was dropped")


def _list(broker: Broker, wanted: JobFilter = EVERYTHING) -> list[str]:
    return ids_of(admin(broker).list_jobs(wanted, 100))
