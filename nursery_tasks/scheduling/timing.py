"""A spec with what a schedule adds to it: when it begins, when it ends, how often, and by how much each run is moved.

A *slot* is a moment that the spec names; it is what a run is counted and named by. A slot is *due* at that moment or, with
jitter, a little later. How much later is computed from the name of the schedule and the slot, so that it is the same on every
machine and after every restart. It never reaches the next slot: slots are due in their order.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec

from ..errors import InvalidOptions
from ..model.duration import LONGEST_SECONDS, Duration, to_seconds
from .moments import LATEST, MICROSECOND, SECOND_US, microseconds_of, to_optional_utc, to_utc
from .union import AnySpec, to_spec

MOST_RUNS: Final = 10**15
_FRACTIONS: Final = 2**64


class Timing(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """When a schedule runs; plain data, made by `timing()`."""

    spec: AnySpec
    jitter_us: int = 0
    start: datetime | None = None
    end: datetime | None = None
    limit: int | None = None

    def next_after(self, moment: datetime, runs: int = 0) -> datetime | None:
        """Return the first slot after *moment*, in UTC; None: there is none any more.

        Args:
            runs: How many there have been.
        """
        if self.limit is not None and runs >= self.limit:
            return None
        moment = to_utc("moment", moment)
        if self.start is not None and self.start > moment:
            moment = self.start - MICROSECOND  # a slot at the start itself counts
        slot = self.spec.next_after(moment)
        return None if slot is None or (self.end is not None and slot > self.end) else slot

    def explain(self) -> str:
        """Say it in words."""
        words = [self.spec.explain()]
        if self.jitter_us:
            words.append(f"up to {self.jitter_us / SECOND_US:g} s later")
        words += [
            f"{word} {moment:%Y-%m-%d %H:%M:%S} UTC" for word, moment in (("from", self.start), ("until", self.end)) if moment
        ]
        if self.limit is not None:
            words.append("once in all" if self.limit == 1 else f"{self.limit:,} times in all")
        return ", ".join(words)

    def due_at(self, name: str, slot: datetime) -> datetime:
        """Return when a slot of the schedule of that name is due."""
        if not self.jitter_us:
            return slot
        most = self.jitter_us
        following = self.spec.next_after(slot)
        if following is not None:
            most = min(most, (following - slot) // MICROSECOND)
        most = min(most, (LATEST - slot) // MICROSECOND)
        return slot + timedelta(microseconds=most * _fraction_of(name, slot) // _FRACTIONS)


def timing(
    spec: object,
    *,
    jitter: Duration = 0,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int | None = None,
) -> Timing:
    """Check what a schedule adds to its spec.

    Args:
        spec: A spec, or a list of them.
        jitter: The most by which a slot is moved, in seconds or as a timedelta.
        start, end: The first and the last moment that counts, both included. They move no slots.
        limit: How many runs there are at most.

    Raises:
        InvalidOptions: A value makes no sense.
    """
    first, last = to_optional_utc("start", start), to_optional_utc("end", end)
    if first is not None and last is not None and last < first:
        raise InvalidOptions("end", end, "a moment after start")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_RUNS):
        raise InvalidOptions("limit", limit, f"a whole number from 1 to {MOST_RUNS:,}, or None")
    return Timing(
        to_spec("schedule", spec), round(to_seconds("jitter", jitter, at_most=LONGEST_SECONDS) * SECOND_US), first, last, limit
    )


def _fraction_of(name: str, slot: datetime) -> int:
    """Return a number from 0 to 2**64 - 1 that depends on nothing else."""
    seed = f"{name}\n{microseconds_of(slot)}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(seed, digest_size=8).digest())
