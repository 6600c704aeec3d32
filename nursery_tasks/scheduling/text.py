"""The text form of specs, as brokers keep it."""

from __future__ import annotations

from typing import Final

import msgspec

from ..errors import InvalidOptions, NurseryTasksError
from .union import AnySpec

_DECODER: Final = msgspec.json.Decoder(AnySpec)


def parse_spec(text: str | bytes) -> AnySpec:
    """Make the spec again that `to_text()` has written.

    Raises:
        InvalidOptions: The text is none, or comes from a version that knows more. As InvalidCron: its expression is wrong.
    """
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError as error:
        if isinstance(error.__cause__, NurseryTasksError):  # which msgspec has wrapped
            raise error.__cause__ from None
        raise InvalidOptions("schedule", text, f"the text of a schedule, as to_text() writes it ({error})") from None
