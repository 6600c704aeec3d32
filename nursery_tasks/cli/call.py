"""`nursery-tasks call`: submit one job, and show its result."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer
from anyio import get_cancelled_exc_class, move_on_after

from .. import App, Job, JobHandle
from ..errors import WaitTimedOut
from ..model.delivery import CancelAnswer
from ..model.options import GivenOptions
from ..shown import command_line
from .arguments import check_no_app, read_argument, read_kwargs
from .awaiting import show_end, wait_for_end
from .broker import find_app
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import note, write_json, write_line
from .trouble import OK, Trouble

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
    check_no_app(task, args or [], app, "call")
    named = read_kwargs(kwargs)
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


async def _submit(app: App, job: Job[Any], as_json: bool) -> int:
    async with app:
        handle = await job.enqueue_nowait()
    if as_json:
        write_json({"id": handle.id, "task": handle.task, "created": handle.created})
    else:
        write_line(handle.id)
    return OK


async def _call(app: App, job: Job[Any], timeout: float | None, as_json: bool) -> int:
    async with app:
        handle = await job.enqueue_nowait()
        try:
            outcome = await wait_for_end(app, handle, timeout)
        except WaitTimedOut as error:
            raise Trouble(str(error), await _let_go(handle)) from None
        except get_cancelled_exc_class():
            with move_on_after(_CANCEL_SECONDS * 2, shield=True):
                note(await _let_go(handle))
            raise
        return await show_end(app, handle, outcome, as_json)


async def _let_go(handle: JobHandle[Any]) -> str:
    """Cancel what belongs to this command, and say what became of it."""
    if not handle.created:
        return "the job was there before this call, and goes on"
    answer = await handle.cancel(_GONE, wait=_CANCEL_SECONDS)
    if answer is CancelAnswer.REQUESTED:
        return f"it was asked to stop and still runs; see {command_line('jobs', handle.id)}"
    return "it was cancelled" if answer is CancelAnswer.CANCELLED else "it has just ended by itself"
