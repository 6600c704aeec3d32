"""Durable waits: for a time, and for an event. They hold no slot, and a workflow that waits may change its worker meanwhile."""

from __future__ import annotations

import math
from itertools import count
from typing import Any, Final, TypeVar, overload

import msgspec
from anyio import move_on_after
from anyio import sleep as anyio_sleep

from ..client import Connection
from ..client.results import open_outcome
from ..current import slot_given_back
from ..errors import EventTimedOut, UnknownJob, WorkflowEnded
from ..model.codec import pack_outcome
from ..model.delivery import JOB_OWNER_SECONDS, Stored, Submission, job_owner
from ..model.duration import Duration, to_optional_seconds, to_seconds
from ..model.message import Message
from ..model.options import check_name
from ..model.outcome import TIMED_OUT, Outcome
from ..model.states import JobState
from .recording import Recording, hash_of, until_answered
from .steps import open_record, recording_here, recording_or_none

T = TypeVar("T")

LONGEST_NAP_SECONDS: Final = 60.0  # then the clock of the world is looked at again, which may have been set


async def sleep(duration: Duration) -> None:
    """Sleep; in a durable workflow until the same moment, however often its worker dies meanwhile.

    The moment is recorded when the sleep begins. The wait holds no slot. Elsewhere it is a plain sleep.

    Args:
        duration: Seconds, or a timedelta.
    """
    seconds = to_seconds("duration", duration)
    recording = recording_or_none()
    if recording is None:
        await anyio_sleep(seconds)
        return
    wake_at = await _moment_after(recording, "sleep", f"{seconds:g}s", seconds)
    await _sleep_until(recording, wake_at)


@overload
async def wait_for_event(name: str, timeout: Duration | None = None) -> Any: ...
@overload
async def wait_for_event(name: str, timeout: Duration | None = None, *, returns: type[T]) -> T: ...
async def wait_for_event(name: str, timeout: Duration | None = None, *, returns: Any = Any) -> Any:
    """Wait, in a durable workflow, until somebody sends an event with `app.send_event()`; returns its payload.

    The n-th wait for a name gets the n-th event of that name, also one that was sent before. The wait holds no slot.

    Args:
        name: The event's name.
        timeout: Seconds (or a timedelta) to wait at most, from the first time that the function came here; None: for ever.
        returns: What the payload is converted to.

    Raises:
        EventTimedOut: It did not come (a `TimeoutError`); recorded, so an event that is sent later is for the next wait.
        NotInWorkflow: No durable workflow runs here.
    """
    recording = recording_here("wait_for_event()")
    seconds = to_optional_seconds("timeout", timeout)
    record_id = recording.name_record("event", check_name("event", name))
    deadline = None if seconds is None else await _moment_after(recording, "deadline", name, seconds)
    stored = recording.look(record_id) or await _wait_for(recording, record_id, deadline)
    if stored is None:
        outcome = Outcome(state=JobState.FAILED, reason=TIMED_OUT)
        stored = await recording.store(recording.record(record_id, f"event:{name}", outcome))
    found = open_outcome(stored)
    if found is not None and found.state is JobState.FAILED:
        raise EventTimedOut(name, seconds or 0.0)
    return open_record(recording, stored, record_id, f"event:{name}", returns)


async def send_event(connection: Connection, job_id: str, name: str, payload: Any) -> None:
    """Send an event to a durable workflow. See `App.send_event`."""
    gateway, codec = connection.gateway, connection.app.registry.codec
    what = f"event:{check_name('event', name)}"
    value = codec.encode(f"the payload of {what}", payload)
    record = await gateway.call(gateway.admin.job, job_id)
    if record is None:
        raise UnknownJob(job_id)
    if record.state.ended:
        raise WorkflowEnded(job_id, record.task, str(record.state), name)
    outcome = Outcome(state=JobState.SUCCEEDED, value=msgspec.Raw(value), ended_at=connection.now())
    for number in count():
        submission = Submission(
            id=hash_of(job_id, "event", name, b"null", number),
            queue=record.queue,
            task=what,
            payload=codec.encode(what, Message(task=what, parent=job_id)),
            parent=job_id,
            owner=job_owner(job_id),
            owner_seconds=JOB_OWNER_SECONDS,
            ended=JobState.SUCCEEDED,
            outcome=pack_outcome(outcome, codec.form),
        )
        [receipt] = await gateway.submit([submission])
        if receipt.created:
            return


async def _moment_after(recording: Recording, kind: str, name: str, seconds: float) -> float:
    """Return the moment that lies so many seconds after the first time that the function came here, in epoch seconds."""
    record_id = recording.name_record(kind, name)
    stored = recording.look(record_id)
    if stored is None:
        value = msgspec.Raw(recording.codec.encode(kind, recording.connection.now() + seconds))
        outcome = Outcome(state=JobState.SUCCEEDED, value=value)
        stored = await recording.store(recording.record(record_id, f"{kind}:{name}", outcome))
    moment: float = open_record(recording, stored, record_id, f"{kind}:{name}", float)
    return moment


async def _sleep_until(recording: Recording, moment: float) -> None:
    async with slot_given_back():
        while (left := moment - recording.connection.now()) > 0:  # noqa: ASYNC110 - for a moment, in naps
            await anyio_sleep(min(left, LONGEST_NAP_SECONDS))


async def _wait_for(recording: Recording, record_id: str, deadline: float | None) -> Stored | None:
    """Wait for a record that others make; None: the deadline is over."""
    connection = recording.connection
    with connection.waiter.expecting(record_id, look=False) as ticket:
        [stored] = await until_answered(lambda: connection.gateway.outcomes([record_id]))
        if stored is not None:
            return stored
        async with slot_given_back():
            while True:
                left = math.inf if deadline is None else deadline - connection.now()
                if left <= 0:
                    return None
                with move_on_after(min(left, LONGEST_NAP_SECONDS)):
                    return await ticket.wait()
