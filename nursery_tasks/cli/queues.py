"""`nursery-tasks queues`: what waits where, and who may take it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import App
from ..model.listing import QueueRecord
from ..model.options import check_queue
from ..model.states import JobState
from .broker import ask, find_app, note
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import write_json, write_table
from .records import queue_data
from .trouble import OK


def queues(
    pause: Annotated[list[str] | None, typer.Option("--pause", metavar="NAME", help="Let no worker take jobs from it.")] = None,
    resume: Annotated[list[str] | None, typer.Option("--resume", metavar="NAME", help="Undo --pause.")] = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show how many jobs of each queue are in which state. A paused queue takes jobs and gives none."""
    for option, names in (("--pause", pause), ("--resume", resume)):
        for name in names or ():
            check_queue(option, name)
    return run_until_signal(_queues, find_app(broker, app), pause or [], resume or [], as_json)


async def _queues(app: App, pause: list[str], resume: list[str], as_json: bool) -> int:
    async with app:
        admin = app.connection.gateway.admin
        for name in pause:
            await ask(app, admin.pause, name)
        for name in resume:
            await ask(app, admin.resume, name)
        records = await ask(app, admin.queues)
    if as_json:
        write_json([queue_data(record) for record in records])
    elif records:
        _write(records)
    else:
        note("no queues: nothing was submitted yet")
    return OK


def _write(records: list[QueueRecord]) -> None:
    states = [state for state in JobState if any(record.counts.get(state) for record in records)]
    rows = [
        [record.name, "paused" if record.paused else "", *(f"{record.counts.get(state, 0):,}" for state in states)]
        for record in records
    ]
    write_table(["queue", "", *map(str, states)], rows, right=[str(state) for state in states])
    sys.stdout.flush()
