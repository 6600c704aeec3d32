"""What a broker heeds of a message that another program has put in, beside the task's name.

These fields count before a worker sees the job, so whoever stores it has to read them. One that is not what it should be makes
the whole message a dead letter: run without it, a job with a mistyped id would run once for each time it is sent.
`brokers/redis/lua/inbox.lua` does the same in Lua; `tests/trials/test_foreign_fields.py` holds it to this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from .codec import Undecodable, sniff
from .options import MAX_PRIORITY, check_name, check_queue

LONGEST_SECONDS: Final = 100 * 365.25 * 86_400
MAX_NUMBER: Final = 2**53  # from here on programs that know only floats do not tell whole numbers apart


class BadField(Undecodable):
    """It is a message with a task, and one of its other fields is not what it should be; the text names it."""


class Routing(msgspec.Struct, frozen=True):
    """What is heeded of a message; None where it says nothing."""

    task: str
    id: str | None = None
    queue: str | None = None
    priority: int | None = None
    delay: float | None = None
    expires: float | None = None
    key: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] | None = None


class _Fields(msgspec.Struct, frozen=True):
    """The same as they come; the rest is for the worker."""

    task: Any = None
    id: Any = None
    queue: Any = None
    priority: Any = None
    delay: Any = None
    expires: Any = None
    key: Any = None
    parent: Any = None
    tags: Any = None


_FROM_JSON: Final = msgspec.json.Decoder(_Fields)
_FROM_MSGPACK: Final = msgspec.msgpack.Decoder(_Fields)


def read_foreign(body: bytes) -> Routing:
    """Read as much of a message as a broker needs.

    Raises:
        BadField: A field that is heeded has a value that it cannot have.
        Undecodable: It is no message: no map, or one without a task.
    """
    try:
        fields = (_FROM_JSON if sniff(body) == "json" else _FROM_MSGPACK).decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Undecodable(f"not a message: {error}") from None
    if not isinstance(fields.task, str) or not fields.task:
        what = "it has no task" if fields.task is None or fields.task == "" else f"task={_shown(fields.task)} is no text"
        raise Undecodable(f"not a message: {what}")
    read = {name: _read(name, getattr(fields, name)) for name in _READERS}
    return Routing(**read)


def _read(name: str, value: object) -> Any:
    if value is None and name != "task":
        return None
    reader, expected = _READERS[name]
    try:
        return reader(value)
    except (ValueError, TypeError, OverflowError):  # InvalidOptions is a ValueError; some integers fit no float
        raise BadField(f"not a message: the field {name}={_shown(value)}: expected {expected}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _name(value: object) -> str:
    return check_name("", value)


def _id(value: object) -> str | None:
    if value == "" and isinstance(value, str):
        return None
    if isinstance(value, str):
        return _name(value)
    number = _whole(value)
    if abs(number) >= MAX_NUMBER:
        raise ValueError
    return str(number)


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return value


def _priority(value: object) -> int:
    return min(max(_whole(value), 0), MAX_PRIORITY)


def _delay(value: object) -> float:
    return min(max(float(_number(value)), 0.0), LONGEST_SECONDS)


def _expires(value: object) -> float:
    if _number(value) < 0:
        raise ValueError
    return _delay(value)


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_name(word) for word in cast("list[object]", value))


_NAME: Final = "1 to 200 characters without spaces"
_READERS: Final[dict[str, tuple[Callable[[object], Any], str]]] = {
    "task": (_name, _NAME),
    "id": (_id, f"{_NAME}, or a whole number below 2**53"),
    "queue": (lambda value: check_queue("", value), "1 to 64 letters, digits, dots, dashes or underscores"),
    "priority": (_priority, "a whole number, from 0 to 9"),
    "delay": (_delay, "a number of seconds"),
    "expires": (_expires, "a number of seconds, 0 or more"),
    "key": (_name, _NAME),
    "parent": (_name, f"the id of a job: {_NAME}"),
    "tags": (_tags, f"a list of words, each {_NAME}"),
}
