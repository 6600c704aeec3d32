"""Waiting for one job at the terminal, and showing what it came to."""

from __future__ import annotations

from itertools import chain, repeat
from typing import Any

from anyio import create_task_group, sleep

from .. import App, JobHandle
from ..client.data import error_data, short_type
from ..client.unserved import AGAIN_SECONDS, why_waiting
from ..errors import BrokerError, WaitTimedOut
from ..model.outcome import Outcome
from ..model.states import JobState
from ..shown import command_line
from .output import note, write_json
from .trouble import FAILED, OK, Trouble, Verbosity, one_line

_HINT_SECONDS = (1.0, 2.0)  # how long to wait before looking whether anybody will run the job, and before the next look


async def wait_for_end(app: App, handle: JobHandle[Any], timeout: float | None) -> Outcome:
    """Wait until a job has ended. Owns a nursery of one child, which says so when nobody is there to run the job.

    Raises:
        WaitTimedOut: It has not.
    """
    app.connection.waiter.unserved.is_quiet = True  # `_hint` says it, and sooner
    ended: Outcome | WaitTimedOut | None = None
    async with create_task_group() as hints:
        hints.start_soon(_hint, app, handle.id, name="hint")
        try:
            ended = await handle.outcome(timeout)
        except WaitTimedOut as error:  # carried out by hand: the nursery would wrap it into a group
            ended = error
        hints.cancel_scope.cancel()
    if isinstance(ended, WaitTimedOut):
        raise ended
    assert ended is not None
    return ended


async def _hint(app: App, job_id: str) -> None:
    """Say why nobody runs the job, each reason once: a worker that does not know the task finds that out a little later."""
    said: set[str] = set()
    gateway = app.connection.gateway
    for pause in chain(_HINT_SECONDS, repeat(AGAIN_SECONDS)):
        await sleep(pause)
        try:
            found = await gateway.call(why_waiting, gateway.broker, [job_id])
        except BrokerError:  # that it is away is said by who waits for the job
            continue
        for _, _, _, sentence in found:
            if sentence not in said:
                said.add(sentence)
                note(f"waiting: {one_line(sentence)}")


async def show_end(app: App, handle: JobHandle[Any], outcome: Outcome, as_json: bool) -> int:
    """Write what a job has come to; returns the exit code.

    Raises:
        Trouble: It has not succeeded, and a person reads.
    """
    # Looked up as plain data: what --app says of the result's type matters to programs, not here.
    value = await app.handle(handle.id).result() if outcome.state is JobState.SUCCEEDED else None
    if as_json:
        data: dict[str, Any] = {"id": handle.id, "task": handle.task, "state": outcome.state, "attempt": outcome.attempt}
        if outcome.state is JobState.SUCCEEDED:
            data["result"] = value
        write_json(data | error_data(outcome))
    elif outcome.state is JobState.SUCCEEDED:
        write_json(value)
    else:
        _tell_failure(handle, outcome)
    return OK if outcome.state is JobState.SUCCEEDED else FAILED


def _tell_failure(handle: JobHandle[Any], outcome: Outcome) -> None:
    error, where = outcome.error, f"job {handle.id}, attempt {outcome.attempt}"
    if Verbosity.tracebacks and error is not None and error.traceback:
        note(error.traceback.rstrip())
    what = f"{handle.task} {outcome.state}" + (f": {outcome.reason}" if outcome.reason else "")
    if error is not None:
        raise Trouble(
            f"{what}: {short_type(error.type)}: {error.text}", where, f"{command_line('jobs', handle.id)} shows the traceback"
        )
    raise Trouble(what, where)
