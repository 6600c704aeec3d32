"""The commands, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from .. import __version__
from .call import call
from .changing import cancel, purge, retry
from .demo import demo
from .doctor import doctor
from .events import events
from .graph import graph
from .jobs import jobs
from .messages import peek, send
from .output import write_line
from .pausing import pause, paused, resume
from .queues import queues
from .rabbitmq import rabbitmq
from .run import run
from .schedules import schedules
from .tasks import tasks
from .tick import tick
from .tree import tree
from .trouble import EXIT_CODES
from .variables import warn_of_variables
from .web import web

cli = typer.Typer(
    name="nursery-tasks",
    help="Run Python functions as jobs, in workers, inside the scope that asked for them.",
    add_completion=True,
    rich_markup_mode=None,  # plain text: it can be piped, searched and compared
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        write_line(f"nursery-tasks {__version__}")
        raise typer.Exit


@cli.callback()
def _options(  # pyright: ignore[reportUnusedFunction]  # typer calls it
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    warn_of_variables()


_SHORT: dict[Callable[..., int], str] = {
    run: "Run a worker.",
    tick: "Run schedules, and no jobs.",
    call: "Submit a job, and wait for its result.",
    jobs: "List jobs, or show all about one.",
    events: "Show what happens to jobs.",
    tree: "Draw a job with all that it has started.",
    cancel: "Cancel jobs.",
    retry: "Run jobs again that did not succeed.",
    queues: "Count the jobs of each queue; pause, resume, create and delete queues.",
    pause: "Let jobs of a task wait, or those with one value of an argument.",
    resume: "Undo pause.",
    paused: "List the tasks that are paused.",
    purge: "Delete the jobs of a queue.",
    peek: "Look at the messages that wait at a RabbitMQ server.",
    send: "Send a message as another program would.",
    tasks: "List the tasks of an app.",
    doctor: "Look whether everything is in place.",
    graph: "Draw a flow.",
    demo: "See it work, in less than half a minute.",
}
for _command, _short in _SHORT.items():
    cli.command(short_help=_short, epilog=EXIT_CODES if _command is run else None)(_command)
cli.add_typer(schedules, name="schedules")
cli.add_typer(web, name="web")
cli.add_typer(rabbitmq, name="rabbitmq")
