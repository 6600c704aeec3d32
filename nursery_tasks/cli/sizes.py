"""Amounts of memory on the command line."""

from __future__ import annotations

import re
from typing import Final

from ..errors import InvalidOptions

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3}


def parse_bytes(option: str, text: str | None) -> int | None:
    """Read `512MB`, `1.5G` or `800MiB`; None stays None.

    Raises:
        InvalidOptions: It is no size, or none that anything could have.
    """
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    number, unit, binary = match.groups() if match else ("0", "", "")
    size = int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])
    if size < 1:
        raise InvalidOptions(option, text, "a size such as 512MB, 1.5GB or 800MiB")
    return size
