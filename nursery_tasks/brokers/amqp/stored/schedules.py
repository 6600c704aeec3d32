"""Schedules. The store keeps them; the jobs that a change submits are told to the workers by messages."""

from __future__ import annotations

from collections.abc import Sequence

from ....model.delivery import Receipt
from ....model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from ...parts import Schedules
from ..transport import Transport
from .work_messages import WorkMessages


class StoredSchedules:
    """The calls of `Schedules`."""

    def __init__(self, store: Schedules, transport: Transport, work: WorkMessages) -> None:
        self._at_store, self._transport, self._work = store, transport, work

    def list_schedules(self, limit: int, after: str = "") -> list[ScheduleRow]:
        return self._store.list_schedules(limit, after)

    def find_schedules(self, names: Sequence[str]) -> list[ScheduleRow | None]:
        return self._store.find_schedules(names)

    def look_at_schedules(self, limit: int) -> ScheduleLook:
        return self._store.look_at_schedules(limit)

    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        store = self._store
        if change.jobs:
            self._transport.check_open()  # or else: what cannot be published need not be stored
        receipts = store.fire(change)
        return None if receipts is None else self._work.publish_new(change.jobs, receipts)

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        return self._store.change_schedules(changes)

    @property
    def _store(self) -> Schedules:
        self._transport.check_usable()
        return self._at_store
