"""The log of events, as a broker keeps it: batches of bytes, in the order in which they came.

Events are numbered from 1 without a gap. A batch is what one process has gathered for a moment; a broker never looks into it,
so it costs one row however many events are in it.
"""

from __future__ import annotations

from typing import Final

import msgspec

WRITER_SECONDS: Final = 86_400.0  # how long a process that has gone quiet is remembered
TRIMMED_AT_ONCE: Final = 20  # batches that go in one call: more than come


class EventBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Some events of one process.

    Attributes:
        writer: Which process; an id that it has given itself.
        sequence: The number of the first event among those of the process, from 1.
        count: How many there are, at least 1.
        body: The events themselves.
        number: The place of the first one in the log; the log gives it.
        at: When it was appended, on the broker's clock, in epoch seconds; likewise.
    """

    writer: str
    sequence: int
    count: int
    body: bytes
    number: int = 0
    at: float = 0.0


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a look into the log shows.

    Attributes:
        log: The id of the log: another one after it was lost with all that was in it. Empty: there is none yet.
        first: The number of the oldest event that is kept; last + 1: none is.
        last: The number of the newest event; 0: there was none yet.
        batches: The oldest first.
    """

    log: str
    first: int
    last: int
    batches: list[EventBatch] = []
