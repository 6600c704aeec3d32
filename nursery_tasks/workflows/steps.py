"""What a durable workflow records that is no job: steps, sleeps and events."""

from __future__ import annotations

import typing
from collections.abc import Callable, Coroutine
from inspect import isawaitable
from typing import Any, Final, ParamSpec, TypeVar, overload

import msgspec
from anyio import get_cancelled_exc_class, move_on_after, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from ..client.group import Startable
from ..client.results import error_of, open_outcome
from ..current import current_job_or_none, set_current, slot_released
from ..errors import InvalidOptions, NotInWorkflow, PayloadTooLarge
from ..model.codec import sniff
from ..model.delivery import Stored
from ..model.failure import describe_safely
from ..model.options import check_name
from ..model.outcome import Outcome
from ..model.states import JobState
from ..registry import is_async
from .recorder import WorkflowRecorder
from .recording import STORE_SECONDS, Recording
from .undo import to_undo

P = ParamSpec("P")
R = TypeVar("R")

MAX_STEP_BYTES: Final = 1024 * 1024  # of a step's result; larger ones belong into a file, and its path into the record


def recording_here(what: str) -> Recording:
    """Return the recording of the durable workflow that runs here.

    Raises:
        NotInWorkflow: None does.
    """
    found = recording_or_none()
    if found is None:
        raise NotInWorkflow(what)
    return found


def recording_or_none() -> Recording | None:
    """Do the same, with None elsewhere."""
    job = current_job_or_none()
    recorder: object = None if job is None else job.recorder
    return recorder.recording if isinstance(recorder, WorkflowRecorder) else None


class Step:
    """`step`, the one object of this class: `await step(function, *args)`."""

    @overload
    async def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function, and record what it returns or raises before that is told: time, randomness, a side effect.

            token = await step(secrets.token_hex, 16)
            await step(send_mail, address)

        When the workflow is run again, the record answers and the function is not called. A function whose worker died before
        its outcome was recorded is called again: *at least once*. An `async def` runs on the loop, a `def` in a thread. In a
        workflow that is not durable, or elsewhere, it is a plain call.

        What comes back has made the way through the record, in the first run too: it is decoded as the function's annotation
        says.

        Raises:
            InvalidOptions: The function has no name of its own (a lambda, a partial): its record could not be found again.
            NotSerializable, PayloadTooLarge: An argument or the result cannot be recorded.
            WorkflowChanged: Another call was recorded in this place.
            Exception: What the function raised, as its record tells it: of the same class where that is built in or one of
                `App(errors=...)`, else a `RemoteError`. The first time it is raised from the function's own.

        Cancellation:
            Once the function has returned, its record is stored all the same. One that a scope of the workflow's own has
            cancelled is recorded as cut: another run waits here until that scope is cancelled again. Nothing is recorded of
            a function that ended with the workflow, or with its worker.
        """
        recording = recording_or_none()
        if recording is None:
            return await _call(function, args, kwargs, in_thread=True)
        name = _name_of(function)
        record_id = recording.names.of_record("step", name, [args, kwargs])
        await recording.check_left()
        stored = recording.look(record_id)
        if stored is None:
            return await _perform(recording, record_id, name, function, args, kwargs)
        if recording.is_cut(stored):
            async with slot_released():
                await recording.wait_cut(record_id)
        return open_record(recording, stored, record_id, f"step:{name}", _returns(function))

    def undo_with(self, task: Startable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have a task run when the workflow does not succeed: to take back what was done last.

            seat = await book.run(trip)
            step.undo_with(give_back, seat)

        What was done first is undone last, also in branches, and in the same order whichever run fails; when all has been
        undone the workflow fails with its own error, or ends cancelled.
        Nothing is undone when only the worker stops or dies: then the workflow goes on elsewhere. See the guide.

        Args:
            task: A task; give it retries, as it should succeed, and let it bear being run twice.

        Raises:
            InvalidArguments: The arguments do not fit the task.
            InvalidOptions: The task was given limits other than its own.
            NotInWorkflow: No durable workflow runs here.
        """
        recording = recording_here("step.undo_with()")
        recording.undos.append((recording.order.place(), to_undo(task.job(*args, **kwargs))))


step: Final = Step()


def open_record(recording: Recording, stored: Stored, record_id: str, what: str, wanted: Any) -> Any:
    """Return what was recorded, or raise it."""
    recording.passed(stored)
    outcome = open_outcome(stored)
    assert outcome is not None
    assert stored.outcome is not None
    if outcome.state is not JobState.SUCCEEDED:
        raise error_of(outcome, record_id, what, recording.connection.app.registry)
    return recording.codec.decode_value(outcome.value, sniff(stored.outcome), wanted)


async def _perform(
    recording: Recording, record_id: str, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
) -> Any:
    """Call a step's function, and record the outcome."""
    what, codec = f"step:{name}", recording.codec
    began = recording.connection.now()
    error: Exception | None = None
    try:
        await checkpoint_if_cancelled()
        value = await _outside(recording, function, args, kwargs)
    except get_cancelled_exc_class():
        await recording.store_cut(recording.note(record_id, what, arguments=args), began)
        raise
    except Exception as raised:
        error = raised
        outcome = Outcome(state=JobState.FAILED, error=describe_safely(raised, codec.plain), started_at=began)
    else:
        encoded = codec.encode(f"the result of {what}", value)
        if len(encoded) > MAX_STEP_BYTES:
            raise PayloadTooLarge(f"the result of {what}", len(encoded), MAX_STEP_BYTES, fixed=True)
        outcome = Outcome(state=JobState.SUCCEEDED, value=msgspec.Raw(encoded), started_at=began)
    record, stored = recording.record(record_id, what, outcome, args), None
    with move_on_after(STORE_SECONDS, shield=True):  # what has happened must be known
        stored = await recording.store(record)
    if stored is None:  # the broker is away, and may be for long
        stored = await recording.store(record)
    try:
        return open_record(recording, stored, record_id, what, _returns(function))
    except Exception as recorded:  # as another run will see it: also its class, where that is not known here
        if error is None:
            raise
        raise recorded from error


async def _outside(recording: Recording, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
    """Call a function as the workflow's job, but not as a part of its recorded function: what it submits is its own affair."""
    around = current_job_or_none()
    set_current(recording.job)
    recording.busy += 1
    try:
        return await _call(function, args, kwargs, in_thread=recording.connection.gateway.broker.blocking)
    finally:
        recording.busy -= 1
        if around is not None:
            set_current(around)


async def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, *, in_thread: bool) -> Any:
    """Call a function where it belongs; on a virtual clock nothing may run in a thread."""
    if is_async(function) or not in_thread:
        value = function(*args, **kwargs)
        return await value if isawaitable(value) else value
    return await to_thread.run_sync(lambda: function(*args, **kwargs))


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", "")
    if not name or "<lambda>" in name:
        expected = "a function with a name of its own, by which its record is found again; write a def"
        raise InvalidOptions("step", name or repr(function), expected)
    return check_name("step", name)


def _returns(function: Callable[..., Any]) -> Any:
    try:
        wanted = typing.get_type_hints(function).get("return", Any)
    except Exception:  # a builtin, or a hint that cannot be found: then plain data comes back
        return Any
    return Any if wanted is type(None) else wanted
