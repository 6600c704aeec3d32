"""What happened, as records. Logging, metrics and the command line's display are listeners; they change nothing."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from .errors import InvalidOptions

_log = logging.getLogger("nursery_tasks.events")


class EventKind(StrEnum):
    """The kinds of events, in the order in which a job may go through them."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    RETRYING = "retrying"
    RELEASED = "released"  # given back: the worker stops, does not know the task, or knows it to be paused
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"
    UNRESPONSIVE = "unresponsive"  # told to end, its handler does not, and costs the worker a slot
    STALE = "stale"  # an outcome came too late: the lease had been lost
    GAP = "gap"  # only in the log of events: what is missing there, in `detail`


ENDED: Final = frozenset(
    {EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED, EventKind.EXPIRED, EventKind.DEAD}
)  # how a job ends; `ended` for short, where kinds are chosen


class JobEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened to one job.

    Attributes:
        at: Epoch seconds, on the clock of the process that saw it.
        attempt: From 1; 0 when there was none.
        seconds: How long the attempt ran; for `retrying`, `wait_seconds` says when the next one may start.
        detail: The reason or the error in one line; for `progress`, what the handler said, as JSON.
        remote_traceback: For a failure, what Python prints.
        id, cursor: In the log of events: its name, which is given once, and its place there; else empty.
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
    id: str = ""
    cursor: str = ""


TRACEBACK: Final = 2_000  # characters that the log keeps of one, from its end; all of it is in the job's outcome
LONGEST_PROGRESS: Final = 2_000  # characters; the log has of more than that only that it was said

EventListener = Callable[[JobEvent], object]


class EventRow(msgspec.Struct, array_like=True, gc=False):
    """Some events of one kind, as the log keeps them: what they have in common, and lists with a place for each job.

    The log gets one for each job that ends, and jobs of one task end by the hundred. A record for each would cost a tenth of
    such a job, an entry in each of three lists costs a hundredth.

    Attributes:
        seconds: For each job, or empty.
        has_begun: Each stands for the start of its attempt as well, `seconds` before.
    """

    kind: str
    task: str
    queue: str
    ids: list[str]
    ats: list[float]
    attempt: int = 0
    worker: str | None = None
    seconds: list[float] = []
    has_begun: bool = False
    wait_seconds: float | None = None
    detail: str | None = None
    remote_traceback: str = ""

    @property
    def count(self) -> int:
        """How many events it stands for."""
        return 2 * len(self.ids) if self.has_begun else len(self.ids)


class EventSink(Protocol):
    """Where the log of events takes note; from any thread, and at once."""

    def note(self, rows: Sequence[EventRow]) -> None:
        """Take note of events. The rows are the log's from then on."""
        ...


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a reader wants; None: all of them. A gap passes every filter."""

    kinds: frozenset[EventKind] | None = None
    task: re.Pattern[str] | None = None
    job: str | None = None

    def wants(self, event: JobEvent) -> bool:
        """Say whether an event is one of them."""
        if event.kind is EventKind.GAP:
            return True
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.job is None or event.job_id == self.job)
            and (self.task is None or self.task.match(event.task) is not None)
        )


def to_event_filter(kinds: Iterable[str] | str = (), task: str | None = None, job: str | None = None) -> EventFilter | None:
    """Make a filter; None: everything passes.

    Args:
        kinds: Kinds of events; `ended` stands for all ways in which a job may end. None given: all kinds.
        task: A task's name, or a pattern for names: `mail.*`.
        job: The id of a job.

    Raises:
        InvalidOptions: A kind does not exist, or something else than a text is given.
    """
    chosen: set[EventKind] = set()
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == "ended":
            chosen |= ENDED
            continue
        try:
            chosen.add(EventKind(kind))
        except ValueError:
            listed = ", ".join(each for each in EventKind if each is not EventKind.GAP)
            raise InvalidOptions("kinds", kind, f"ended, or one of {listed}") from None
    for option, given in (("task", task), ("job", job)):
        if given is not None and not isinstance(given, str):
            raise InvalidOptions(option, given, "a task's name or a pattern" if option == "task" else "the id of a job")
    if not chosen and task is None and job is None:
        return None
    pattern = None if task is None else re.compile(fnmatch.translate(task))
    return EventFilter(frozenset(chosen) or None, pattern, job)


class Events:
    """The listeners of one app. One that raises is logged, and hears the next event all the same.

    Attributes:
        log: Where the log of events, if there is one, takes note of each.
        is_heard: Whether there is a listener or a log. Callers on a hot path ask, and save making the event.
    """

    def __init__(self) -> None:
        self.listeners: list[EventListener] = []
        self.log: EventSink | None = None

    @property
    def is_heard(self) -> bool:
        return self.log is not None or bool(self.listeners)

    def subscribe(
        self, listener: EventListener, wanted: EventFilter | None = None, *, once: bool = False
    ) -> Callable[[], object]:
        """Add a plain function that is called with each event, or with those that are wanted.

        Args:
            once: It is called with the first of them only.

        Returns:
            A function that takes it away again.
        """

        def listen(event: JobEvent) -> None:
            if wanted is not None and not wanted.wants(event):
                return
            if once and not unsubscribe():
                return  # another thread's event was the first
            listener(event)

        called = listener if wanted is None and not once else listen

        def unsubscribe() -> bool:
            try:
                self.listeners.remove(called)
            except ValueError:
                return False
            return True

        self.listeners.append(called)
        return unsubscribe

    def emit(self, event: JobEvent) -> None:
        """Tell the log, and all listeners. Callers on a hot path ask `is_heard` first and save making the event."""
        if self.log is not None:
            self.log.note([row_of(event)])
        self.tell_listeners(event)

    def tell_listeners(self, event: JobEvent) -> None:
        """Tell the listeners of what the log has taken note of already."""
        for listener in tuple(self.listeners):
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed on %s of job %s", event.kind, event.job_id)


def row_of(event: JobEvent, *, has_begun: bool = False) -> EventRow:
    """Return an event as the log keeps it."""
    detail = event.detail
    if event.kind is EventKind.PROGRESS and detail is not None and len(detail) > LONGEST_PROGRESS:
        detail = None  # a part of it could not be read
    return EventRow(
        event.kind.value,
        event.task,
        event.queue,
        [event.job_id],
        [event.at],
        event.attempt,
        event.worker,
        [] if event.seconds is None else [event.seconds],
        has_begun,
        event.wait_seconds,
        detail,
        event.remote_traceback[-TRACEBACK:],
    )


def events_of(row: EventRow) -> Iterator[JobEvent]:
    """Return the events that a row stands for, in order.

    Raises:
        ValueError, IndexError: It is none of this version.
    """
    kind = EventKind(row.kind)
    for place, (job_id, at) in enumerate(zip(row.ids, row.ats, strict=True)):
        took = row.seconds[place] if row.seconds else None
        if row.has_begun:
            yield JobEvent(
                kind=EventKind.STARTED,
                job_id=job_id,
                task=row.task,
                queue=row.queue,
                at=at - (took or 0.0),
                attempt=row.attempt,
                worker=row.worker,
            )
        yield JobEvent(
            kind=kind,
            job_id=job_id,
            task=row.task,
            queue=row.queue,
            at=at,
            attempt=row.attempt,
            worker=row.worker,
            seconds=took,
            wait_seconds=row.wait_seconds,
            detail=row.detail,
            remote_traceback=row.remote_traceback,
        )
