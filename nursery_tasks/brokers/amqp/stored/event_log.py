"""The log of events. The store keeps it; nothing of it goes through the server."""

from __future__ import annotations

from ....model.event_log import EventBatch, LogPage
from ...parts import EventLog
from ..transport import Transport


class StoredEventLog:
    """The calls of `EventLog`, for as long as the broker is open: its store may be open for others as well."""

    def __init__(self, store: EventLog, transport: Transport) -> None:
        self._store, self._transport = store, transport

    def append(self, batch: EventBatch, keep_seconds: float, most: int) -> bool:
        self._transport.check_usable()
        return self._store.append(batch, keep_seconds, most)

    def read(self, after: int, limit: int) -> LogPage:
        self._transport.check_usable()
        return self._store.read(after, limit)
