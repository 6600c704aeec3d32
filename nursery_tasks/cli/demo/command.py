"""The command: makes the place, starts the worker, shows what came out."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ... import App
from ..broker import find_app
from ..loops import check_loop, run_until_signal
from ..options import Backend, BackendOption, UvloopOption, VerboseOption
from ..output import plural, write_line, write_table
from ..trouble import FAILED, OK, Trouble, as_trouble
from .play import ODD, ODD_JOBS, READ, TAKEN_APART, Played, play
from .progress import show_progress
from .sources import find_sources
from .worker_process import worker_process

_PLACE = "nursery_tasks.demo:app"
_PROBLEMS_SHOWN = 5


def demo(
    backend: BackendOption = Backend.ASYNCIO,
    uvloop: UvloopOption = False,
    broker: Annotated[
        str | None, typer.Option("--broker", metavar="URL", help="Default: an SQLite file in a temporary directory.")
    ] = None,
    files: Annotated[int | None, typer.Option("--files", min=1, hidden=True)] = None,
    verbose: VerboseOption = False,
) -> int:
    """See it work, in less than half a minute: a worker process takes Python's standard library apart, file by file.

    Some jobs go wrong on purpose: one fails and is retried, one is too slow, one never ends and is cancelled. The result is a
    table that you can check, and a database with all jobs to look around in.
    """
    check_loop(backend, uvloop)
    root, sources = find_sources(files)
    if not sources:
        raise Trouble(f"there are no source files in {root}", "is this Python installed without them?")
    directory = Path(tempfile.mkdtemp(prefix="nursery-tasks-demo-"))
    url = broker or f"sqlite:///{directory / 'jobs.db'}"
    with _kept_if_useful(directory):
        app = find_app(url, None, create=True)
        write_line(f"{plural(len(sources), 'source file')} of Python's standard library in {root}")
        write_line(f"the jobs go through {app.shown_url}, to a worker process on {'uvloop' if uvloop else backend}")
        options = ["--backend", str(backend), *(["--uvloop"] if uvloop else [])]
        played = run_until_signal(_demo, app, sources, directory / "worker.log", options, backend=backend, uvloop=uvloop)
    _show(played, root, app, None if broker else directory)
    if broker:
        shutil.rmtree(directory)
    return FAILED if played.problems else OK


async def _demo(app: App, sources: Sequence[Path], log: Path, options: Sequence[str]) -> Played:
    totals = {READ: len(sources), TAKEN_APART: len(sources), ODD: len(ODD_JOBS)}
    async with worker_process(_PLACE, app.url, options, log), app:
        with show_progress(totals) as progress:
            return await play(app, sources, progress)


@contextmanager
def _kept_if_useful(directory: Path) -> Generator[None, None, None]:
    """Remove the directory when nobody will look into it: after Ctrl-C, and where the worker had nothing to log."""
    try:
        yield
    except BaseException as error:
        if as_trouble(error).code != FAILED or not (directory / "worker.log").exists():
            shutil.rmtree(directory, ignore_errors=True)
        raise


def _show(played: Played, root: Path, app: App, directory: Path | None) -> None:
    lines = sum(size["lines"] for size in played.sizes)
    rate = played.jobs / played.seconds
    write_line()
    write_line(f"{plural(played.jobs, 'job')} in {played.seconds:.1f} s, {rate:,.0f} a second, have counted {lines:,} lines.")
    write_line("The largest modules:")
    write_line()
    columns = ("module", "lines", "lines with code", "functions", "classes", "bytes")
    numbers = ("lines", "code_lines", "functions", "classes", "bytes")
    rows = [[_module(row["path"], root), *(f"{row[name]:,}" for name in numbers)] for row in played.table]
    write_table(columns, rows, right=columns[1:])
    if played.table:
        first = played.table[0]
        write_line()
        write_line(f"Check it: wc -l {shlex.quote(first['path'])}   says {first['lines']}")
    write_line()
    write_line("Three jobs were made to go wrong:")
    for name, (_, sentence) in sorted(played.odd.items()):
        write_line(f"  {name:<8}  {sentence}")
    write_line()
    write_line(f"A scope was left early, around {played.tree}.")
    for problem in played.problems[:_PROBLEMS_SHOWN]:
        write_line(f"  unexpected: {problem}")
    _show_next(played, app, directory)


def _show_next(played: Played, app: App, directory: Path | None) -> None:
    command = "nursery-tasks" if Path(sys.argv[0]).name == "nursery-tasks" else f"{_short(sys.executable)} -m nursery_tasks"
    too_slow = played.odd["too_slow"][0]
    write_line()
    write_line("The jobs are still there. Look around:")
    write_line(f"  export NURSERY_TASKS_BROKER={shlex.quote(app.shown_url)}")
    for arguments, what in (
        ("queues", "what is in which state"),
        ("jobs --task flaky", "a list"),
        (f"jobs {too_slow}", "all about one job, with its traceback"),
        (f"run {_PLACE}", "a worker for this terminal; Ctrl-C stops it"),
        ("call flaky", "from a second terminal: a job for it"),
    ):
        write_line(f"  {f'{command} {arguments}':<{len(command) + 40}} # {what}")
    if directory is not None:
        write_line(f"  rm -r {shlex.quote(str(directory))}")
    write_line("Read on: docs/tutorial/first-job.md; the tasks of this demo are in nursery_tasks/demo.py.")


def _module(path: str, root: Path) -> str:
    return str(Path(path).relative_to(root)).removesuffix(".py").removesuffix("/__init__").replace(os.sep, ".")


def _short(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
