"""What people look at and change in the server."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...errors import InvalidOptions
from ...model.listing import JobFilter, JobRecord, LimitRecord, QueueRecord, WorkerRecord
from ...model.states import HELD, JobState
from .records import to_digits, to_limits, to_queues, to_record, to_wanted, to_workers
from .running import Scripts


class RedisAdmin:
    """The calls of `Admin`.

    Listings and purges look at a bounded number of jobs in one call of a script, and make several: a person who looks does
    not stop the workers.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run
        self._link = scripts.link

    def job(self, job_id: str) -> JobRecord | None:
        answer = self._run("job", job_id)
        return to_record(answer) if answer else None

    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        self._link.check_usable()
        found: list[JobRecord] = []
        packed, cursor = to_wanted(wanted), str(after)
        while cursor and len(found) < limit:
            answer = self._run("jobs", packed, limit - len(found), cursor, int(newest_first))
            found += [to_record(answer[place : place + 5]) for place in range(1, len(answer), 5)]
            cursor = answer[0].decode()
        return found

    def list_queues(self) -> list[QueueRecord]:
        return to_queues(self._run("queues"))

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        if states & HELD:
            raise InvalidOptions("states", sorted(states), "states in which no worker holds the job")
        self._link.check_usable()
        purged, cursor = 0, "0"
        while cursor and purged < limit:
            number, last = self._run("purge", queue, to_digits(states), limit - purged, cursor)
            purged += number
            cursor = last.decode()
        return purged

    def pause(self, queue: str) -> None:
        self._run("pause", queue, 1)

    def resume(self, queue: str) -> None:
        self._run("pause", queue, 0)

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        self._link.check_usable()
        return [answer == 1 for answer in self._run("requeue", *ids)] if ids else []

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        self._run("beat", worker.name, max(ttl_seconds, 0), msgspec.json.encode(worker))

    def list_workers(self) -> list[WorkerRecord]:
        return to_workers(self._run("workers"))


class RedisLimits:
    """The calls of `Limits`."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run

    def list_limits(self, limit: int) -> list[LimitRecord]:
        return to_limits(self._run("limits", limit))
