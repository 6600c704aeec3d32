"""`nursery-tasks pause`, `resume` and `paused`: tasks, or values of their arguments, that no worker is to start for now."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from .. import App, PauseRecord
from ..client.data import pause_data
from .arguments import check_no_app
from .broker import find_app
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import ago, note, plural, write_json, write_line, write_table
from .trouble import OK, USAGE, Trouble

TaskArgument = Annotated[str, typer.Argument(help="The task's name.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="NAME=VALUE", help="Only jobs with this value of an argument; all, where repeated."),
]


def pause(
    task: TaskArgument,
    where: WhereOption = None,
    why: Annotated[str, typer.Option("--note", help="Why, for those who read `paused`.")] = "",
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Let no worker start jobs of a task, or those with one value of an argument. What runs goes on, and so does submitting.

    It lasts until `nursery-tasks resume`, through restarts of workers and brokers. Workers hear of it within two seconds.
    """
    check_no_app(task, [], app, "pause")
    return run_until_signal(_pause, find_app(broker, app), task, read_where(where), why, as_json)


async def _pause(app: App, task: str, where: dict[str, str] | None, why: str, as_json: bool) -> int:
    async with app:
        record = await app.pauses.pause(task, where=where, note=why)
    names = {each.name for each in app.tasks()}
    if names and task not in names:
        note(f"warning: {app.shown_url} is the broker of an app that has no task {task!r}")
    if as_json:
        write_json(pause_data(record))
    else:
        write_line(f"{about(record)} is paused; to go on: {command_to_resume(record)}")
    return OK


def resume(
    task: TaskArgument,
    where: WhereOption = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Undo `pause`, said with the same --where. What waits starts in its order."""
    check_no_app(task, [], app, "resume")
    return run_until_signal(_resume, find_app(broker, app), task, read_where(where), as_json)


async def _resume(app: App, task: str, where: dict[str, str] | None, as_json: bool) -> int:
    async with app:
        done = await app.pauses.resume(task, where=where)
        left = [record for record in await app.pauses.list() if record.task == task]
    if not done:
        step = f"it is {command_to_resume(left[0])}" if left else "nursery-tasks paused lists what is"
        raise Trouble(f"{about(PauseRecord(task=task, where=where or {}))} is not paused", step)
    if as_json:
        write_json({"task": task, "where": where or {}, "resumed": True})
    else:
        write_line(f"{about(PauseRecord(task=task, where=where or {}))} goes on")
    for record in left:
        note(f"still paused: {pause_text(record, time.time())}")
    return OK


def paused(
    broker: BrokerOption = None, app: AppOption = None, as_json: JsonOption = False, verbose: VerboseOption = False
) -> int:
    """List what `pause` has paused: since when, by whom, why, and how many jobs workers have put aside for it."""
    return run_until_signal(_paused, find_app(broker, app), as_json)


async def _paused(app: App, as_json: bool) -> int:
    async with app:
        records = await app.pauses.list()
    now = time.time()
    if as_json:
        write_json([pause_data(record) for record in records])
    elif records:
        rows = [
            [record.task, _where(record, ", "), f"{record.waiting:,}", ago(record.paused_at, now), record.by, record.note]
            for record in records
        ]
        write_table(["task", "where", "waiting", "since", "by", "note"], rows, right=["waiting"], fold=["where", "note"])
    else:
        note("nothing is paused by its task; nursery-tasks queues shows the queues that are")
    return OK


def read_where(given: list[str] | None) -> dict[str, str] | None:
    """Read `--where`; None: nothing is said.

    Raises:
        Trouble: One is not an argument's name and a value.
    """
    texts: dict[str, str] = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise Trouble(f"--where {item}: expected an argument's name and its value", "--where customer=eu-7", code=USAGE)
        texts[name] = value
    return texts or None


def pause_text(record: PauseRecord, now: float) -> str:
    """Say in one line what is paused."""
    by = f" by {record.by}" if record.by else ""
    why = f": {record.note}" if record.note else ""
    waiting = f"; {plural(record.waiting, 'job')} put aside" if record.waiting else ""
    return f"{about(record)}, {ago(record.paused_at, now)}{by}{why}{waiting}"


def about(record: PauseRecord) -> str:
    """Say which jobs a pause is about."""
    return record.task + (f" where {_where(record, ' and ')}" if record.where else "")


def command_to_resume(record: PauseRecord) -> str:
    """Return the command that ends a pause."""
    return " ".join(["nursery-tasks resume", record.task, *(f"--where {each}" for each in _pairs(record))])


def _where(record: PauseRecord, between: str) -> str:
    return between.join(_pairs(record))


def _pairs(record: PauseRecord) -> list[str]:
    return [f"{name}={value}" for name, value in record.where.items()]
