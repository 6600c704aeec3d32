"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .trouble import set_verbose


class Backend(StrEnum):
    """The event loops of AnyIO."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


BackendOption = Annotated[Backend, typer.Option("--backend", help="The event loop.")]
UvloopOption = Annotated[bool, typer.Option("--uvloop", help="Use uvloop below asyncio.")]
BrokerOption = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        help="The broker's URL; default: that of --app, else $NURSERY_TASKS_BROKER, else sqlite:///nursery-tasks.db.",
    ),
]
AppOption = Annotated[str | None, typer.Option("--app", metavar="MODULE:APP", help="The app whose broker is meant.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", callback=set_verbose, help="Show tracebacks.")]
