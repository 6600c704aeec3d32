"""Durable workflows: an ordinary async function that is run again after a crash.

The function runs in a child of its own behind a shield, so that it is known *why* it is left before it is: when only its worker
stops, its jobs go on and the next worker joins them; when somebody wants the workflow to end, or a scope of the function's own
does, they are cancelled as anywhere.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from anyio import CancelScope, Event, get_cancelled_exc_class

from ..brokers.protocol import Feature
from ..client.connection import ConnectedApp, Connection
from ..current import CurrentJob, current_job_or_none, set_current
from ..errors import NotSupported
from ..loop.unwrapped import open_unwrapped_group
from .recorder import WorkflowRecorder
from .recording import Recording
from .undo import find_undo, undo

Function = Callable[..., Coroutine[Any, Any, Any]]


def make_durable(app: ConnectedApp, name: str, function: Function, undo_seconds: float) -> Function:
    """Return a function that runs *function* as the durable workflow *name* where a worker calls it, and plainly elsewhere.

    Args:
        undo_seconds: The budget of what is undone.
    """

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        job = current_job_or_none()
        connection = app.open_connection
        if job is None or connection is None or not _is_run_for(job, name, connection):
            return await function(*args, **kwargs)
        broker = connection.gateway.broker
        if Feature.WORKFLOWS not in broker.features:
            raise NotSupported(broker.name, f"durable workflows, such as {name}", broker.step)
        recording = Recording(connection, job, math.inf if job.context is None else job.context.deadline)
        await recording.load()
        if job.context is not None:
            job.context.can_resume = lambda: not recording.busy
        begun = await find_undo(recording)
        if begun is not None:  # the function has failed already, and is not asked again
            raise await begun.finish()
        try:
            value = await _Body(recording).run(function, args, kwargs)
            if recording.names.changed is not None:
                raise recording.names.changed
            recording.check_all_made()
        except BaseException as error:
            if recording.names.changed is not None:  # a group may hold it, or a handler have hidden it on its way
                raise recording.names.changed from None
            if not recording.goes_on:
                await undo(recording, error, undo_seconds)
            raise
        return value

    return run


def _is_run_for(job: CurrentJob, name: str, connection: Connection) -> bool:
    """Whether the worker runs this very workflow here, and not another job whose handler calls its function."""
    is_ours = job.context is not None and job.context.broker is connection.gateway.broker
    return job.task == name and job.recorder is None and is_ours


class _Body:
    """One run of the function, in a child of its own."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._scope = CancelScope(shield=True)  # bounded by the host below, which cancels it
        self._done = Event()
        self._value: Any = None
        self._error: BaseException | None = None

    async def run(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it to its end.

        Cancellation:
            The function is cancelled, and waited for.
        """
        async with open_unwrapped_group() as group:
            group.start_soon(self._call, function, args, kwargs, name=f"workflow {self._recording.job.id}")
            try:
                await self._done.wait()
            except get_cancelled_exc_class():
                self._leave()
                with CancelScope(shield=True):  # as long as the function cleans up; the watchdog looks after that
                    await self._done.wait()
                if self._error is None:
                    raise
        if self._error is not None:
            raise self._error
        return self._value

    def _leave(self) -> None:
        context = self._recording.job.context
        self._recording.leaving = "told" if context is not None and context.is_told else "stopped"
        self._scope.cancel()

    async def _call(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        job = self._recording.job
        set_current(msgspec.structs.replace(job, recorder=WorkflowRecorder(self._recording)))
        self._recording.names.begin()
        try:
            with self._scope:
                coroutine = function(*args, **kwargs)
                if job.context is not None:
                    job.context.coroutine = coroutine  # its stack is shown when it does not end
                self._value = await coroutine
        except BaseException as error:  # nothing is swallowed: whoever waits raises it
            self._error = error
        finally:
            self._done.set()
