"""Events as log records, as JSON and as words.

app.subscribe(log_events())                      # to the logger "nursery_tasks.jobs"
app.subscribe(write_json_lines(sys.stdout))      # one object per line, for a program that reads along
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final, TextIO

from ..events import EventKind, EventListener, JobEvent

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
            target.log(level, "%s %s %s%s", event.task, event.job_id, what, f": {detail}" if detail else "", extra=extra)

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
    return json.dumps(fields, ensure_ascii=False) + "\n"


def in_words(event: JobEvent) -> tuple[str, str]:
    """Say what happened, in one word or two, and the rest."""
    attempt = f"attempt {event.attempt}" if event.attempt > 1 else ""
    took = "" if event.seconds is None else f"in {duration(event.seconds)}"
    match event.kind:
        case EventKind.RETRYING:
            wait = f"again in {duration(event.wait_seconds or 0.0)}"
            return "retrying", _joined(f"attempt {event.attempt} failed {took}".rstrip(), event.detail or "", wait)
        case EventKind.RELEASED:
            wait = f"again in {duration(event.wait_seconds)} at the earliest" if event.wait_seconds else ""
            return "released", _joined(event.detail or "", wait)
        case EventKind.QUEUED:
            return "queued", f"due in {duration(event.wait_seconds)}" if event.wait_seconds else ""
        case kind:
            return str(kind), _joined(" ".join(filter(None, (attempt, took))), event.detail or "")


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
    return ", ".join(" ".join(part.split()) for part in parts if part)
