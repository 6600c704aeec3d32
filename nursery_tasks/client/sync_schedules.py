"""`app.sync.schedules`: the blocking twin of `app.schedules`; it runs the very coroutines of that one."""

from __future__ import annotations

import builtins
from datetime import datetime
from typing import Any

from ..model.duration import Duration
from .calls import run_at_once
from .job import Job
from .schedule_info import ScheduleInfo
from .schedules import Schedules
from .sync_handle import SyncJobHandle


class SyncSchedules:
    """The schedules of an app's broker: `app.sync.schedules`; the blocking twin of `Schedules`."""

    def __init__(self, schedules: Schedules[SyncJobHandle[Any]]) -> None:
        self._schedules = schedules

    def put(
        self,
        name: str,
        job: Job[Any],
        when: object,
        *,
        jitter: Duration = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        overlap: str = "allow",
        catch_up: str | Duration = "one",
        pause_on_failure: bool = False,
    ) -> ScheduleInfo:
        """Store a schedule, or change one. See `Schedules.put`."""
        return run_at_once(
            self._schedules.put(
                name,
                job,
                when,
                jitter=jitter,
                start=start,
                end=end,
                limit=limit,
                overlap=overlap,
                catch_up=catch_up,
                pause_on_failure=pause_on_failure,
            )
        )

    def list(self) -> builtins.list[ScheduleInfo]:
        """List all schedules by name. See `Schedules.list`."""
        return run_at_once(self._schedules.list())

    def get(self, name: str) -> ScheduleInfo | None:
        """Return one schedule; None: there is none of this name."""
        return run_at_once(self._schedules.get(name))

    def next(self, name: str, count: int = 1) -> builtins.list[datetime]:
        """Return when its next runs are due. See `Schedules.next`."""
        return run_at_once(self._schedules.next(name, count))

    def pause(self, name: str, note: str = "") -> ScheduleInfo:
        """Run nothing of it until it is resumed. See `Schedules.pause`."""
        return run_at_once(self._schedules.pause(name, note))

    def resume(self, name: str) -> ScheduleInfo:
        """Go on with the next slot from now. See `Schedules.resume`."""
        return run_at_once(self._schedules.resume(name))

    def remove(self, name: str) -> bool:
        """Delete a schedule. See `Schedules.remove`."""
        return run_at_once(self._schedules.remove(name))

    def run_now(self, name: str) -> SyncJobHandle[Any]:
        """Submit a run by hand. See `Schedules.run_now`."""
        return run_at_once(self._schedules.run_now(name))

    def backfill(self, name: str, since: datetime, until: datetime) -> builtins.list[str]:
        """Submit runs for the slots of a span that have none. See `Schedules.backfill`."""
        return run_at_once(self._schedules.backfill(name, since, until))
