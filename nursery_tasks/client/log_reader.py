"""Reads the log of events: where to begin, what is missing, and what the caller wants. Without any I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Final

import msgspec

from ..errors import CursorLost, InvalidOptions
from ..events import EventFilter, EventKind, EventRow, JobEvent, events_of
from ..model.event_log import EventBatch, LogPage

PAGE: Final = 20  # batches in one look

Since = str | datetime
Ask = Generator[tuple[int, int], LogPage, None]  # asks for pages: after which event, and how many batches

_CURSOR: Final = re.compile(r"([0-9a-f]*)-([0-9]{1,18})")


_decode: Final = msgspec.msgpack.Decoder(list[EventRow]).decode


class LogReader:
    """One reader's place in the log.

    Attributes:
        after: The number of the last event that it has seen.
        dropped: How many events were gone before it came to them.
    """

    def __init__(self, wanted: EventFilter | None, since: Since) -> None:
        self.after = 0
        self.dropped = 0
        self.log = ""  # its id
        self._wanted = wanted
        self._since = since
        self._not_before = _moment_of(since)

    @property
    def cursor(self) -> str:
        """Its place, for `since` of another one."""
        return f"{self.log}-{self.after}"

    def begin(self) -> Ask:
        """Find the place to begin at.

        Raises:
            CursorLost: What follows the cursor is not all there any more.
        """
        page = yield 0, 0
        self.log = page.log
        if self._not_before is not None:
            yield from self._search(page, self._not_before)
        elif self._since == "start":
            self.after = page.first - 1
        elif self._since == "now":
            self.after = page.last
        else:
            log, number = _read_cursor(str(self._since))
            if log != page.log and not (log == "" and number == 0 and page.first == 1):
                raise CursorLost(str(self._since), "the log that it belongs to is gone, and this is another one")
            if number > page.last:
                raise CursorLost(str(self._since), "the last events before a power failure are lost")
            if number < page.first - 1:
                raise CursorLost(str(self._since), f"the oldest event that is kept comes {page.first - 1 - number:,} after it")
            self.after = number

    def take(self, page: LogPage) -> list[JobEvent]:
        """Take in what a look has brought; returns the events that are wanted, and gaps where any are missing."""
        found: list[JobEvent] = []
        if page.log != self.log:
            if self.log:
                found.append(_gap("the log was lost with what was in it, and begins anew here", self.cursor))
                self.log, self.after = page.log, page.first - 1
                return found
            self.log = page.log
        first = page.batches[0].number if page.batches else page.first
        if first > self.after + 1:
            missing = first - self.after - 1
            self.dropped += missing
            self.after = first - 1
            found.append(_gap(f"{missing:,} events were dropped from the log before they were read here", self.cursor))
        for batch in page.batches:
            found += self._open(batch)
        return found

    def _open(self, batch: EventBatch) -> list[JobEvent]:
        seen, self.after = self.after, batch.number + batch.count - 1
        try:
            events = [event for row in _decode(batch.body) for event in events_of(row)]
        except (msgspec.MsgspecError, ValueError, IndexError):
            return [_gap(f"{batch.count:,} events were written by a newer version of nursery-tasks", self.cursor)]
        return [
            msgspec.structs.replace(
                event, id=f"{batch.writer}-{batch.sequence + place}", cursor=f"{self.log}-{batch.number + place}"
            )
            for place, event in enumerate(events)
            if batch.number + place > seen and self._wants(event)
        ]

    def _wants(self, event: JobEvent) -> bool:
        if self._not_before is not None and event.at < self._not_before:
            return False
        return self._wanted is None or self._wanted.wants(event)

    def _search(self, page: LogPage, moment: float) -> Ask:
        """Find the first batch that was appended at *moment* or later: they lie in the order of time."""
        low, high = page.first - 1, page.last  # what is up to `low` is older; behind `high` there is nothing older
        while low < high:
            found = yield (low + high) // 2, 1
            if not found.batches or found.batches[0].at >= moment:
                high = (low + high) // 2
            else:
                low = found.batches[0].number + found.batches[0].count - 1
        self.after = low


def ask(reading: Ask, read: Callable[[int, int], LogPage]) -> None:
    """Answer a reader that asks for pages, by calls that block."""
    wanted = next(reading, None)
    while wanted is not None:
        try:
            wanted = reading.send(read(*wanted))
        except StopIteration:
            return


def _gap(detail: str, cursor: str) -> JobEvent:
    return JobEvent(
        kind=EventKind.GAP, job_id="", task="", queue="", at=datetime.now(UTC).timestamp(), detail=detail, cursor=cursor
    )


def _moment_of(since: object) -> float | None:
    if isinstance(since, datetime):
        if since.utcoffset() is None:
            raise InvalidOptions("since", since, "a datetime with a time zone, such as datetime.now(UTC) - timedelta(hours=1)")
        return since.timestamp()
    if since not in ("start", "now"):
        _read_cursor(since)
    return None


def _read_cursor(since: object) -> tuple[str, int]:
    match = _CURSOR.fullmatch(since) if isinstance(since, str) else None
    if match is None:
        raise InvalidOptions("since", since, "'start', 'now', the cursor of an event, or a datetime with a time zone")
    return match[1], int(match[2])
