"""`nursery-tasks schedules pause`, `resume`, `run` and `backfill`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from anyio import get_cancelled_exc_class

from ... import App
from ...client.data import schedule_data
from ...shown import command_line
from ..awaiting import show_end, wait_for_end
from ..broker import find_app
from ..loops import run_until_signal
from ..options import AppOption, BrokerOption, JsonOption, VerboseOption
from ..output import note, plural, write_json, write_line
from ..trouble import OK
from .moments import parse_moment
from .naming import NameArgument, naming_near
from .records import next_run

if TYPE_CHECKING:
    from ... import ScheduleInfo


def pause(
    name: NameArgument,
    why: Annotated[str, typer.Option("--note", help="Why, for whoever looks.")] = "",
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Run nothing of it until it is resumed; what runs goes on."""
    return run_until_signal(_pause, find_app(broker, app), name, why, as_json)


async def _pause(app: App, name: str, why: str, as_json: bool) -> int:
    async with app, naming_near(app):
        info = await app.schedules.pause(name, why)
    return tell(info, f"{name} is paused; to go on: {command_line('schedules resume', name)}", as_json)


def resume(
    name: NameArgument,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Go on with the next slot from now.

    Those of the pause have no runs.
    """
    return run_until_signal(_resume, find_app(broker, app), name, as_json)


async def _resume(app: App, name: str, as_json: bool) -> int:
    async with app, naming_near(app):
        info = await app.schedules.resume(name)
    if info.next_run is None:
        return tell(info, f"{name} has no run to come", as_json)
    return tell(info, f"{name} runs next {next_run(info, datetime.now(UTC))}", as_json)


def tell(info: ScheduleInfo, words: str, as_json: bool) -> int:
    """Write what a schedule is now; returns the exit code."""
    if as_json:
        write_json(schedule_data(info))
    else:
        write_line(words)
    return OK


def run(
    name: NameArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and show the result.")] = False,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Submit a run by hand, and print its id.

    It stands beside those of the schedule, and is on its own: with --wait, Ctrl-C ends the waiting and not the run.
    """
    return run_until_signal(_run, find_app(broker, app), name, wait, as_json)


async def _run(app: App, name: str, wait: bool, as_json: bool) -> int:
    async with app, naming_near(app):
        handle = await app.schedules.run_now(name)
        if wait:
            try:
                outcome = await wait_for_end(app, handle, None)
            except get_cancelled_exc_class():
                note(f"the run goes on: {command_line('jobs', handle.id)}")
                raise
            return await show_end(app, handle, outcome, as_json)
    if as_json:
        write_json({"id": handle.id, "task": handle.task})
    else:
        write_line(handle.id)
    return OK


def backfill(
    name: NameArgument,
    since: Annotated[str, typer.Option(metavar="ISO", help="The first moment that counts: 2030-05-01T00:00Z.")],
    until: Annotated[str, typer.Option(metavar="ISO", help="The last one.")],
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Submit runs for the slots of a span that have none.

    What was run before, and is still known, is not run again.
    """
    span = parse_moment("--since", since), parse_moment("--until", until)
    return run_until_signal(_backfill, find_app(broker, app), name, span, as_json)


async def _backfill(app: App, name: str, span: tuple[datetime, datetime], as_json: bool) -> int:
    async with app, naming_near(app):
        created = await app.schedules.backfill(name, *span)
    if as_json:
        write_json({"name": name, "jobs": created})
    elif created:
        write_line(f"{plural(len(created), 'run')} submitted, from {created[0]} to {created[-1]}")
    else:
        note("no run submitted: it has no slots there, or all of them have run")
    return OK
