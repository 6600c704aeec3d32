"""`nursery-tasks tick`: a process that runs schedules, and no jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from .loops import check_loop
from .options import Backend, BackendOption, JsonOption, UvloopOption, VerboseOption
from .run import LogLevelOption, Manner, QuietOption, run_here


def tick(
    place: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the app is; MODULE alone finds the only one.")],
    backend: BackendOption = Backend.ASYNCIO,
    uvloop: UvloopOption = False,
    name: Annotated[str | None, typer.Option(help="Its name among the workers; default: one of its own.")] = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Run schedules until a signal comes, and no jobs: submit what is due, for other workers.

    Every worker does that, and nothing happens twice, however many do. This is for where workers come and go, or are started
    with --no-schedules.
    """
    check_loop(backend, uvloop)
    how = Manner(backend, uvloop, 0.0, log_level, quiet=quiet, as_json=as_json, verbose=verbose)
    return run_here(place, {"jobs": False, "slots": 1, "name": name, "drain": 0.0}, how)
