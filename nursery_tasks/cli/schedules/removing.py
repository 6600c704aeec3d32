"""`nursery-tasks schedules remove`: by name, or what an app's code does not declare any more."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import App
from ..broker import find_app
from ..changing import confirm
from ..loops import run_until_signal
from ..options import AppOption, BrokerOption, JsonOption, VerboseOption
from ..output import note, plural, write_json, write_line
from ..trouble import OK, USAGE, Trouble
from .naming import unknown


def remove(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Their names.")] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Those that an app's code has declared, and that of --app does not any more.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Delete schedules; their jobs go on. One that stands in an app's code comes back when a worker of it starts.

    With --prune: what workers of --app have put, and does not stand in its code any more. An app is known by the module in
    which it is made; what other apps on the broker declare stays.
    """
    if bool(names) == prune:
        raise Trouble("it wants either names, or --prune", "see nursery-tasks schedules list", code=USAGE)
    if prune and app is None:
        step = "nursery-tasks schedules remove --prune --app module:app"
        raise Trouble("--prune compares with the code of an app, and none is named", step, code=USAGE)
    found = find_app(broker, app)
    chosen = run_until_signal(_choose, found, names or [])
    if chosen and not yes:
        confirm(f"delete {plural(len(chosen), 'schedule')}, {', '.join(chosen)}?")
    return run_until_signal(_remove, found, chosen, as_json)


async def _choose(app: App, names: list[str]) -> list[str]:
    """Return those that are meant; without names, those that the app's code does not declare any more."""
    async with app:
        stored = {info.name: info for info in await app.schedules.list()}
        for name in names:
            if name not in stored:
                raise await unknown(app, name)
    if names:
        return list(dict.fromkeys(names))
    left = [name for name, info in stored.items() if info.declared and name not in app.declared_schedules]
    foreign = [name for name in left if stored[name].home != app.home]
    if foreign:
        note(f"other apps than {app.home or 'this one'} have declared {', '.join(foreign)}: to delete one, name it")
    return [name for name in left if name not in foreign]


async def _remove(app: App, names: list[str], as_json: bool) -> int:
    async with app:
        declared = {info.name for info in await app.schedules.list() if info.declared}
        removed = [name for name in names if await app.schedules.remove(name)]
    if as_json:
        write_json({"removed": removed})
        return OK
    for name in removed:
        write_line(f"{name} removed")
        if name in declared and (not app.registry.tasks or name in app.declared_schedules):
            note(f"{name} came from an app's code: while it stands there, the next worker that starts puts it again")
    if not removed:
        note("nothing to remove: each schedule that came from the code of this app still stands there")
    return OK
