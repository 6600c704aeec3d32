"""The group of these commands; alone it lists."""

from __future__ import annotations

from collections.abc import Callable

import typer

from ..options import AppOption, BrokerOption, JsonOption, VerboseOption
from ..trouble import OK
from .adding import add
from .changing import backfill, pause, resume, run
from .looking import list_schedules, show, show_list, show_next
from .removing import remove

schedules = typer.Typer(
    help="Schedules: what runs again and again. Without a command, list them.",
    short_help="List schedules; show, add, pause, run and remove them.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
_COMMANDS: dict[str, Callable[..., int]] = {
    "list": list_schedules,
    "show": show,
    "next": show_next,
    "add": add,
    "pause": pause,
    "resume": resume,
    "run": run,
    "backfill": backfill,
    "remove": remove,
}
for _name, _command in _COMMANDS.items():
    schedules.command(_name)(_command)


@schedules.callback()
def _list_or_go_on(  # pyright: ignore[reportUnusedFunction]  # typer calls it
    context: typer.Context,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    if context.invoked_subcommand is None:
        return show_list(broker, app, as_json)
    given = {"broker": broker, "app": app, "as_json": as_json}  # options that stand before the command are its own
    context.default_map = {context.invoked_subcommand: {name: value for name, value in given.items() if value}}
    return OK
