"""Waiting for room in full queues, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from anyio import move_on_after

from ..current import distant_slot_released
from ..errors import QueueFull
from ..loop.from_thread import call_on_loop, check_may_block
from ..model.delivery import Receipt, Submission
from .connection import Connection
from .room import Answer, Pace
from .sync_connection import pause

_CALL, _INSTEAD = "app.sync.enqueue() into a full queue", "await task.enqueue(...)"


def push(
    submit: Callable[[Sequence[Submission]], Sequence[Answer]],
    jobs: Sequence[Submission],
    deadline: float,
    connection: Callable[[], Connection | None],
) -> list[Receipt]:
    """Submit jobs, and wait until all are in; those of one queue go in in their order.

    Args:
        submit: Submits once.
        deadline: By `time.monotonic`; infinite: wait for ever.
        connection: Asked, when there is no room, for the app's connection on the loop that this thread works for.

    Raises:
        QueueFull: There was no room in time; what went in stays.
        WouldBlockLoop: There is none now, and an event loop runs in this thread.

    Cancellation:
        In a handler whose job is cancelled the wait ends as `check_cancelled()` does.
    """
    answers = list(submit(jobs))
    for full in {answer.queue: answer for answer in answers if isinstance(answer, QueueFull)}.values():
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise full
        places = [n for n, answer in enumerate(answers) if isinstance(answer, QueueFull) and answer.queue == full.queue]
        here, left = connection(), [jobs[n] for n in places]
        receipts = _push_here(submit, left, deadline, full) if here is None else _push_on_loop(here, left, seconds, full)
        for place, receipt in zip(places, receipts, strict=True):
            answers[place] = receipt
    return [answer for answer in answers if isinstance(answer, Receipt)]


def _push_here(
    submit: Callable[[Sequence[Submission]], Sequence[Answer]], jobs: Sequence[Submission], deadline: float, full: QueueFull
) -> list[Receipt]:
    check_may_block(_CALL, _INSTEAD)
    pace, receipts, never = Pace(), list[Receipt](), threading.Event()
    with distant_slot_released():
        while True:
            wake_at = min(deadline, time.monotonic() + pace.next_pause(full.max_length))
            while (seconds := wake_at - time.monotonic()) > 0:
                pause(never, seconds)
            while True:
                piece = jobs[len(receipts) : len(receipts) + pace.piece]
                stored = [answer for answer in submit(piece) if isinstance(answer, Receipt)]
                pace.note(len(piece), len(stored))
                receipts += stored
                if len(receipts) == len(jobs):
                    return receipts
                if len(stored) < len(piece):
                    break
            if time.monotonic() >= deadline:
                raise full


def _push_on_loop(connection: Connection, jobs: Sequence[Submission], seconds: float, full: QueueFull) -> list[Receipt]:
    """Wait on the worker's loop, so that the handler's slot is given back meanwhile."""
    receipts = call_on_loop(_CALL, _INSTEAD, _submit_within, connection, jobs, seconds)
    if receipts is None:
        raise full
    return receipts


async def _submit_within(connection: Connection, jobs: Sequence[Submission], seconds: float) -> list[Receipt] | None:
    with move_on_after(seconds):
        return await connection.submitter.submit(jobs)
    return None
