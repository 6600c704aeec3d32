"""Values that are plain in all but their class, and dicts that JSON would make smaller.

msgspec encodes an `int`, and no subclass of one; for a library that computes, its numbers are numbers all the same. They travel
as what they are, and where a parameter is annotated with such a class they become one again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast

import msgspec

from .message import Message

_SCALARS: Final = frozenset({int, str, float, bool, type(None), bytes, bytearray, datetime, date, time, timedelta, Decimal})
_TEXT: Final = frozenset({str})
_LISTS: Final = frozenset({list, tuple, set, frozenset})


def _datetime(value: datetime, cls: type[datetime] = datetime) -> datetime:
    clock = (value.hour, value.minute, value.second, value.microsecond)
    return cls(value.year, value.month, value.day, *clock, tzinfo=value.tzinfo, fold=value.fold)


def _date(value: date, cls: type[date] = date) -> date:
    return cls(value.year, value.month, value.day)


def _time(value: time, cls: type[time] = time) -> time:
    return cls(value.hour, value.minute, value.second, value.microsecond, tzinfo=value.tzinfo, fold=value.fold)


def _timedelta(value: timedelta, cls: type[timedelta] = timedelta) -> timedelta:
    return cls(value.days, value.seconds, value.microseconds)


def _uuid(value: Any, cls: Any) -> Any:
    return cls(int=value.int)


# The base class -> how a value of a subclass becomes one of the base, not asking methods that a subclass may have changed.
_TO_BASE: Final[dict[type[Any], Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: memoryview(value).tobytes(),
    bytearray: lambda value: memoryview(value).tobytes(),
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _timedelta,
    Decimal: Decimal,
}
_FROM_BASE: Final[dict[type[Any], Callable[[Any, Any], Any]]] = {
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _timedelta,
}


def base_of(cls: Any) -> type[Any] | None:
    """Return the plain class that *cls* is a subclass of; None: it is none."""
    if not isinstance(cls, type) or issubclass(cls, Enum):
        return None
    return next((base for base in cls.__mro__ if base in _TO_BASE or _is_uuid(base)), None)


def _is_uuid(cls: type[Any]) -> bool:
    """Whether it is `uuid.UUID`, whose module also makes new ones, and so is not for this room."""
    return (cls.__module__, cls.__qualname__) == ("uuid", "UUID")


def to_base(value: Any) -> Any:
    """Return *value* without its class: as the plain value that it is; None: it is none."""
    base = base_of(type(value))
    if base is not None:
        return _TO_BASE[base](value) if base in _TO_BASE else _uuid(value, base)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # its other numbers, and its truth values
        item = value.item()
        return None if type(item) is type(value) else item
    return None


def from_base(cls: Any, base: type[Any], value: Any) -> Any:
    """Return a plain value as one of *cls*, a subclass of *base*."""
    make = _uuid if _is_uuid(base) else _FROM_BASE.get(base)
    return cls(value) if make is None else make(value, cls)


def find_doubled_keys(value: Any, encode: Callable[[object], bytes]) -> str | None:
    """Return the keys of a dict inside *value* that are different, and the same as texts; None: there are none.

    Args:
        value: What could be encoded; so it has no circles.
    """
    left: list[Any] = [value]
    while left:
        value = left.pop()
        inside: Iterable[Any]
        kind: type[Any] = value.__class__
        if kind in _LISTS:
            inside = value
        elif issubclass(kind, dict):
            if not _TEXT.issuperset(map(type, value)):
                found = _doubled(value, encode)
                if found is not None:
                    return found
            inside = value.values()
        elif kind is Message:
            inside = (*value.args, *value.kwargs.values()) if value.kwargs else value.args
        else:
            inside = _fields_of(value)
        if not _SCALARS.issuperset(map(type, inside)):  # almost always a question for C
            left += [item for item in inside if type(item) not in _SCALARS]
    return None


def _doubled(given: dict[Any, Any], encode: Callable[[object], bytes]) -> str | None:
    if len(set(map(type, given))) < 2:  # equal texts of equal classes are equal keys
        return None
    texts: dict[str, Any] = {}
    for key in given:
        (text,) = msgspec.json.decode(encode({key: None}), type=dict[str, None])
        if text in texts:
            return f"{texts[text]!r} and {key!r}"
        texts[text] = key
    return None


def _fields_of(value: Any) -> list[Any]:
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if isinstance(value, list | tuple | set | frozenset):  # named tuples, and classes of the user's
        return list(cast("list[Any]", value))
    return []
