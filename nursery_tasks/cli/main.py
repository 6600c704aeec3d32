"""From the command line of a process to its exit code."""

from __future__ import annotations

import signal
import sys
from typing import Any

import typer

from .output import note
from .plain import run_plainly
from .streams import flush_all, open_missing
from .trouble import BY_SIGNAL, FAILED, OK, USAGE, innermost, report
from .usage import usage_lines

# typer brings its own copy of click, older versions the real one; both are reached from here.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def main() -> None:
    """Run the command line of this process, and exit."""
    open_missing()
    code = run_command(sys.argv[1:])
    flush_all()
    sys.exit(code)


def run_command(args: list[str]) -> int:
    """Run one command; returns the exit code. All errors end here, in at most three lines."""
    try:
        code: Any = run_plainly(args)
        if code is None:
            from .commands import cli  # late: they need what a worker has no use for

            code = cli(args or ["--help"], prog_name="nursery-tasks", standalone_mode=False, obj=args)
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
