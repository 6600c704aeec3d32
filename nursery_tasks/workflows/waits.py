"""Durable waits: for a time, and for an event. They hold no slot, and a workflow that waits may change its worker meanwhile."""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar, overload

import msgspec
from anyio import get_cancelled_exc_class, move_on_after
from anyio import sleep as anyio_sleep

from ..client import Connection
from ..client.results import open_outcome
from ..current import slot_released
from ..errors import EventTimedOut, NoWorkflow, UnknownJob, WorkflowEnded
from ..model.codec import pack_outcome
from ..model.delivery import JOB_OWNER_SECONDS, Stored, Submission, job_owner
from ..model.duration import Duration, to_optional_seconds, to_seconds
from ..model.message import Message
from ..model.options import check_name
from ..model.outcome import TIMED_OUT, Outcome
from ..model.states import JobState
from .names import hash_of
from .outages import until_answered
from .recording import Recording
from .steps import open_record, recording_here, recording_or_none

T = TypeVar("T")

LOOK_FIRST: Final = 32  # events that are looked for at once; each time that all of them are there twice as many
LOOK_MOST: Final = 1_000


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
    record_id = recording.names.of_record("sleep", f"{seconds:g}s")
    cut_id = recording.names.of_cut(record_id)
    await recording.check_left()
    began = recording.connection.now()
    try:
        if recording.was_cut(cut_id):
            await _wait_cut(recording, cut_id)
        await _sleep_until(recording, await _moment_after(recording, record_id, f"sleep:{seconds:g}s", seconds))
    except get_cancelled_exc_class():
        await recording.store_cut(recording.note(cut_id, f"cut:sleep:{seconds:g}s"), began)
        raise


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

    Cancellation:
        When a scope of the workflow's own cancels the wait, that is recorded, and the next event is for the next wait. An
        event that has come in the same moment is returned nevertheless.
    """
    recording = recording_here("wait_for_event()")
    seconds = to_optional_seconds("timeout", timeout)
    what = f"event:{check_name('event', name)}"
    record_id = recording.names.of_record("event", name)
    wait_id = recording.names.of_record("wait", name)
    await recording.check_left()
    stored = recording.look(record_id)
    if stored is None:
        stored = await _wait_for_new(recording, record_id, wait_id, name, seconds)
    elif recording.is_cut(stored):
        await _wait_cut(recording, record_id)
    found = open_outcome(stored)
    if found is not None and found.state is JobState.FAILED:
        raise EventTimedOut(name, seconds or 0.0)
    return open_record(recording, stored, record_id, what, returns)


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
    registry = connection.app.registry
    spec = registry.tasks.get(record.task) or registry.own.get(record.task)
    if spec is not None and not spec.durable:  # of a task that this program does not know nobody can tell
        raise NoWorkflow(job_id, record.task, name)
    outcome = Outcome(state=JobState.SUCCEEDED, value=msgspec.Raw(value), ended_at=connection.now())
    submission = Submission(
        id="",
        queue=record.queue,
        task=what,
        payload=codec.encode(what, Message(task=what, parent=job_id)),
        parent=job_id,
        owner=job_owner(job_id),
        owner_seconds=JOB_OWNER_SECONDS,
        ended=JobState.SUCCEEDED,
        outcome=pack_outcome(outcome, codec.form),
    )
    number = 0
    while True:
        submission = msgspec.structs.replace(submission, id=_event_id(job_id, name, number))
        [receipt] = await gateway.submit([submission])
        if receipt.created:
            return
        number = await _next_number(connection, job_id, name, number + 1)


async def _next_number(connection: Connection, job_id: str, name: str, number: int) -> int:
    """Return the first number from *number* that no event has; they have no gaps."""
    width = LOOK_FIRST
    while True:
        ids = [_event_id(job_id, name, number + place) for place in range(width)]
        found = await connection.gateway.outcomes(ids)
        if None in found:
            return number + found.index(None)
        number, width = number + width, min(2 * width, LOOK_MOST)


def _event_id(job_id: str, name: str, number: int) -> str:
    return hash_of(job_id, "event", name, b"null", number)


async def _moment_after(recording: Recording, record_id: str, what: str, seconds: float) -> float:
    """Return the moment that lies so many seconds after the first time that the function came here, in epoch seconds."""
    stored = recording.look(record_id)
    if stored is None:
        value = msgspec.Raw(recording.codec.encode(what, recording.connection.now() + seconds))
        stored = await recording.store(recording.record(record_id, what, Outcome(state=JobState.SUCCEEDED, value=value)))
    moment: float = open_record(recording, stored, record_id, what, float)
    return moment


async def _wait_cut(recording: Recording, call_id: str) -> None:
    async with slot_released():
        await recording.wait_cut(call_id)


async def _sleep_until(recording: Recording, moment: float) -> None:
    async with slot_released():
        while nap := recording.connection.nap_until(moment):  # noqa: ASYNC110 - for a moment, in naps
            await anyio_sleep(nap)


async def _wait_for_new(recording: Recording, record_id: str, wait_id: str, name: str, seconds: float | None) -> Stored:
    """Wait for an event that had not come in an earlier run; what is returned is recorded, also that it did not come."""
    began, what = recording.connection.now(), f"event:{name}"
    try:
        deadline = math.inf if seconds is None else await _moment_after(recording, wait_id, f"wait:{name}", seconds)
        stored = await _wait_for(recording, record_id, wait_id, name, deadline)
        if stored is None:
            outcome = Outcome(state=JobState.FAILED, reason=TIMED_OUT)
            stored = await recording.store(recording.record(record_id, what, outcome))
    except get_cancelled_exc_class():
        came = await recording.store_cut(recording.note(record_id, what), began)
        if came is None:  # from now on the next event is for the next wait
            raise
        return came
    return stored


async def _wait_for(recording: Recording, record_id: str, wait_id: str, name: str, deadline: float) -> Stored | None:
    """Wait for a record that others make; None: the deadline is over."""
    connection = recording.connection
    with connection.waiter.expecting(record_id, look=False) as ticket:
        [stored] = await until_answered(lambda: connection.gateway.outcomes([record_id]))
        if stored is not None:
            return stored
        if deadline == math.inf and recording.look(wait_id) is None:  # so that people see what it waits for
            await recording.store(recording.note(wait_id, f"wait:{name}"))
        async with slot_released():
            while nap := connection.nap_until(deadline):
                with move_on_after(nap):
                    return await ticket.wait()
            return None
