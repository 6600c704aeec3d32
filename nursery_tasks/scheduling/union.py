"""`any_of()`: several specs as one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

from ..errors import InvalidOptions
from .crontab.spec import Cron
from .interval import Every
from .once import At
from .solar import Sun
from .spec import Spec

MOST_SPECS: Final = 100
_EXPECTED: Final = "every(...), cron(...), at(...), sun(...), or a list of them"


class AnyOf(Spec, frozen=True, tag="any"):
    """Whenever one of several specs says so; see `any_of()`."""

    specs: tuple[Every | Cron | At | Sun, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.specs) <= MOST_SPECS:
            raise InvalidOptions("schedule", list(self.specs), f"1 to {MOST_SPECS} specs")

    def __repr__(self) -> str:
        return f"any_of({', '.join(map(repr, self.specs))})"

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first moment of any of them; what two of them name happens once."""
        found = [each for spec in self.specs if (each := spec.next_after(moment)) is not None]
        return min(found, default=None)

    def explain(self) -> str:
        """Say it in words."""
        return "; ".join(spec.explain() for spec in self.specs)


AnySpec = Every | Cron | At | Sun | AnyOf


def any_of(*specs: AnySpec) -> AnySpec:
    """Make one spec of several: `any_of(cron("0 9 * * mon-fri"), cron("0 11 * * sat"))`. What two of them name happens once.

    Raises:
        InvalidOptions: One of them is no spec, or there is none, or there are more than 100.
    """
    parts: list[Every | Cron | At | Sun] = []
    for spec in specs:
        if not isinstance(spec, Every | Cron | At | Sun | AnyOf):
            raise InvalidOptions("schedule", spec, _EXPECTED)
        parts += spec.specs if isinstance(spec, AnyOf) else [spec]
    different = tuple(dict.fromkeys(parts))
    return different[0] if len(different) == 1 else AnyOf(different)


def to_spec(option: str, value: object) -> AnySpec:
    """Turn what a user wrote into a spec: one is taken as it is, a list is one of all in it.

    Raises:
        InvalidOptions: It is neither.
    """
    if isinstance(value, Every | Cron | At | Sun | AnyOf):
        return value
    if not isinstance(value, list | tuple):
        raise InvalidOptions(option, value, _EXPECTED)
    return any_of(*cast("Sequence[AnySpec]", value))
