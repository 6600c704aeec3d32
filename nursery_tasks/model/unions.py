"""Unions that msgspec refuses, because their members look alike on the wire: `UUID | str`, `date | datetime`, `Path | str`.

Each is replaced by a class that stands for it, and msgspec asks the codec's hook for values of that class: the first member
that the value fits is taken. What takes everything of its kind comes last, or its neighbours would never have a turn: plain
text, and sets after lists, which they would shorten. `bytes | str` stays refused: in JSON bytes are a text, and each text of
the right length would become bytes.
"""

from __future__ import annotations

import types
import typing
from typing import Any, Final

import msgspec

_UNIONS: Final = (typing.Union, types.UnionType)
_ANYTHING: Final = (typing.NoReturn, typing.Never)  # they say nothing about a value that is there
_BYTES: Final = (bytes, bytearray, memoryview)


class Either(type):
    """The class of the classes that stand for unions."""

    members: tuple[Any, ...]

    def __instancecheck__(cls, instance: object) -> bool:
        return True  # msgspec asks whether the hook's answer is one; the members have been tried by then


class Unworkable(TypeError):
    """Nothing can be converted to a type; the text says why."""


def workable(hint: Any) -> Any:
    """Return *hint* as msgspec takes it: itself, most often.

    Raises:
        Unworkable: There is no way.
    """
    problem = _problem_of(hint)
    if problem is None:
        return hint
    if any(hint is each for each in _ANYTHING) or isinstance(
        hint, typing.ParamSpecArgs | typing.ParamSpecKwargs | typing.TypeVarTuple
    ):
        return Any
    if hint is typing.LiteralString:
        return str
    made = _rebuilt(hint)
    if made is hint:
        raise Unworkable(problem)
    problem = _problem_of(made)
    if problem is not None:
        raise Unworkable(problem)
    return made


def _problem_of(hint: Any) -> str | None:
    try:
        msgspec.json.Decoder(hint, dec_hook=lambda wanted, value: value)
    except TypeError as error:
        return " ".join(str(error).split())
    except Exception:  # such as a name inside of it that is defined further down: nobody can tell yet
        return None
    return None


def _rebuilt(hint: Any) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return typing.Annotated[(workable(parts[0]), *hint.__metadata__)]
    if origin in _UNIONS:
        return _either(hint, parts)
    if origin is None or origin is typing.Literal or not parts:
        return hint
    inner = tuple(part if part is ... else workable(part) for part in parts)
    if inner == parts:
        return hint
    return hint.copy_with(inner) if hasattr(hint, "copy_with") else origin[inner]


def _either(hint: Any, parts: tuple[Any, ...]) -> Any:
    if str in parts and any(part in _BYTES for part in parts):
        raise Unworkable("in JSON, bytes are a text: a union of both does not say which")
    members = tuple(sorted(map(workable, parts), key=_turn))
    return Either(str(hint), (), {"members": members})


def _turn(member: Any) -> int:
    kind = typing.get_origin(member) or member
    if kind in (Any, object):
        return 3
    if kind is str:
        return 2
    return 1 if kind in (set, frozenset, dict) else 0
