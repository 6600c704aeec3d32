"""Schedules in the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...model.delivery import Receipt
from ...model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from .layout import decode_any, pack_jobs
from .records import to_receipts, to_schedule, to_schedules, to_seconds
from .running import Scripts

PAGE: Final = 100  # schedules in one call that only lists them: a person who looks does not stop the workers


class RedisSchedules:
    """The calls of `Schedules`. Each is one script; a long list is several."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run
        self._link = scripts.link

    def list_schedules(self, limit: int, after: str = "") -> list[ScheduleRow]:
        self._link.check_usable()
        found: list[ScheduleRow] = []
        while len(found) < limit:
            last, *fields = self._run("schedules", after, min(limit - len(found), PAGE))
            found += to_schedules(fields)
            after = last.decode()
            if not after:
                break
        return found

    def find_schedules(self, names: Sequence[str]) -> list[ScheduleRow | None]:
        self._link.check_usable()
        answers = self._run("schedule", *names) if names else ()
        return [fields and to_schedule(name, fields) for name, fields in zip(names, answers, strict=True)]

    def look_at_schedules(self, limit: int) -> ScheduleLook:
        head, *fields = self._run("look", max(limit, 0))
        now, next_seconds = decode_any(head)
        return ScheduleLook(float(now), to_schedules(fields), to_seconds(next_seconds))

    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        answers = self._run("fire", *_pack(change), *pack_jobs(change.jobs))
        return None if answers is None else to_receipts(change.jobs, answers)

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        self._link.check_usable()
        packed = [value for change in changes for value in _pack(change)]
        return [bool(done) for done in self._run("reschedule", *packed)] if packed else []


def _pack(change: ScheduleChange) -> tuple[str, int, str, int, bytes]:
    look_at = "" if change.look_at is None else repr(change.look_at)
    return change.name, change.version, look_at, int(change.body is not None), change.body or b""
