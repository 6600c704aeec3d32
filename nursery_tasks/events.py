"""What happened, as records. Logging, metrics and the command line's display are listeners; they change nothing."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

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
        detail: The reason or the error in one line.
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

EventListener = Callable[[JobEvent], object]
# What the log keeps of an event: `kind job_id task queue at attempt worker seconds has_begun wait_seconds detail traceback`,
# without the last ones where they say nothing. *has_begun*: it stands for the start of the attempt as well, `seconds` before.
# A tuple costs a sixth of a record, and the log gets one for each job.
Line = tuple[Any, ...]
HAS_BEGUN: Final = 8  # its place


class EventSink(Protocol):
    """Where the log of events takes note; from any thread, and at once."""

    def note(self, line: Line) -> None:
        """Take note of an event."""
        ...

    def note_start(self, line: Line) -> None:
        """Take note that an attempt has begun, unless its end comes soon, and stands for both."""
        ...

    def take_start(self, job_id: str) -> bool:
        """Say whether the start of a job's attempt is not told yet; the caller then tells it."""
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
            self.log.note(line_of(event))
        self.tell_listeners(event)

    def tell_listeners(self, event: JobEvent) -> None:
        """Tell the listeners of what the log has taken note of already."""
        for listener in tuple(self.listeners):
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed on %s of job %s", event.kind, event.job_id)


def line_of(event: JobEvent) -> Line:
    """Return an event as the log keeps it."""
    return (
        event.kind.value,
        event.job_id,
        event.task,
        event.queue,
        event.at,
        event.attempt,
        event.worker,
        event.seconds,
        False,
        event.wait_seconds,
        event.detail,
        event.remote_traceback[-TRACEBACK:],
    )
