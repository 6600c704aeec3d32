"""What is paused in the server."""

from __future__ import annotations

import msgspec

from ...model.pauses import PauseList, PauseRecord
from .running import Scripts


class RedisPauses:
    """The calls of `Pauses`."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run

    def pause_task(self, pause: PauseRecord) -> None:
        self._run("pause_task", pause.name, 1, msgspec.json.encode(pause))

    def resume_task(self, name: str) -> bool:
        return bool(self._run("pause_task", name, 0, b""))

    def list_pauses(self) -> PauseList:
        version, *fields = self._run("pauses")
        records: list[PauseRecord] = []
        for stored, waiting in zip(fields[1::3], fields[2::3], strict=True):
            paused_at, _, record = stored.partition(b" ")
            found = msgspec.json.decode(record, type=PauseRecord)
            records.append(msgspec.structs.replace(found, paused_at=float(paused_at), waiting=waiting))
        return PauseList(version, sorted(records, key=lambda each: each.name))
