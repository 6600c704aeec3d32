"""Following the log of events without an event loop."""

from __future__ import annotations

import logging
import time
from collections import deque
from threading import Event
from types import TracebackType

from ..brokers.needed import event_log_of
from ..brokers.protocol import Broker
from ..errors import BrokerClosed, BrokerError, BrokerReplaced
from ..events import EventFilter, JobEvent
from ..log_throttle import LogThrottle
from .following import PAUSE_SECONDS, POLL_SECONDS
from .log_reader import PAGE, LogReader, Since, ask

_log = logging.getLogger("nursery_tasks.client")


class SyncEventStream:
    """What `app.sync.follow()` gives: `for event in events`. Left by `break` or an error, it is closed by its `with`.

    Args:
        timeout_seconds: After how long without an event it ends; None: never.

    Resources:
        `close` gives back its listener.
    """

    def __init__(self, broker: Broker, wanted: EventFilter | None, since: Since, timeout_seconds: float | None) -> None:
        self._log = event_log_of(broker)
        self._reader = LogReader(wanted, since)
        self._timeout_seconds = timeout_seconds
        self._ready: deque[JobEvent] = deque()
        self._changed = Event()
        self._away = LogThrottle(_log)
        self._listener = broker.listen(["log"], lambda hint: self._changed.set())
        try:
            ask(self._reader.begin(), self._log.read)
        except BaseException:
            self._listener.close()
            raise
        self._last = self._reader.cursor

    @property
    def cursor(self) -> str:
        """The place behind the event that was given last."""
        return self._last if self._ready else self._reader.cursor

    @property
    def dropped(self) -> int:
        """How many events the log had dropped before they were read here."""
        return self._reader.dropped

    def __enter__(self) -> SyncEventStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> SyncEventStream:
        return self

    def __next__(self) -> JobEvent:
        """Wait for the next event, also while the broker is away; ends after *timeout_seconds* without one."""
        deadline = None if self._timeout_seconds is None else time.monotonic() + self._timeout_seconds
        while not self._ready:
            self._changed.clear()  # before the look, so that no hint is missed
            is_over = deadline is not None and time.monotonic() >= deadline
            try:
                page = self._log.read(self._reader.after, PAGE)
            except (BrokerClosed, BrokerReplaced):
                raise
            except BrokerError as error:
                self._away.log("the log of events cannot be read: %s", error)
                if is_over:
                    raise StopIteration from None
                time.sleep(PAUSE_SECONDS)
                continue
            self._ready.extend(self._reader.take(page))
            if not self._ready and self._reader.after >= page.last:
                if is_over:
                    raise StopIteration
                left = POLL_SECONDS if deadline is None else min(POLL_SECONDS, max(0.0, deadline - time.monotonic()))
                self._changed.wait(left)
        event = self._ready.popleft()
        self._last = event.cursor
        return event

    def close(self) -> None:
        """End it."""
        self._listener.close()
