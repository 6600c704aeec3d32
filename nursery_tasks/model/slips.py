"""What was meant by an option that does not exist: a typing error, another library's word, or the wrong place."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final, Literal

from ..errors import InvalidOptions

Place = Literal["call", "task", "workflow"]

CALL_ONLY: Final = ("at", "id")  # on a task, all of its calls would be one job, or wait for one moment that has long passed
TASK_ONLY: Final = ("name", "run_in", "kill_after", "raw", "reply_to", "batch")
WORKFLOW_ONLY: Final = ("durable", "undo_timeout")
SCHEDULE_ONLY: Final = ("schedule", "jitter", "overlap", "catch_up", "pause_on_failure")  # on both

_RETRY: Final = "retry=Retry(...), or retry=5 for five attempts"
_OTHER_WORDS: Final = {  # what other libraries, and habit, call it -> what it is here
    **dict.fromkeys(("retries", "max_retries", "max_attempts", "attempts", "autoretry_for", "retry_on"), _RETRY),
    **dict.fromkeys(("backoff", "retry_backoff", "retry_delay", "default_retry_delay"), "retry=Retry(..., wait=Backoff(...))"),
    **dict.fromkeys(("time_limit", "soft_time_limit", "timeout_seconds", "max_runtime", "job_timeout"), "timeout=<seconds>"),
    **dict.fromkeys(("queue_name", "routing_key"), "queue=<name>"),
    **dict.fromkeys(("countdown", "delay_seconds", "defer_by"), "delay=<seconds>"),
    **dict.fromkeys(("eta", "run_at", "scheduled_at", "start_at", "defer_until"), "at=<datetime with a time zone>"),
    **dict.fromkeys(("task_id", "job_id", "message_id"), "id=<name>"),
    **dict.fromkeys(("ttl", "result_expires", "keep_result"), "result_ttl=<seconds>"),
    **dict.fromkeys(("max_age", "expire"), "expires=<seconds>"),
    **dict.fromkeys(("unique", "unique_key", "lock", "dedup_key", "singleton"), "key=<name>"),
    **dict.fromkeys(("rate_limit", "rate"), 'limits=[RateLimit("10/s")]'),
    **dict.fromkeys(("concurrency", "max_concurrency"), "limits=[Concurrency(3)]"),
    **dict.fromkeys(("cron", "crontab", "run_every", "periodic", "interval"), 'schedule=cron("0 2 * * *"), or every(60)'),
    **dict.fromkeys(("batch_size", "max_batch_size", "flush_every"), "batch=Batch(100, wait=0.5)"),
    **dict.fromkeys(("max_instances", "coalesce", "misfire_grace_time"), "overlap='skip' and catch_up='one' beside schedule="),
    **dict.fromkeys(("order_by", "group_id", "message_group", "partition_key"), 'ordering_key="{account}"'),
    **dict.fromkeys(("acks_late", "acks_early", "ack_late", "at_most_once"), 'delivery="at_most_once", or "at_least_once"'),
    "bind": "nothing: current_job() is the job, in any function",
    "cls": "class Fetch(TaskClass), and app.task(Fetch)",
}
_LIKE_ENOUGH: Final = 0.75  # of 1


def meant_by(
    name: str, words: Collection[str], like: float = _LIKE_ENOUGH, others: Collection[str] = _OTHER_WORDS
) -> str | None:
    """Return what is ours instead of *name*, one of *words* most often; None: nothing comes near.

    Args:
        like: From what likeness on, of 1, a word counts as mistyped.
        others: The words of other libraries that count.
    """
    if name in others:
        return _OTHER_WORDS[name]
    close = get_close_matches(name, words, n=1, cutoff=like)
    return f"{close[0]}=..." if close else None


def misplaced(name: str, value: object, place: Place) -> InvalidOptions | None:
    """Return the error for an option that belongs elsewhere; None: it does not."""
    if place != "call" and name in CALL_ONLY:
        why = "or all calls would be one job" if name == "id" else "or all calls would wait for the same moment"
        return InvalidOptions(name, value, f"it at a call, {why}: task.options({name}=...).enqueue(...)")
    if place == "call" and name in (*TASK_ONLY, *WORKFLOW_ONLY, *SCHEDULE_ONLY):
        kind = "workflow" if name in WORKFLOW_ONLY else "task"
        return InvalidOptions(name, value, f"it where the {kind} is declared: @app.{kind}({name}=...)")
    if place == "workflow" and name == "batch":
        return InvalidOptions(name, value, "it on a task: a workflow runs once for each of its jobs, and may run batch tasks")
    if place == "task" and name in WORKFLOW_ONLY:
        return InvalidOptions(name, value, f"it on a workflow: @app.workflow({name}=...)")
    return None


def unknown_option(name: str, value: object, words: Collection[str], place: Place) -> InvalidOptions:
    """Return the error for an option that is none of *words* in that *place*."""
    error = misplaced(name, value, place)
    if error is not None:
        return error
    meant = meant_by(name, words)
    listed = ", ".join(sorted(words))
    return InvalidOptions(
        name, value, f"one of the options {listed}" if meant is None else f"{meant}; the options are {listed}"
    )
