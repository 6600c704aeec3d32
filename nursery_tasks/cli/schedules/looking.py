"""`nursery-tasks schedules list`, `show` and `next`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ... import App
from ...client.data import iso_of, schedule_data
from ..broker import find_app
from ..loops import run_until_signal
from ..options import AppOption, BrokerOption, JsonOption, VerboseOption
from ..output import note, shown_width, write_facts, write_json, write_line, write_table
from ..trouble import OK
from .moments import moment_with_distance
from .naming import NameArgument, naming_near, unknown
from .records import facts_of, last_run, next_run, state_of

if TYPE_CHECKING:
    from ... import ScheduleInfo

_WIDE_ENOUGH: Final = 120  # columns for all of it; narrower terminals get what changes


def list_schedules(
    broker: BrokerOption = None, app: AppOption = None, as_json: JsonOption = False, verbose: VerboseOption = False
) -> int:
    """List schedules, each with its next and its last run.

    Times are those of this machine's clock.
    """
    return show_list(broker, app, as_json)


def show_list(broker: str | None, app: str | None, as_json: bool) -> int:
    """Do that; for the group, too, which lists when it stands alone."""
    return run_until_signal(_list, find_app(broker, app), as_json)


async def _list(app: App, as_json: bool) -> int:
    async with app:
        found = await app.schedules.list()
    if as_json:
        write_json([schedule_data(info) for info in found])
    elif found:
        _write(found, datetime.now(UTC))
    else:
        note("no schedules: those in an app's code are put when its first worker starts; nursery-tasks schedules add puts one")
    return OK


def _write(found: list[ScheduleInfo], now: datetime) -> None:
    columns = ["name", "next run", "last run", "state"]
    rows = [[info.name, next_run(info, now), last_run(info, now), state_of(info)] for info in found]
    if shown_width() >= _WIDE_ENOUGH:
        columns[1:1] = ["task", "when"]
        for row, info in zip(rows, found, strict=True):
            row[1:1] = [info.task, info.words]
    write_table(columns, rows, fold=["when", "next run", "last run", "state"])


def show(
    name: NameArgument,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show all about one."""
    return run_until_signal(_show, find_app(broker, app), name, as_json)


async def _show(app: App, name: str, as_json: bool) -> int:
    async with app:
        info = await app.schedules.get(name)
        if info is None:
            raise await unknown(app, name)
    if as_json:
        write_json(schedule_data(info))
    else:
        write_facts(facts_of(info, datetime.now(UTC)))
    return OK


def show_next(
    name: NameArgument,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many.")] = 5,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show when its next runs are due, by this machine's clock."""
    return run_until_signal(_next, find_app(broker, app), name, count, as_json)


async def _next(app: App, name: str, count: int, as_json: bool) -> int:
    async with app, naming_near(app):
        info = await app.schedules.get(name)
        due = await app.schedules.next(name, count)
    if as_json:
        write_json([iso_of(moment) for moment in due])
        return OK
    now = datetime.now(UTC)
    for moment in due:
        write_line(f"{moment.astimezone().isoformat(sep=' ')}  {moment_with_distance(moment, now)}")
    if not due and info is not None:
        note(f"no run is to come: it is {state_of(info)}")
    return OK
