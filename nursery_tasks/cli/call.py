"""`nursery-tasks call`: submit one job, and show its result."""

from __future__ import annotations

import json
from itertools import chain, repeat
from typing import Annotated, Any, cast

import typer
from anyio import create_task_group, get_cancelled_exc_class, move_on_after, sleep

from .. import App, Job, JobHandle
from ..client.unserved import AGAIN_SECONDS, why_waiting
from ..errors import BrokerError, WaitTimedOut
from ..model.delivery import CancelAnswer
from ..model.options import GivenOptions
from ..model.outcome import Outcome
from ..model.states import JobState
from .broker import find_app
from .loading import names_app
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import note, write_json, write_line
from .records import error_data, short_type
from .trouble import FAILED, OK, USAGE, Trouble, Verbosity, one_line

_HINT_SECONDS = (1.0, 2.0)  # how long to wait before looking whether anybody will run the job, and before the next look
_CANCEL_SECONDS = 5.0  # how long to wait for a cancelled job to end
_GONE = "its caller went away"


def call(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS", help="Arguments, each JSON or else plain text; put -- before those that begin with -."),
    ] = None,
    kwargs: Annotated[str | None, typer.Option(metavar="JSON", help="Keyword arguments, as one JSON object.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="How long to wait for the result; default: for ever.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only submit the job, and print its id.")] = False,
    queue: Annotated[str | None, typer.Option(help="The queue; default: the task's with --app, else 'default'.")] = None,
    delay: Annotated[float | None, typer.Option(min=0.0, metavar="SECONDS", help="Not to be started before.")] = None,
    expires: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="Not to be started later than this after it may be.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="0 to 9, higher goes first.")] = None,
    retry: Annotated[int | None, typer.Option(min=1, metavar="ATTEMPTS", help="How many attempts in all.")] = None,
    job_timeout: Annotated[
        float | None, typer.Option("--job-timeout", min=0.001, metavar="SECONDS", help="How long one attempt may run.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Not stored while an equal key of this task has not ended.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="The job's id; a known one is not stored again.")] = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Submit a job and wait for its result, which is printed as JSON. The program of the task need not be importable here.

    The job belongs to this command: Ctrl-C, or a --timeout that is over, cancels it. With --no-wait it is on its own.
    """
    _check_no_app(task, args or [], app)
    named = _read_kwargs(kwargs)
    found = find_app(broker, app, create=True)
    given: dict[str, Any] = {
        "queue": queue, "delay": delay, "expires": expires, "priority": priority, "retry": retry, "timeout": job_timeout,
        "key": key, "id": job_id,
    }  # fmt: skip
    options = cast("GivenOptions", {name: value for name, value in given.items() if value is not None})
    if app is not None:
        found.get_task(task)  # who names the app wants to know of a slip now, and not when a worker gives the job back
    job = found.job(task, *map(read_argument, args or ()), **named).with_options(**options)
    if no_wait:
        return run_until_signal(_submit, found, job, as_json)
    return run_until_signal(_call, found, job, timeout, as_json)


def read_argument(text: str) -> Any:
    """Read one argument: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_no_app(task: str, args: list[str], app: str | None) -> None:
    """Explain where the app belongs, to who wrote it in the task's place as for `run`. A task's name may have a colon, too."""
    if app is None and names_app(task):
        shown = args[0] if args else "TASK"
        raise Trouble(
            f"{task!r} is an app, and a task's name stands here", f"nursery-tasks call {shown} ... --app {task}", code=USAGE
        )


def _read_kwargs(text: str | None) -> dict[str, Any]:
    try:
        named: Any = json.loads(text or "{}")
    except ValueError as error:
        raise Trouble(f"--kwargs is no JSON: {error}", """write --kwargs '{"name": "Ada"}'""", code=USAGE) from error
    if not isinstance(named, dict):
        raise Trouble(f"--kwargs is no JSON object: {text}", """write --kwargs '{"name": "Ada"}'""", code=USAGE)
    return cast("dict[str, Any]", named)


async def _submit(app: App, job: Job[Any], as_json: bool) -> int:
    async with app:
        handle = await job.enqueue()
    if as_json:
        write_json({"id": handle.id, "task": handle.task, "created": handle.created})
    else:
        write_line(handle.id)
    return OK


async def _call(app: App, job: Job[Any], timeout: float | None, as_json: bool) -> int:
    async with app:
        app.connection.waiter.unserved.is_quiet = True  # `_hint` says it, and sooner
        handle = await job.enqueue()
        try:
            outcome = await _wait(app, handle, timeout)
        except WaitTimedOut as error:
            raise Trouble(str(error), await _let_go(handle)) from None
        except get_cancelled_exc_class():
            with move_on_after(_CANCEL_SECONDS * 2, shield=True):
                note(await _let_go(handle))
            raise
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


async def _wait(app: App, handle: JobHandle[Any], timeout: float | None) -> Outcome:
    """Owns a nursery of one child, which says so when nobody is there to run the job."""
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


async def _let_go(handle: JobHandle[Any]) -> str:
    """Cancel what belongs to this command, and say what became of it."""
    if not handle.created:
        return "the job was there before this call, and goes on"
    answer = await handle.cancel(_GONE, wait=_CANCEL_SECONDS)
    if answer is CancelAnswer.REQUESTED:
        return f"it was asked to stop and still runs; see nursery-tasks jobs {handle.id}"
    return "it was cancelled" if answer is CancelAnswer.CANCELLED else "it has just ended by itself"


def _tell_failure(handle: JobHandle[Any], outcome: Outcome) -> None:
    error, where = outcome.error, f"job {handle.id}, attempt {outcome.attempt}"
    if Verbosity.tracebacks and error is not None and error.traceback:
        note(error.traceback.rstrip())
    what = f"{handle.task} {outcome.state}" + (f": {outcome.reason}" if outcome.reason else "")
    if error is not None:
        raise Trouble(
            f"{what}: {short_type(error.type)}: {error.text}", where, f"nursery-tasks jobs {handle.id} shows the traceback"
        )
    raise Trouble(what, where)
