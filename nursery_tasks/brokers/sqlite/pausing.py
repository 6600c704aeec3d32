"""What is paused, and how its jobs become ready again.

What is parked for a pause stands in the index of parked jobs, which has the lines of a queue beside each other. To find those
of pauses, a query goes from one to the next, however many jobs stand in each.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import apsw
import msgspec

from ...model.pauses import PAUSED, PauseList, PauseRecord
from ..common.hints import Hints
from .database import Database
from .schema import PARKED, READY, STILL_PARKED, place_of
from .statements import execute, fetch, fetch_value
from .wakeup import Audience

VERSION: Final = "coalesce((SELECT value FROM meta WHERE name = 'pause'), 0)"
_END: Final = PAUSED[:-1] + chr(ord(PAUSED[-1]) + 1)  # the first text after all that begin with it
_LINES: Final = f"""
    WITH RECURSIVE queues (queue) AS (
        SELECT (SELECT queue FROM job WHERE {PARKED} ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT job.queue FROM job WHERE {PARKED} AND job.queue > queues.queue ORDER BY job.queue LIMIT 1)
        FROM queues WHERE queue IS NOT NULL
    ), lines (queue, name) AS (
        SELECT queue, (
            SELECT parked FROM job
            WHERE {PARKED} AND job.queue = queues.queue AND parked >= '{PAUSED}' AND parked < '{_END}' ORDER BY parked LIMIT 1
        ) FROM queues WHERE queue IS NOT NULL
        UNION ALL
        SELECT queue, (
            SELECT parked FROM job
            WHERE {PARKED} AND job.queue = lines.queue AND parked > lines.name AND parked < '{_END}' ORDER BY parked LIMIT 1
        ) FROM lines WHERE name IS NOT NULL
    )
    SELECT queue, name FROM lines WHERE name IS NOT NULL
"""
_RESUMED: Final = f"{_LINES} AND name NOT IN (SELECT name FROM pause)"
IS_ANY_RESUMED: Final = f"EXISTS ({_RESUMED})"
_COUNT: Final = f"SELECT count(*) FROM job WHERE queue = ? AND parked = ? AND {STILL_PARKED}"
_UNPARK: Final = f"""
    UPDATE job SET state = {READY}, at = NULL, due = ?3, parked = NULL WHERE seq IN (
        SELECT seq FROM job AS other WHERE queue = ?1 AND parked = ?2 AND {STILL_PARKED}
        ORDER BY priority DESC, {place_of("other")}, seq LIMIT ?4
    )
"""
_PUT: Final = "INSERT INTO pause (name, at, record) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET at = ?2, record = ?3"
_REMOVE: Final = "DELETE FROM pause WHERE name = ?"
_LIST: Final = "SELECT name, at, record FROM pause ORDER BY name"
_NEXT_VERSION: Final = "INSERT INTO meta (name, value) VALUES ('pause', 1) ON CONFLICT DO UPDATE SET value = value + 1"


class SqlitePauses:
    """The calls of `Pauses`."""

    def __init__(self, database: Database, audience: Audience) -> None:
        self._database, self._audience = database, audience

    def pause_task(self, pause: PauseRecord) -> None:
        def put(cursor: apsw.Cursor, now: float) -> None:
            execute(cursor, _PUT, pause.name, now, msgspec.json.encode(pause))
            execute(cursor, _NEXT_VERSION)

        self._database.write(put, durable=True)
        self._tell(pause.name)

    def resume_task(self, name: str) -> bool:
        def remove(cursor: apsw.Cursor, now: float) -> bool:
            return execute(cursor, _REMOVE, name) > 0 and execute(cursor, _NEXT_VERSION) > 0

        done = self._database.write(remove, durable=True)
        if done:
            self._tell(name)
        return done

    def list_pauses(self) -> PauseList:
        return self._database.browse(_list_pauses)

    def _tell(self, name: str) -> None:
        hints = Hints()
        hints.add("pause", name)
        self._audience.tell(hints)


def unpark_resumed(cursor: apsw.Cursor, now: float, limit: int, hints: Hints) -> int:
    """Make jobs ready that are parked for a pause that is over, in a transaction; return how many."""
    left = limit
    for queue, name in sorted(fetch(cursor, _RESUMED)):
        if left > 0 and (unparked := execute(cursor, _UNPARK, queue, name, now, left)):
            left -= unparked
            hints.add("work", queue)
    return limit - left


def _list_pauses(cursor: apsw.Cursor) -> PauseList:
    # The version first: between the two reads a change may come, and then the next sweep shows that there is a newer one.
    version = fetch_value(cursor, f"SELECT {VERSION}")
    waiting = Counter[str]()
    for queue, name in fetch(cursor, _LINES):
        waiting[name] += fetch_value(cursor, _COUNT, queue, name)
    records = [
        msgspec.structs.replace(msgspec.json.decode(record, type=PauseRecord), paused_at=at, waiting=waiting[name])
        for name, at, record in fetch(cursor, _LIST)
    ]
    return PauseList(version, records)
