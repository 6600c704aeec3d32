"""What people look at and change: the half of the Redis broker behind `BrokerAdmin`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from ...errors import InvalidOptions
from ...model.listing import JobFilter, JobRecord, LimitRecord, QueueRecord, ServerMessage, WorkerRecord
from ...model.raw import Letterhead, to_inbox
from ...model.states import HELD, JobState
from .checks import read_info
from .hints import Audience
from .link import Link
from .records import to_digits, to_limits, to_queues, to_record, to_wanted, to_workers
from .scripts import Script


class RedisAdmin:
    """The link, which both halves share, and the calls for people.

    Listings and purges look at a bounded number of jobs in one call of a script, and make several: a person who looks does
    not stop the workers.
    """

    def __init__(
        self, link: Link, scripts: Mapping[str, Script], audience: Audience, clock: Callable[[], float] | None
    ) -> None:
        self._link = link
        self._scripts = scripts
        self._audience = audience
        self._clock = clock

    def describe(self) -> dict[str, str]:
        info = read_info(self._link)
        version = info.get("valkey_version")
        aof = "every write is logged" if info.get("aof_enabled") == "1" else "no log of writes (appendonly no)"
        room = "without a limit" if info.get("maxmemory", "0") == "0" else f"of {info.get('maxmemory_human', '?')}"
        return {
            "Valkey" if version else "Redis": version or info.get("redis_version", "?"),
            **self._topology(info),
            "prefix": self._link.address.prefix,
            "persistence": aof,
            "memory": f"{info.get('used_memory_human', '?')} {room}",
            "when it is full": info.get("maxmemory_policy", "?"),
            "clients": info.get("connected_clients", "?"),
        }

    def _topology(self, info: Mapping[str, str]) -> dict[str, str]:
        address = self._link.address
        found = address.route.describe()
        if found or address.replicas:
            waits = f"what is accepted is on {address.replicas} of them" if address.replicas else "nothing waits for them"
            found["replicas"] = f"{info.get('connected_slaves', '?')}, and {waits}"
        return found

    def job(self, job_id: str) -> JobRecord | None:
        answer = self._run("job", job_id)
        return to_record(answer) if answer else None

    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        self._link.check_usable()
        found: list[JobRecord] = []
        packed, cursor = to_wanted(wanted), str(after)
        while cursor and len(found) < limit:
            answer = self._run("jobs", packed, limit - len(found), cursor, int(newest_first))
            found += [to_record(answer[place : place + 5]) for place in range(1, len(answer), 5)]
            cursor = answer[0].decode()
        return found

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        if limit <= 0:
            return []
        found: list[bytes] | None = self._link.call("LPOP", f"{self._link.key}out:{name}", limit)
        return found or []

    def send_message(self, queue: str, message: ServerMessage) -> str:
        """Push a message to a list, as other programs do. There is no content type; a correlation id is the id."""
        name = message.id or message.correlation_id or uuid4().hex
        body, raw = to_inbox(message.body, Letterhead(message.reply_to, name))
        key = self._link.key
        self._link.call("RPUSH", f"{key}{'raw' if raw else 'in'}:{queue}", body)
        self._link.call("PUBLISH", f"{key}hint:work", queue)
        return name

    def queues(self) -> list[QueueRecord]:
        return to_queues(self._run("queues"))

    def limits(self, limit: int) -> list[LimitRecord]:
        return to_limits(self._run("limits", limit))

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

    def workers(self) -> list[WorkerRecord]:
        return to_workers(self._run("workers"))

    def _run(self, script: str, *values: Any) -> Any:
        now = "" if self._clock is None else repr(self._clock())
        return self._link.run(self._scripts[script], now, *values)
