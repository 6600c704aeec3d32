"""Jobs and queues as plain data: for `--json`, for the HTTP door, and for what people are shown."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ..model.outcome import Outcome
from ..model.pauses import PauseRecord
from ..model.states import JobState
from ..scheduling.moments import of_epoch
from .info import JobInfo
from .queues import QueueInfo

if TYPE_CHECKING:
    from .schedule_info import ScheduleInfo  # which most programs never load


_PLAIN = (
    "name", "task", "queue", "args", "kwargs", "spec", "words", "note", "error", "overlap", "catch_up", "pause_on_failure",
    "runs", "skipped", "last_job", "declared", "home",
)  # fmt: skip


def job_data(record: JobInfo) -> dict[str, Any]:
    """Return everything that is known of a job; moments are ISO 8601 in UTC."""
    data: dict[str, Any] = {
        "id": record.id,
        "task": record.task,
        "queue": record.queue,
        "state": str(record.state),
        "priority": record.priority,
        "attempts": record.attempts,
        "crashes": record.crashes,
        "created_at": iso(record.created_at),
        "due_at": iso(record.due_at),
        "started_at": iso(record.started_at),
        "ended_at": iso(record.ended_at),
        "worker": record.worker,
        "waits_for": record.waits_for,
        "parked": record.parked,
        "paused": record.is_paused,
        "key": record.key,
        "parent": record.parent,
        "owned": record.owned,
        "unresponsive": record.unresponsive,
        "cancel_asked": record.cancel_reason is not None,
        "cursor": record.cursor,
    }
    data |= body_data(record.body) if record.raw else _message_data(record)
    if record.cancel_reason:
        data["cancel_reason"] = record.cancel_reason
    if record.progress is not None:
        data["progress"] = record.progress
    outcome = record.outcome
    if outcome is not None:
        data |= error_data(outcome)
        if outcome.state is JobState.SUCCEEDED:
            data["result"] = record.result
        if outcome.started_at is not None and outcome.ended_at is not None:
            data["seconds"] = round(outcome.ended_at - outcome.started_at, 6)
    return data


def _message_data(record: JobInfo) -> dict[str, Any]:
    """Return what a message says; of one that cannot be read, why, and its bytes."""
    message = record.message
    if message is None:
        return {"undecodable": record.problem, **body_data(record.body)}
    data: dict[str, Any] = {"args": message.args, "kwargs": message.kwargs}
    if message.tags:
        data["tags"] = list(message.tags)
    if message.headers:
        data["headers"] = message.headers
    if message.timeout is not None:
        data["timeout"] = message.timeout
    return data


def body_data(payload: bytes) -> dict[str, Any]:
    """Return a body that is no message: as text where it is one, else in base64."""
    try:
        return {"body": payload.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(payload).decode()}


def error_data(outcome: Outcome) -> dict[str, Any]:
    """Return the reason and the error of an outcome, as far as there are any."""
    data: dict[str, Any] = {}
    if outcome.reason is not None:
        data["reason"] = outcome.reason
    if outcome.error is not None:
        data["error"] = msgspec.to_builtins(outcome.error)
    return data


def queue_data(record: QueueInfo) -> dict[str, Any]:
    """Return a queue's counts, and what waits at the server that moves its messages."""
    beside: dict[str, Any] = {} if record.messages is None else {"messages": msgspec.to_builtins(record.messages)}
    if record.max_length is not None:
        beside["max_length"] = record.max_length
    return {
        "name": record.name,
        "paused": record.paused,
        "counts": {str(state): record.counts.get(state, 0) for state in JobState},
        **beside,
    }


def pause_data(record: PauseRecord) -> dict[str, Any]:
    """Return a pause as plain data."""
    return {
        "task": record.task,
        "where": record.where,
        "note": record.note,
        "by": record.by,
        "paused_at": iso(record.paused_at),
        "waiting": record.waiting,
    }


def iso(at: float | None) -> str | None:
    """Write a moment for programs."""
    return None if at is None else of_epoch(at).isoformat(timespec="milliseconds")


def short_type(name: str) -> str:
    """Return the last part of an exception's qualified name: in one line the text is more important."""
    return name.rpartition(".")[2]


def schedule_data(info: ScheduleInfo) -> dict[str, Any]:
    """Return everything that is known of a schedule; moments are ISO 8601 in UTC."""
    return {
        **{name: getattr(info, name) for name in _PLAIN},
        "state": str(info.state),
        "last_state": None if info.last_state is None else str(info.last_state),
        **{name: iso_of(getattr(info, name)) for name in ("next_run", "next_slot", "last_slot")},
    }


def iso_of(moment: datetime | None) -> str | None:
    """Write a moment of a schedule for programs."""
    return None if moment is None else moment.isoformat()
