"""Messages that wait until a worker has sent them, and small values by name. Each call is one script, a long list several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...model.outgoing import BATCH_BYTES, OutboxRecord, Outgoing, StateRecord, StateRow, check_outgoing, check_state
from .running import Makers, Scripts, Step, some

PAGE: Final = 100  # outboxes or states in one call that only lists them
_MOST: Final = 1_000  # messages in one call


class RedisOutbox:
    """The calls of `Outbox`, and the steps of those that a worker makes all the time."""

    def __init__(self, scripts: Scripts) -> None:
        self._run, self._step, self._take = scripts.run, scripts.step, scripts.take
        self._link = scripts.link

    def put_outgoing(self, items: Sequence[Outgoing]) -> None:
        check_outgoing(items)
        self._link.check_usable()
        if items:
            self._take(self.put_step(items))

    def put_step(self, items: Sequence[Outgoing]) -> Step[None]:
        check_outgoing(items)
        return self._step("put", _to_nothing, "", 0, b"", *pack_outgoing(items))

    def next_outgoing(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        self._link.check_usable()
        return self._take(self.next_step(destination, limit)) if limit > 0 else []

    def next_step(self, destination: str, limit: int) -> Step[list[tuple[int, bytes]]]:
        return self._step("next", _to_rows, destination, min(limit, _MOST), BATCH_BYTES)

    def drop_outgoing(self, destination: str, up_to_position: int) -> int:
        return self._take(self.drop_step(destination, up_to_position))

    def drop_step(self, destination: str, up_to_position: int) -> Step[int]:
        return self._step("drop", int, destination, up_to_position)

    def makers(self) -> Makers:
        return {
            self.put_outgoing: some(self.put_step),
            self.next_outgoing: self.next_step,
            self.drop_outgoing: self.drop_step,
        }

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
    """The calls of `States`, and the steps of those that change one."""

    def __init__(self, scripts: Scripts) -> None:
        self._run, self._step, self._take = scripts.run, scripts.step, scripts.take
        self._link = scripts.link

    def get_state(self, name: str) -> StateRow | None:
        version, body = self._link.call("HMGET", f"{self._link.key}state:{name}", "v", "b")
        return None if version is None else StateRow(int(version), body)

    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        return self._take(self.put_step(name, version, body, outgoing))

    def put_step(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> Step[int]:
        check_state(name, body)
        check_outgoing(outgoing)
        return self._step("put", int, name, version, body, *pack_outgoing(outgoing))

    def delete_state(self, name: str, version: int) -> bool:
        return self._take(self.delete_step(name, version))

    def delete_step(self, name: str, version: int) -> Step[bool]:
        return self._step("forget", bool, name, version)

    def makers(self) -> Makers:
        return {self.put_state: self.put_step, self.delete_state: self.delete_step}

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


def _to_nothing(_: Any) -> None:
    return


def _to_rows(rows: Sequence[Any]) -> list[tuple[int, bytes]]:
    return [(int(rows[place]), rows[place + 1]) for place in range(0, len(rows), 2)]


def _to_record(row: Sequence[Any], now: float) -> OutboxRecord:
    name, count, at = row
    return OutboxRecord(name.decode(), count, float(at), max(0.0, now - float(at)))
