"""What happened, as records. Logging, metrics and the command line's display are listeners; they change nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum

import msgspec

_log = logging.getLogger("nursery_tasks.events")


class EventKind(StrEnum):
    """The kinds of events, in the order in which a job may go through them."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    RETRYING = "retrying"
    RELEASED = "released"  # given back: the worker stops, or does not know the task
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"
    UNRESPONSIVE = "unresponsive"  # told to end, its handler does not, and costs the worker a slot
    STALE = "stale"  # an outcome came too late: the lease had been lost


class JobEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened to one job.

    Attributes:
        at: Epoch seconds, on the clock of the process that saw it.
        attempt: From 1; 0 when there was none.
        seconds: How long the attempt ran; for `retrying`, `wait_seconds` says when the next one may start.
        detail: The reason or the error in one line.
        remote_traceback: For a failure, what Python prints.
    """

    kind: EventKind
    job_id: str
    task: str
    queue: str
    at: float
    attempt: int = 0
    worker: str | None = None
    seconds: float | None = None
    wait_seconds: float | None = None
    detail: str | None = None
    remote_traceback: str = ""


EventListener = Callable[[JobEvent], object]


class Events:
    """The listeners of one app. One that raises is logged, and hears the next event all the same."""

    def __init__(self) -> None:
        self.listeners: list[EventListener] = []

    def subscribe(self, listener: EventListener) -> Callable[[], None]:
        """Add a plain function that is called with each event; returns a function that takes it away again."""
        self.listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self.listeners:
                self.listeners.remove(listener)

        return unsubscribe

    def emit(self, event: JobEvent) -> None:
        """Tell all listeners. Callers on a hot path ask `listeners` first and save making the event."""
        for listener in tuple(self.listeners):
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed on %s of job %s", event.kind, event.job_id)
