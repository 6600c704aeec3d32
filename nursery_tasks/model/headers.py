"""What travels beside a job's arguments, and with the jobs that it submits: a small map of texts, as HTTP has it.

Names are what HTTP allows, in lower case, so that a header is the same one in a job, an HTTP request and an AMQP message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from ..errors import InvalidOptions

MAX_HEADERS_BYTES: Final = 16 * 1024  # of all names and values together, in UTF-8
MAX_HEADER_NAME: Final = 100  # characters
NO_HEADERS: Final[Mapping[str, str]] = {}  # never written to

_NAME: Final = re.compile(rf"[a-z0-9!#$%&'*+.^_`|~-]{{1,{MAX_HEADER_NAME}}}")  # RFC 9110, section 5.6.2, without capitals
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")  # no line ends, which would begin another header


def check_headers(option: str, given: object) -> Mapping[str, str]:
    """Return a copy of *given*; None is as good as none.

    Raises:
        InvalidOptions: A name or a value is not what it can be, or they are more than `MAX_HEADERS_BYTES` together. The error
            names the header and does not show its value, which may be a secret.
    """
    if given is None:
        return NO_HEADERS
    if not isinstance(given, Mapping):
        raise InvalidOptions(option, type(given).__name__, 'a dict of texts, such as {"tenant": "blue"}')
    pairs = cast("Mapping[object, object]", given).items()
    headers = {(known := _check_name(option, name)): _check_value(option, known, value) for name, value in pairs}
    size = sum(len(part.encode()) for pair in headers.items() for part in pair)
    if size > MAX_HEADERS_BYTES:
        raise InvalidOptions(option, f"{size:,} bytes", f"at most {MAX_HEADERS_BYTES:,} bytes of names and values together")
    return headers


def lowered(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers that another program has written, with names in lower case."""
    return {name.lower(): value for name, value in given.items()}


def inherited(parent: Mapping[str, str], own: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of a job that a handler submits: its parent's, and its own, which win.

    Raises:
        InvalidOptions: As `check_headers`; the handler may have changed what its children get.
    """
    return check_headers("headers", {**parent, **own}) if parent else own


def _check_name(option: str, name: object) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    expected = f"names of 1 to {MAX_HEADER_NAME} letters, digits and dashes, in lower case"
    if isinstance(name, str) and _NAME.fullmatch(name.lower()):
        expected += f": {name.lower()!r}"
    raise InvalidOptions(option, name, expected)


def _check_value(option: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidOptions(option, {name: type(value).__name__}, f"a text as the value of {name!r}")
    if not _VALUE.fullmatch(value):
        raise InvalidOptions(option, {name: "..."}, f"a text without control characters and line ends as the value of {name!r}")
    return value
