"""A task and its arguments on the command line."""

from __future__ import annotations

import json
import shlex
from typing import Any, cast

from ..shown import command_line
from .loading import names_app
from .trouble import USAGE, Trouble


def read_argument(text: str) -> Any:
    """Read one argument: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def check_no_app(task: str, args: list[str], app: str | None, command: str) -> None:
    """Explain where the app belongs, to who wrote it in the task's place as for `run`. A task's name may have a colon, too."""
    if app is None and names_app(task):
        shown = args[0] if args else "TASK"
        step = command_line(f"{command} {shlex.quote(shown)} ... --app", task)
        raise Trouble(f"{task!r} is an app, and a task's name stands here", step, code=USAGE)


def read_kwargs(text: str | None) -> dict[str, Any]:
    """Read the JSON object of `--kwargs`."""
    try:
        named: Any = json.loads(text or "{}")
    except ValueError as error:
        raise Trouble(f"--kwargs is no JSON: {error}", """write --kwargs '{"name": "Ada"}'""", code=USAGE) from error
    if not isinstance(named, dict):
        raise Trouble(f"--kwargs is no JSON object: {text}", """write --kwargs '{"name": "Ada"}'""", code=USAGE)
    return cast("dict[str, Any]", named)
