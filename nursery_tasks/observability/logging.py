"""Events as log records, as JSON and as words.

app.subscribe(log_events())                      # to the logger "nursery_tasks.jobs"
app.subscribe(write_json_lines(sys.stdout))      # one object per line, for a program that reads along
"""

from __future__ import annotations

import json
import logging
import os
import re
import sysconfig
from typing import Any, Final, TextIO

from ..current import current_job_or_none
from ..events import EventKind, EventListener, JobEvent
from ..shown import visible, visible_json

LEVELS: Final = {
    EventKind.QUEUED: logging.DEBUG,
    EventKind.PROGRESS: logging.DEBUG,
    EventKind.STARTED: logging.DEBUG,
    EventKind.RETRYING: logging.WARNING,
    EventKind.FAILED: logging.ERROR,
    EventKind.DEAD: logging.ERROR,
    EventKind.STALE: logging.WARNING,
    EventKind.UNRESPONSIVE: logging.WARNING,
}  # all others: INFO


_FRAME: Final = re.compile(r'^[ |]*File "(.+)", line (\d+), in (.+)$', re.MULTILINE)
_OTHERS: Final = tuple(
    {os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ""), "<"}
)


class JobFacts(logging.Filter):
    """Lets everything through, and gives each record that is made in a handler the `job_id`, `task` and `attempt` of its job.

    For an app that sets up logging itself: `handler.addFilter(JobFacts("-"))`, and a format with `%(job_id)s`.

    Args:
        outside: What records have that are made outside of jobs; None: nothing.
    """

    def __init__(self, outside: str | None = None) -> None:
        super().__init__()
        self._outside = outside

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is known; a record that says itself whose it is keeps that."""
        if hasattr(record, "job_id"):
            return True
        job = current_job_or_none()
        if job is not None:
            record.job_id, record.task, record.attempt = job.id, job.task, job.attempt
        elif self._outside is not None:
            record.job_id = record.task = record.attempt = self._outside
        return True


def log_events(logger: logging.Logger | None = None) -> EventListener:
    """Make a listener that logs each event; its records carry `job_id`, `task`, `queue` and `attempt`.

    Args:
        logger: Default: `nursery_tasks.jobs`.
    """
    target = logger or logging.getLogger("nursery_tasks.jobs")

    def listen(event: JobEvent) -> None:
        level = LEVELS.get(event.kind, logging.INFO)
        if target.isEnabledFor(level):
            extra = {"job_id": event.job_id, "task": event.task, "queue": event.queue, "attempt": event.attempt}
            what, detail = in_words(event)
            task, job_id = visible(event.task), visible(event.job_id)
            target.log(level, "%s %s %s%s", task, job_id, what, f": {detail}" if detail else "", extra=extra)

    return listen


def write_json_lines(out: TextIO) -> EventListener:
    """Make a listener that writes each event as one line of JSON, and flushes: a reader sees it at once."""

    def listen(event: JobEvent) -> None:
        out.write(to_json(event))
        out.flush()

    return listen


def to_json(event: JobEvent) -> str:
    """Return an event as one line: `{"event": "started", "job_id": ...}`; fields that say nothing are left out."""
    fields: dict[str, Any] = {"event": str(event.kind)}
    for name in JobEvent.__struct_fields__:
        value = getattr(event, name)
        if name != "kind" and value not in (None, ""):
            fields["traceback" if name == "remote_traceback" else name] = value
    where = where_of(event.remote_traceback)
    if where:
        fields["where"] = where
    return visible_json(json.dumps(fields, ensure_ascii=False)) + "\n"


def in_words(event: JobEvent) -> tuple[str, str]:
    """Say what happened, in one word or two, and the rest."""
    attempt = f"attempt {event.attempt}" if event.attempt > 1 else ""
    took = "" if event.seconds is None else f"in {duration(event.seconds)}"
    match event.kind:
        case EventKind.RETRYING:
            wait = f"again in {duration(event.wait_seconds or 0.0)}"
            failed = f"attempt {event.attempt} failed {took}".rstrip()
            return "retrying", _joined(failed, event.detail or "", _at(event.remote_traceback), wait)
        case EventKind.RELEASED:
            wait = f"again in {duration(event.wait_seconds)} at the earliest" if event.wait_seconds else ""
            return "released", _joined(event.detail or "", wait)
        case EventKind.QUEUED:
            return "queued", f"due in {duration(event.wait_seconds)}" if event.wait_seconds else ""
        case kind:
            return str(kind), _joined(" ".join(filter(None, (attempt, took))), event.detail or "", _at(event.remote_traceback))


def where_of(traceback: str) -> str:
    """Say where in the user's own code an error came up: file, line and function; empty: it did nowhere."""
    frames = _FRAME.findall(traceback)
    own = [frame for frame in frames if not frame[0].startswith(_OTHERS)]
    if not frames:
        return ""
    file, line, function = (own or frames)[-1]
    here = os.path.join(os.getcwd(), "")
    return f"{file.removeprefix(here)}:{line} in {function}"


def _at(traceback: str) -> str:
    where = where_of(traceback)
    return f"at {where}" if where else ""


def duration(seconds: float) -> str:
    """Write a duration with the unit that fits."""
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.0f} s" if seconds == round(seconds) else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} days"


def _joined(*parts: str) -> str:
    return visible(", ".join(" ".join(part.split()) for part in parts if part))
