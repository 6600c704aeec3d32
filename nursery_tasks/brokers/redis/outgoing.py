"""Messages that wait until a worker has sent them, and small values by name. Each call is one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...model.outgoing import BATCH_BYTES, OutboxRecord, Outgoing, StateRecord, StateRow, check_outgoing, check_state
from .running import Scripts

PAGE: Final = 100  # outboxes or states in one call that only lists them
_MOST: Final = 1_000  # messages in one call


class RedisOutbox:
    """The calls of `Outbox`."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run
        self._link = scripts.link

    def put_outgoing(self, items: Sequence[Outgoing]) -> None:
        check_outgoing(items)
        self._link.check_usable()
        if items:
            self._run("put", "", 0, b"", *pack_outgoing(items))

    def next_outgoing(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        self._link.check_usable()
        if limit <= 0:
            return []
        rows = self._run("next", destination, min(limit, _MOST), BATCH_BYTES)
        return [(int(rows[place]), rows[place + 1]) for place in range(0, len(rows), 2)]

    def drop_outgoing(self, destination: str, up_to_position: int) -> int:
        dropped: int = self._run("drop", destination, up_to_position)
        return dropped

    def list_outboxes(self, limit: int, after: str = "") -> list[OutboxRecord]:
        self._link.check_usable()
        records: list[OutboxRecord] = []
        while len(records) < limit:
            last, now, *rows = self._run("outboxes", after, min(limit - len(records), PAGE))
            records += [_to_record(rows[place : place + 3], float(now)) for place in range(0, len(rows), 3)]
            after = last.decode()
            if not after:
                break
        return records


class RedisStates:
    """The calls of `States`."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run
        self._link = scripts.link

    def get_state(self, name: str) -> StateRow | None:
        version, body = self._link.call("HMGET", f"{self._link.key}state:{name}", "v", "b")
        return None if version is None else StateRow(int(version), body)

    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        check_state(name, body)
        check_outgoing(outgoing)
        new: int = self._run("put", name, version, body, *pack_outgoing(outgoing))
        return new

    def delete_state(self, name: str, version: int) -> bool:
        answer: int = self._run("forget", name, version)
        return answer == 1

    def list_states(self, prefix: str, limit: int, after: str = "") -> list[StateRecord]:
        self._link.check_usable()
        records: list[StateRecord] = []
        while len(records) < limit:
            begin = f"({after}" if after >= prefix else f"[{prefix}"
            last, *rows = self._run("states", begin, prefix, min(limit - len(records), PAGE))
            triples = (rows[place : place + 3] for place in range(0, len(rows), 3))
            records += [StateRecord(name.decode(), int(version), size) for name, version, size in triples]
            after = last.decode()
            if not after:
                break
        return records


def pack_outgoing(items: Sequence[Outgoing]) -> list[Any]:
    """Return what scripts want to know of messages: the destination and the body of each."""
    return [part for item in items for part in (item.destination, item.body)]


def _to_record(row: Sequence[Any], now: float) -> OutboxRecord:
    name, count, at = row
    return OutboxRecord(name.decode(), count, float(at), max(0.0, now - float(at)))
