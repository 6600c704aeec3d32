"""`at()`: one moment."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec.structs import force_setattr

from .moments import to_utc
from .spec import Spec


class At(Spec, frozen=True, tag="at"):
    """At one moment; see `at()`."""

    moment: Annotated[datetime, msgspec.Meta(tz=True)]

    def __post_init__(self) -> None:
        force_setattr(self, "moment", to_utc("at", self.moment))

    def __repr__(self) -> str:
        return f"at({self.moment!r})"

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the moment, if it comes after *moment*."""
        return self.moment if self.moment > to_utc("moment", moment) else None

    def explain(self) -> str:
        """Say it in words."""
        return f"once, at {self.moment:%Y-%m-%d} {self.moment.time().isoformat()} UTC"


def at(moment: datetime) -> At:
    """Make a spec for one moment.

    Raises:
        InvalidOptions: *moment* has no time zone, or is no datetime.
    """
    return At(moment)
