"""What a worker notes in the log of events: ends when they are stored, many in a row, and each start once."""

from __future__ import annotations

from collections.abc import Sequence

from nursery_tasks.events import EventKind, EventRow, Events, JobEvent, events_of
from nursery_tasks.model.delivery import Delivery, Finished, Progressed, Retried, Settlement, Started
from nursery_tasks.model.states import JobState
from nursery_tasks.worker.in_flight import InFlightJob
from nursery_tasks.worker.log_notes import LogNotes


class Sink:
    def __init__(self) -> None:
        self.rows: list[EventRow] = []

    def note(self, rows: Sequence[EventRow]) -> None:
        self.rows += rows

    def told(self) -> list[tuple[str, EventKind, float]]:
        return [(event.job_id, event.kind, event.at) for row in self.rows for event in events_of(row)]


def a_job(job_id: str, task: str = "render", began_at: float = 1.0, ended_at: float = 3.0) -> InFlightJob:
    job = InFlightJob(Delivery(job_id, "default", task, b"", b"token"), 0.0, 0.0)
    job.began_at, job.ended_at = began_at, ended_at
    return job


def succeeded(job: InFlightJob, state: JobState = JobState.SUCCEEDED) -> tuple[InFlightJob, Settlement]:
    return job, Finished(job.delivery, state, b"")


def make_notes() -> tuple[LogNotes, Sink]:
    events, sink = Events(), Sink()
    events.log = sink
    return LogNotes(events, "worker-1"), sink


def test_jobs_that_ended_alike_share_a_row() -> None:
    notes, sink = make_notes()
    notes.note_stored(
        [
            succeeded(a_job("a")),
            succeeded(a_job("b", began_at=2.0)),
            succeeded(a_job("c", "other")),
            succeeded(a_job("d", "other")),
        ]
    )
    assert [(row.task, row.ids, row.count, row.worker) for row in sink.rows] == [
        ("render", ["a", "b"], 4, "worker-1"),
        ("other", ["c", "d"], 4, "worker-1"),
    ]
    assert sink.told()[:4] == [
        ("a", EventKind.STARTED, 1.0),
        ("a", EventKind.SUCCEEDED, 3.0),
        ("b", EventKind.STARTED, 2.0),
        ("b", EventKind.SUCCEEDED, 3.0),
    ]


def test_a_start_is_noted_once_and_before_what_follows() -> None:
    notes, sink = make_notes()
    long, short, waits = a_job("long"), a_job("short"), a_job("waits", began_at=0.0)
    notes.note_stored([(long, Started(long.delivery))])
    progress = JobEvent(kind=EventKind.PROGRESS, job_id="short", task="render", queue="default", at=2.0, detail="5")
    notes.note(short, progress)
    notes.note(waits, JobEvent(kind=EventKind.RELEASED, job_id="waits", task="render", queue="default", at=2.0))
    notes.note_stored([succeeded(long), (short, Progressed(short.delivery, b"5")), succeeded(short)])
    assert sink.told() == [
        ("long", EventKind.STARTED, 1.0),
        ("short", EventKind.STARTED, 1.0),
        ("short", EventKind.PROGRESS, 2.0),
        ("waits", EventKind.RELEASED, 2.0),
        ("long", EventKind.SUCCEEDED, 3.0),
        ("short", EventKind.SUCCEEDED, 3.0),
    ]


def test_an_end_with_more_to_say_has_a_row_of_its_own_and_is_what_was_stored() -> None:
    notes, sink = make_notes()
    first, failed, last = a_job("first"), a_job("failed"), a_job("last")
    failed.end = JobEvent(
        kind=EventKind.CANCELLED, job_id="failed", task="render", queue="default", at=3.0, attempt=1, seconds=2.0, detail="why"
    )
    notes.note_stored([succeeded(first), succeeded(failed, JobState.FAILED), succeeded(last)])
    assert [(row.ids, row.kind, row.detail) for row in sink.rows] == [
        (["first"], "succeeded", None),
        (["failed"], "failed", "why"),
        (["last"], "succeeded", None),
    ]


def test_what_is_no_end_of_a_job_is_not_noted_when_it_is_stored() -> None:
    notes, sink = make_notes()
    job = a_job("a")
    notes.note_stored([(job, Retried(job.delivery, 1.0))])
    assert sink.rows == []
