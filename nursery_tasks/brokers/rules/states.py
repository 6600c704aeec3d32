"""Small values by name, each with a version."""

from __future__ import annotations

from itertools import count

from ...model.outgoing import StateRecord, StateRow


class StateTable:
    """All states."""

    def __init__(self) -> None:
        self._rows: dict[str, StateRow] = {}
        self._versions = count(1)  # one counter for all names: what was deleted and made again has no old version

    def get(self, name: str) -> StateRow | None:
        return self._rows.get(name)

    def put(self, name: str, version: int, body: bytes) -> int:
        """Store a value and return its version; 0: what is there has another version than *version*."""
        if not self._is_current(name, version):
            return 0
        row = StateRow(next(self._versions), body)
        self._rows[name] = row
        return row.version

    def delete(self, name: str, version: int) -> bool:
        if not version or not self._is_current(name, version):
            return False
        del self._rows[name]
        return True

    def records(self, prefix: str, limit: int, after: str) -> list[StateRecord]:
        """Return at most *limit* by name, those with this prefix and a name greater than *after*."""
        names = sorted(name for name in self._rows if name.startswith(prefix) and name > after)[: max(limit, 0)]
        return [StateRecord(name, self._rows[name].version, len(self._rows[name].body)) for name in names]

    def _is_current(self, name: str, version: int) -> bool:
        row = self._rows.get(name)
        return version == (0 if row is None else row.version)
