"""`nursery-tasks run` read without the parser, when there is nothing to say about its line.

The parser checks values with pydantic, which takes 40 ms and 7 MiB that a worker would keep for its whole life. What is read
here is what needs no message: options of `run` by their full names, each with a value that is plainly of its type. For anything
else - help, a short option, a callback, a slip - the parser is asked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from enum import Enum
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Final, cast, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from .run import run
from .variables import warn_of_variables

_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


class _NotPlain(Exception):
    """The parser has to look at it."""


def run_plainly(args: Sequence[str]) -> int | None:
    """Run a worker if that is what the line plainly asks for, and return its exit code; None: ask the parser."""
    if not args or args[0] != "run":
        return None
    try:
        given = read(run, args[1:])
    except _NotPlain:
        return None
    warn_of_variables()
    return run(cast(typer.Context, SimpleNamespace(obj=list(args))), **given)


def read(command: Callable[..., int], words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a command.

    Raises:
        _NotPlain: There is something that this cannot read.
    """
    options, place = _parameters(command)
    given: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            name, value = place, word
        else:
            option, equals, value = word.partition("=")
            name, kind, info = options.get(option, ("", None, None))
            if info is None or info.callback is not None:
                raise _NotPlain
            if kind is bool:
                if equals:
                    raise _NotPlain
                given[name] = True
                continue
            text = value if equals else next(rest, "")
            value = _value(kind, text, info.min)
        if name in given:  # the parser takes the last one, and says nothing
            raise _NotPlain
        given[name] = value
    if place not in given:
        raise _NotPlain
    return given


def _parameters(command: Callable[..., int]) -> tuple[dict[str, tuple[str, Any, OptionInfo]], str]:
    """Return what each option sets, with its type, and the name of the only argument."""
    options: dict[str, tuple[str, Any, OptionInfo]] = {}
    places: list[str] = []
    hints = get_type_hints(command, include_extras=True)
    for name in inspect.signature(command).parameters:
        if get_origin(hints[name]) is not Annotated:
            continue
        kind, info = get_args(hints[name])
        if isinstance(kind, UnionType):
            [kind] = [each for each in get_args(kind) if each is not type(None)]
        if isinstance(info, ArgumentInfo):
            places.append(name)
        else:
            named = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]  # the first is there
            for option in named or ("--" + name.replace("_", "-"),):
                options[option] = (name, kind, info)
    [place] = places
    return options, place


def _value(kind: Any, text: str, least: float | None) -> Any:
    value: Any
    if not text or text.startswith("-"):
        raise _NotPlain
    if kind is str:
        return text
    if kind is int and _WHOLE.fullmatch(text):
        value = int(text)
    elif kind is float and _NUMBER.fullmatch(text):
        value = float(text)
    elif isinstance(kind, type) and issubclass(kind, Enum) and text in {each.value for each in kind}:
        return kind(text)
    else:
        raise _NotPlain
    if least is not None and value < least:
        raise _NotPlain
    return value
