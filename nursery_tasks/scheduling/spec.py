"""What all kinds of specs have in common: *when*, as plain data that travels as text."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Spec(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True, forbid_unknown_fields=True):
    """When something happens, again and again or once: made by `every()`, `cron()`, `at()`, `sun()` and `any_of()`.

    It is plain data without a clock. Two specs with the same content are equal, and `repr()` is the call that makes one.
    (A field that this version does not know is an error, so that an older worker does not act at the wrong times.)
    """

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first moment after *moment*, in UTC, or None when there is none.

        Args:
            moment: A datetime with a time zone. What happens at this very moment is not meant, but what comes after it.

        Raises:
            InvalidOptions: *moment* has no time zone, or is no datetime.
        """
        raise NotImplementedError

    def explain(self) -> str:
        """Say it in words."""
        raise NotImplementedError

    def to_text(self) -> str:
        """Return the text that `parse_spec()` makes the same spec of; it is JSON."""
        return msgspec.json.encode(self).decode()
