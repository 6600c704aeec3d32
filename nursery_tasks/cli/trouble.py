"""What goes wrong, told in at most three lines: what happened, where, and the next step. A traceback only with `-v`."""

from __future__ import annotations

import traceback
from typing import Final

from ..errors import BrokerRefused, InvalidOptions, NurseryTasksError, QueueFull
from ..model.retry import members_of
from ..shown import command_line, visible, without_passwords
from .output import note

LINES: Final = 3
WIDTH: Final = 400  # characters of one line; an error's text may hold a whole document

# What a command returns to the shell.
OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 3
UNSTORED: Final = 4
WEDGED: Final = 70  # EX_SOFTWARE of sysexits.h
BY_SIGNAL: Final = 128  # plus the signal's number, as shells have it

# \b keeps the lines as they are.
EXIT_CODES: Final = """\b
Exit codes:
  0         drained: every job that ran here has ended
  1         could not start, or lost its footing
  2         wrong usage
  3         jobs were cancelled, because the drain was over or a
            second signal came; they are back in their queue
  4         the broker was away: what jobs came to is not stored, or
            they could not be given back; they come back later
  70        a job held the event loop, or did not end when cancelled
  130, 143  left at once, at a third signal"""


class Trouble(Exception):
    """Something that ends a command, in words for the person at the terminal.

    Args:
        lines: What happened; where, or what was meant; the next step.
        code: The exit code.
    """

    def __init__(self, *lines: str, code: int = FAILED) -> None:
        super().__init__(*lines)
        self.lines = lines
        self.code = code


class Verbosity:
    """Whether `-v` was given: set once while the command line is read."""

    tracebacks = False


def set_verbose(value: bool) -> bool:
    """Remember `-v`; the callback of that option."""
    Verbosity.tracebacks = Verbosity.tracebacks or value
    return value


def as_trouble(error: BaseException) -> Trouble:
    """Put any error into at most three lines."""
    error = innermost(error)
    if isinstance(error, Trouble):
        return error
    if isinstance(error, InvalidOptions):
        return Trouble(str(error), code=USAGE)
    if isinstance(error, QueueFull):
        full = f"queue {error.queue!r} is full: {error.max_length:,} jobs wait there, as many as its max_length allows"
        step = f"more workers make room: {command_line('run module:app --queues', error.queue)}"
        return Trouble(full, "nothing was submitted", step)
    if isinstance(error, BrokerRefused):
        return Trouble(*filter(None, (f"{error.broker}: {error.problem}", error.step)))
    if isinstance(error, NurseryTasksError):
        return Trouble(str(error))
    hint = () if Verbosity.tracebacks else ("-v shows the traceback",)
    return Trouble(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, *hint)


def innermost(error: BaseException) -> BaseException:
    """Take an error out of the groups of nurseries that it came through alone."""
    while len(members := members_of(error)) == 1:
        error = members[0]
    return error


def report(error: BaseException) -> int:
    """Write an error to stderr, and return the exit code."""
    trouble = as_trouble(error)
    if Verbosity.tracebacks:
        shown = error if error is not trouble else trouble.__cause__ or trouble
        note(without_passwords("".join(traceback.format_exception(shown)).rstrip()))
    for number, line in enumerate(trouble.lines[:LINES]):
        note(("  " if number else "error: ") + one_line(without_passwords(line)))
    return trouble.code


def one_line(text: str, width: int = WIDTH) -> str:
    """Return *text* without line breaks and what a terminal would obey, and not longer than *width*."""
    text = visible(" ".join(text.split()))
    return text if len(text) <= width else f"{text[: width - 1]}…"
