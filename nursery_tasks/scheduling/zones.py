"""Time zones by their IANA names, and the one rule for wall clocks that are put forward and back.

A wall clock's time that does not exist happens at the next valid instant, which is the moment of the change. One that exists
twice happens at its first instant. So each local time has exactly one instant, and later ones never come earlier.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from ..errors import InvalidOptions

_EXPECTED: Final = "the name of a time zone, such as 'Europe/Rome' or 'UTC'"
# Files that a system may have beside the zones: its own setting, which differs from machine to machine, and clocks that count
# leap seconds, which are 27 s off.
_NO_ZONES: Final = ("localtime", "posixrules", "Factory", "right/", "posix/")
_SHORTEST_TYPO: Final = 6  # of an abbreviation, the nearest is another zone: EST is not meant by CEST
_SECOND: Final = timedelta(seconds=1)


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo:
    """Return the zone of that name.

    Raises:
        InvalidOptions: There is none; the message has the nearest name.
    """
    if name == "UTC":
        return UTC  # needs no database
    from zoneinfo import ZoneInfo  # late: most programs have no schedule in a zone

    if not name.startswith(_NO_ZONES):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # unknown; not a relative path; a folder, or a name that is too long
            pass
    near = nearest_name(name)
    raise InvalidOptions("tz", name, _EXPECTED if near is None else f"the name of a time zone; did you mean {near!r}?")


def name_of(tz: object) -> str:
    """Return the name in `tz=`, which may be a zone itself.

    Raises:
        InvalidOptions: It is neither, or a zone that has no name.
    """
    if tz is UTC:
        return "UTC"
    name = getattr(tz, "key", None) if isinstance(tz, tzinfo) else tz
    if not isinstance(name, str) or not name:
        raise InvalidOptions("tz", tz, _EXPECTED)
    return name


@lru_cache(maxsize=256)  # a worker may read many schedules in a zone that its machine lacks, and this reads the whole database
def nearest_name(name: str) -> str | None:
    """Return the zone that was probably meant: by its whole name, or by its city alone."""
    from zoneinfo import available_timezones

    known = {zone.casefold(): zone for zone in sorted(available_timezones()) if not zone.startswith(_NO_ZONES)}
    wanted = name.strip().casefold().replace(" ", "_")
    cities = {zone.rpartition("/")[2]: zone for zone in known if "/" in zone and not zone.startswith("etc/")}
    city = wanted.rpartition("/")[2]
    if wanted in known:
        return known[wanted]
    if city in cities:
        return known[cities[city]]
    if len(wanted) < _SHORTEST_TYPO:
        return None
    for names in (known, {name: known[zone] for name, zone in cities.items()}):
        near = get_close_matches(wanted if names is known else city, names, n=1, cutoff=0.7)
        if near:
            return names[near[0]]
    return None


def wall_time(instant: datetime, zone: tzinfo) -> datetime:
    """Return what a clock on the wall shows at that instant, without a zone."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def first_instant(local: datetime, zone: tzinfo) -> datetime:
    """Return the instant, in UTC, at which a time on the wall happens.

    `fold` (PEP 495) gives both readings of a local time: with the offset before a change, and with the one after it. They are
    the same except around a change; when the clock is put back the first one is earlier, and when it is put forward neither
    holds.
    """
    before, after = (local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    if before >= after:
        return (local - before).replace(tzinfo=UTC)
    return _change_between((local - after).replace(tzinfo=UTC), (local - before).replace(tzinfo=UTC), local, zone)


def _change_between(early: datetime, late: datetime, local: datetime, zone: tzinfo) -> datetime:
    """Return the first whole second at which the wall shows *local* or later: at *early* it does not, at *late* it does."""
    while late - early > _SECOND:
        middle = early + (late - early) // 2 // _SECOND * _SECOND
        if wall_time(middle, zone) >= local:
            late = middle
        else:
            early = middle
    return late
