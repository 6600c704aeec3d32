"""Tells this program's listeners, and the log of events, of jobs that its calls to the broker have ended themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..events import EventKind, Events, JobEvent
from ..model.ended import Ended
from .hooks import Hooks


class EndTeller:
    """Hears the broker, see `Ends.hear`: called in the thread of the call, it tells on the loop where there is one.

    Args:
        now: Epoch seconds.
    """

    def __init__(self, events: Events, hooks: Hooks, now: Callable[[], float]) -> None:
        self._events, self._hooks, self._now = events, hooks, now

    def __call__(self, ended: Sequence[Ended]) -> None:
        if self._events.is_heard:
            self._hooks.run_on_loop(lambda: self._tell(ended))

    def _tell(self, ended: Sequence[Ended]) -> None:
        now = self._now()
        for job in ended:
            self._events.emit(
                JobEvent(
                    kind=EventKind(job.state),
                    job_id=job.id,
                    task=job.task,
                    queue=job.queue,
                    at=now,
                    attempt=job.attempt,
                    worker=job.worker,
                    detail=job.reason,
                )
            )
