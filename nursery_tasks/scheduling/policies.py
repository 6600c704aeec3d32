"""What a schedule does when its runs are slow, were missed, or fail: as a user gives it, checked."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal, cast, get_args

import msgspec

from ..errors import InvalidOptions
from ..model.duration import Duration, to_seconds

Overlap = Literal["allow", "skip", "queue_one", "queue_all", "cancel"]
CatchUp = Literal["one", "all", "none"]

OVERLAPS: Final = get_args(Overlap)
CATCH_UPS: Final = get_args(CatchUp)
LONGEST_WINDOW_SECONDS: Final = 36_525 * 86_400.0


class Policies(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Made by `policies()`.

    Attributes:
        overlap: What becomes of a slot while an earlier run has not ended. `allow`: it starts all the same. `skip`: it has no
            run. `queue_one`: one run waits for the end of the earlier one, more have none. `queue_all`: all wait. `cancel`: the
            earlier run is cancelled, and the new one starts when it has ended.
        catch_up: What becomes of slots that nobody was there for. `one`: the last of them gets a run. `all`: each does.
            `none`: none does.
        window_seconds: Instead of it: those get a run that are not older than this.
        pause_on_failure: A run that has failed, or is dead, pauses the schedule.
    """

    overlap: Overlap = "allow"
    catch_up: CatchUp = "one"
    window_seconds: float | None = None
    pause_on_failure: bool = False


def policies(overlap: str = "allow", catch_up: str | Duration = "one", pause_on_failure: bool = False) -> Policies:
    """Check what a user gave.

    Raises:
        InvalidOptions: A value is none of those that exist.
    """
    if overlap not in OVERLAPS:
        raise InvalidOptions("overlap", overlap, f"one of {_listed(OVERLAPS)}")
    if not isinstance(pause_on_failure, bool):
        raise InvalidOptions("pause_on_failure", pause_on_failure, "True or False")
    if isinstance(catch_up, int | float | timedelta) and not isinstance(catch_up, bool):
        window = to_seconds("catch_up", catch_up, at_least=0.001)
        if window > LONGEST_WINDOW_SECONDS:
            raise InvalidOptions("catch_up", catch_up, "at most 100 years, or 'all'")
        return Policies(cast("Overlap", overlap), "all", window, pause_on_failure)
    if catch_up not in CATCH_UPS:
        raise InvalidOptions("catch_up", catch_up, f"one of {_listed(CATCH_UPS)}, or how old a slot may be, in seconds")
    return Policies(cast("Overlap", overlap), cast("CatchUp", catch_up), None, pause_on_failure)


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(repr(word) for word in words)
