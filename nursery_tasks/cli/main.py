"""The commands, put together."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, Final

import typer

from .. import __version__
from .call import call
from .changing import cancel, purge, retry
from .demo import demo
from .doctor import doctor
from .events import events
from .graph import graph
from .http import TOKENS_VARIABLE
from .jobs import jobs
from .messages import peek, send
from .output import note, write_line
from .pausing import pause, paused, resume
from .queues import queues
from .rabbitmq import rabbitmq
from .run import run
from .schedules import schedules
from .streams import flush_all, open_missing
from .tasks import tasks
from .tick import tick
from .tree import tree
from .trouble import BY_SIGNAL, EXIT_CODES, FAILED, OK, USAGE, innermost, report
from .usage import usage_lines
from .web import web

# typer brings its own copy of click, older versions the real one; both are reached from here.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

VARIABLES_BEGIN: Final = "NURSERY_TASKS_"
VARIABLES: Final = ("NURSERY_TASKS_BROKER", "NURSERY_TASKS_NODE", TOKENS_VARIABLE)

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


def warn_of_variables() -> None:
    """Say which environment variables look like ours and are none: a slip there is silent otherwise."""
    if any(arg.startswith("--member=") for arg in sys.argv):  # its supervisor has said so
        return
    for name in sorted(os.environ):
        if name.startswith(VARIABLES_BEGIN) and name not in VARIABLES:
            close = get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
            meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(VARIABLES[:-1])} and {VARIABLES[-1]}"
            note(f"warning: nobody reads the environment variable {name}; {meant}")


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


def main() -> None:
    """Run the command line of this process, and exit."""
    open_missing()
    code = run_command(sys.argv[1:])
    flush_all()
    sys.exit(code)


def run_command(args: list[str]) -> int:
    """Run one command; returns the exit code. All errors end here, in at most three lines."""
    try:
        code: Any = cli(args or ["--help"], prog_name="nursery-tasks", standalone_mode=False, obj=args)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except BrokenPipeError:  # `nursery-tasks jobs | head`: the reader has what it wanted
        sys.stderr.close()  # Python would complain once more when it flushes stdout
        return OK
    except _ClickException as error:
        return _report_usage(error, args)
    except BaseException as error:
        if isinstance(innermost(error), KeyboardInterrupt | typer.Abort):  # before or after signals are received elsewhere
            return BY_SIGNAL + signal.SIGINT
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        return report(error)


def _report_usage(error: Any, args: list[str]) -> int:
    wrong, step = usage_lines(error, args)
    note(f"error: {wrong}")
    note(f"  {step}")
    return USAGE if isinstance(error, _UsageError) else FAILED
