"""Appends the events of this process to the log in the broker, if the app keeps one.

What happens is put into a buffer, and a thread of its own takes it from there, a batch at a time: so an outcome never waits for
the log. While the broker is away the batch at hand is sent again until it is known to be there, and what happens meanwhile
waits behind it. The broker knows how far each writer has come, so a batch whose answer was lost is not there twice.

What it costs is paid for each row, and hardly for each job of a row: so workers note many jobs in one (`worker/log_notes.py`).

A broker in memory is called on the loop, by a child of the open connection: a thread would live in another time than a test's.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Final

import msgspec
from anyio import CancelScope, CapacityLimiter, Event, to_thread
from anyio.lowlevel import checkpoint

from ..brokers.needed import event_log_of
from ..brokers.protocol import Broker
from ..errors import BrokerClosed, BrokerError, InvalidOptions
from ..events import EventKind, EventRow, JobEvent, row_of
from ..forks import renew_in_children
from ..log_throttle import LogThrottle
from ..loop.threadsafe import loop_run_soon
from ..model.event_log import EventBatch

EVENT_LOG_MOST: Final = 1_000_000  # events that are kept
GATHER_SECONDS: Final = 0.03  # that the first event of a batch waits for others
BATCH: Final = 10_000  # events; a row that comes across it comes whole
BUSY: Final = 200  # events that have come while the first one waited: then all wait a bit more, and travel together
BUSY_SECONDS: Final = 0.05
BUFFER: Final = 50_000  # events that wait while the broker is away
PAUSES: Final = (0.05, 1.0)  # seconds between two tries then: at first, and at most
FINISH_SECONDS: Final = 1.0  # for what is not appended when the app is left, or the program ends

_log = logging.getLogger("nursery_tasks.events")
_encode: Final = msgspec.msgpack.Encoder().encode


class LogWriter:
    """One process's way into the log.

    Args:
        keep_seconds, most: How long, and how many events, the log keeps.
        broker: Called for the broker, in the thread.

    Attributes:
        dropped: How many events are missing in the log: too many waited. The log has a gap in their place.
    """

    def __init__(self, keep_seconds: float, most: int, broker: Callable[[], Broker]) -> None:
        self.dropped = 0
        self._keep_seconds, self._most, self._broker = keep_seconds, most, broker
        self._away = LogThrottle(_log)
        self._begin()
        renew_in_children(self, LogWriter._begin)

    def _begin(self) -> None:
        """Begin as a writer of which the broker knows nothing; also in a forked child, where no thread is."""
        self._writer = token_hex(8)
        self._next = 1  # the number of the next event
        self._lock = threading.Lock()  # around the buffer
        self._waiting: deque[EventRow] = deque()
        self._held = 0  # events in it
        self._lost = 0  # events that are missing behind those that wait
        self._is_awake = False
        self._thread: threading.Thread | None = None
        self._news = threading.Event()
        self._wake_loop: Callable[[], object] | None = None
        self._finish_by: float | None = None

    def note(self, rows: Sequence[EventRow]) -> None:
        """Take note of events; from any thread, and at once."""
        with self._lock:
            for row in rows:
                if self._held >= BUFFER:
                    self._lost += row.count
                    self.dropped += row.count
                else:
                    self._waiting.append(row)
                    self._held += row.count
            is_awake, self._is_awake = self._is_awake, True
        if not is_awake:
            self._wake()

    async def serve(self) -> None:
        """Append what happens, on the loop, until cancelled; for a broker that does not block."""
        thread, run_soon = threading.get_ident(), loop_run_soon()
        changed = Event()

        def wake() -> None:
            if threading.get_ident() == thread:
                changed.set()
            else:
                run_soon(lambda: changed.set())

        self._wake_loop = wake
        try:
            while True:
                if not self._waiting:
                    await changed.wait()
                changed = Event()
                await checkpoint()  # what else happens in this turn of the loop goes along
                self._is_awake = False
                self._flush()
        finally:
            self._flush()
            self._wake_loop = None

    async def finish(self) -> None:
        """Wait until all is appended; bounded. A later event begins anew."""
        thread = self._thread
        if thread is not None:
            self._tell_to_end()
            with CancelScope(shield=True):  # the thread ends by itself in time
                await to_thread.run_sync(thread.join, FINISH_SECONDS + 1.0, limiter=CapacityLimiter(1))
            self._ended()

    def close(self) -> None:
        """Do the same, and block."""
        thread = self._thread
        if thread is not None:
            self._tell_to_end()
            thread.join(FINISH_SECONDS + 1.0)
            self._ended()

    def _wake(self) -> None:
        if self._wake_loop is not None:
            self._wake_loop()
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="nursery-tasks event log", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        self._news.set()

    def _tell_to_end(self) -> None:
        self._finish_by = time.monotonic() + FINISH_SECONDS
        self._news.set()

    def _ended(self) -> None:
        atexit.unregister(self.close)
        self._thread, self._finish_by = None, None
        with self._lock:
            left = self._held + self._lost
            self.dropped += self._held
            self._waiting.clear()
            self._held = self._lost = 0
            self._is_awake = False
        if left:
            _log.warning("%s events are not in the log: the broker did not take them in time", left)

    def _run(self) -> None:
        """Append what happens, in a thread of its own, until told to end."""
        while self._finish_by is None:
            self._news.wait()
            self._news.clear()
            if self._finish_by is None:
                time.sleep(GATHER_SECONDS)
                if self._held > BUSY:
                    time.sleep(BUSY_SECONDS)
            self._is_awake = False
            try:
                self._flush()
            except BrokerClosed:  # what comes now is after the end
                with self._lock:
                    self._thread, self._is_awake = None, False
                    self._waiting.clear()
                    self._held = 0
                return

    def _flush(self) -> None:
        while rows := self._take():
            count = sum(row.count for row in rows)
            batch = EventBatch(writer=self._writer, sequence=self._next, count=count, body=_encode(rows))
            self._next += count
            if not self._append(batch):
                self._lost += count
                return

    def _take(self) -> list[EventRow]:
        """Take the rows of one batch; behind the last one stands a gap where events are missing."""
        rows: list[EventRow] = []
        with self._lock:
            count = 0
            while self._waiting and count < BATCH:
                rows.append(self._waiting.popleft())
                count += rows[-1].count
            self._held -= count
            if self._lost and not self._waiting:
                rows.append(_gap(self._lost))
                self._lost = 0
        return rows

    def _append(self, batch: EventBatch) -> bool:
        """Append a batch, however long it takes; False: there is no time left."""
        pause, most = PAUSES
        while True:
            try:
                event_log_of(self._broker()).append(batch, self._keep_seconds, self._most)
                return True
            except BrokerClosed:
                raise
            except BrokerError as error:
                self._away.log("the log of events has to wait: %s", error)
            if self._finish_by is not None and time.monotonic() + pause > self._finish_by:
                return False
            time.sleep(pause)
            pause = most if self._finish_by is None and pause * 2 > most else min(pause * 2, most)


def check_most(option: str, given: object) -> None:
    """Check how many events are to be kept.

    Raises:
        InvalidOptions: It is no whole number above zero.
    """
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise InvalidOptions(option, given, "a number of events, 1 or more")


def _gap(lost: int) -> EventRow:
    detail = f"{lost:,} events of one process are missing here: too many waited while the broker was away"
    return row_of(JobEvent(kind=EventKind.GAP, job_id="", task="", queue="", at=time.time(), detail=detail))
