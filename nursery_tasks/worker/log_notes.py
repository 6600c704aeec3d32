"""What a worker notes in the log of events, so that it costs next to nothing for each job.

Nothing is noted when an attempt begins: nearly all end soon, and the row of the end then stands for the start as well. Ends are
noted when the broker has stored them, a batch at a time, so that jobs which ended alike share a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..events import EventKind, EventRow, Events, JobEvent, row_of
from ..model.delivery import Finished, Settlement, Started
from ..model.states import ENDED, JobState
from .in_flight import InFlightJob

END_KINDS: Final = {state: EventKind(state) for state in ENDED}  # to look for an event costs as much as to tell it


class LogNotes:
    """Takes the notes of one worker.

    Args:
        worker: Its name.
    """

    def __init__(self, events: Events, worker: str) -> None:
        self._events = events
        self._worker = worker

    def note(self, job: InFlightJob, event: JobEvent) -> None:
        """Note an event that is no end of the job."""
        if self._events.log is not None:
            self.note_start(job)
            self._events.log.note([row_of(event)])

    def note_start(self, job: InFlightJob) -> None:
        """Note that an attempt has begun, unless that is noted, or none has."""
        log, delivery = self._events.log, job.delivery
        if log is not None and job.began_at and not job.is_start_noted:
            job.is_start_noted = True
            started, ids, ats = EventKind.STARTED.value, [delivery.id], [job.began_at]
            log.note([EventRow(started, delivery.task, delivery.queue, ids, ats, delivery.attempt, self._worker)])

    def note_stored(self, stored: Sequence[tuple[InFlightJob, Settlement]]) -> None:
        """Note what the broker has just stored: ends, and starts of attempts that take longer.

        What was to be the job's end and came too late is never stored: so each job has one end in the log.
        """
        log = self._events.log
        if log is None:
            return
        rows: list[EventRow] = []
        row, last = None, None
        for job, settlement in stored:
            if type(settlement) is Finished:
                delivery = settlement.delivery
                if job.end is not None:
                    rows.append(_special_row(job, job.end, settlement.state))
                    row = None
                    continue
                key = (delivery.task, delivery.queue, settlement.state, delivery.attempt, job.is_start_noted)
                if row is None or key != last:
                    row, last = self._row_like(job, settlement.state), key
                    rows.append(row)
                row.ids.append(delivery.id)
                row.ats.append(job.ended_at)
                row.seconds.append(job.ended_at - job.began_at)
            elif type(settlement) is Started:
                self.note_start(job)
        if rows:
            log.note(rows)

    def _row_like(self, job: InFlightJob, state: JobState) -> EventRow:
        """Return a row for jobs that end like this one; it has none yet."""
        delivery, kind = job.delivery, END_KINDS[state].value
        return EventRow(kind, delivery.task, delivery.queue, [], [], delivery.attempt, self._worker, [], not job.is_start_noted)


def _special_row(job: InFlightJob, end: JobEvent, state: JobState) -> EventRow:
    row = row_of(end, has_begun=end.seconds is not None and not job.is_start_noted)
    row.kind = END_KINDS[state].value  # another one than was told, where the broker could not store that
    return row
