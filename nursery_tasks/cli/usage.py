"""Wrong usage, in two lines: what came in and what was expected, and the command that was meant, or the help."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from ..shown import without_passwords
from .trouble import one_line

_APP: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_NO_COMMAND: Final = re.compile(r"No such command '([^'\s]+)'\.?.*")
_TAKES_NAMES: Final = ("run", "graph")  # of an app, or a flow, as an argument; the others have --app
_PYDANTICS: Final = re.compile(r"Value error, |Input should be (?:a )?|, unable to parse string as an? \w+")


def usage_lines(error: Any, args: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with a command line, and the next step.

    Args:
        error: What the parser has raised.
        args: The command line.
    """
    context = getattr(error, "ctx", None)
    command: str = context.command_path if context is not None else "nursery-tasks"
    if command == "nursery-tasks" and context is None:
        command = _command_of(error, args, command)
    meant = _app_elsewhere(error.format_message(), command, args) or _name_of_a_schedule(error.format_message(), command)
    return one_line(without_passwords(_message(error, args))), meant or f"see {command} --help"


def _message(error: Any, args: Sequence[str]) -> str:
    text: str = error.format_message()
    start, colon, problem = text.partition(": ")
    if not start.startswith("Invalid value for") or not _PYDANTICS.search(problem):
        return text
    plain = _PYDANTICS.sub("", problem).rstrip(".")
    given = _given(getattr(getattr(error, "param", None), "opts", ()), args)
    if given is None or repr(given) in plain:
        return f"{start}{colon}{plain}"
    return f"{start}{colon}{given!r} is not {'a ' if plain.startswith('valid') else ''}{plain}"


def _given(options: Sequence[str], args: Sequence[str]) -> str | None:
    for place, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else args[place + 1] if place + 1 < len(args) else None
    return None


def _app_elsewhere(message: str, command: str, args: Sequence[str]) -> str | None:
    """Say where the app belongs: some commands take it as an argument, the others as an option."""
    app = next((word for word in args if _APP.fullmatch(word)), None)
    if app is None:
        return None
    if command.endswith(" run") and "No such option: --app" in message:
        return f"{command} {app}"
    if "Missing option '--app'" in message or f"extra argument(s) ({app})" in message:
        return f"{command} --app {app}" if not command.endswith(_TAKES_NAMES) else None
    return None


def _name_of_a_schedule(message: str, command: str) -> str | None:
    """Say what was probably meant by a name where a command of `schedules` stands."""
    name = _NO_COMMAND.fullmatch(message) if command.endswith(" schedules") else None
    return f"to see a schedule: {command} show {name[1]}; for the commands: {command} --help" if name else None


def _command_of(error: Any, args: Sequence[str], program: str) -> str:
    """Return the command of an error that does not say in which it was raised: that an option lacks its value."""
    return f"{program} {args[0]}" if "requires an argument" in error.format_message() and args else program
