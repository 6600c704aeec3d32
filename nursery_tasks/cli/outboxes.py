"""What waits to be sent to channels, as the commands show it."""

from __future__ import annotations

from typing import Final

from .. import App
from ..model.outgoing import OutboxRecord
from ..observability.logging import duration
from .broker import ask
from .findings import RUN, Finding, Level, is_gone
from .output import plural

_SHOWN: Final = 50
_STUCK_SECONDS: Final = 60.0  # a message that has waited longer is worth a word
_MANY: Final = 10_000


async def list_outboxes(app: App) -> list[OutboxRecord]:
    """Return what waits, for the first destinations."""
    outbox = app.connection.gateway.broker.outbox
    return [] if outbox is None else await ask(app, outbox.list_outboxes, _SHOWN)


def outbox_text(record: OutboxRecord) -> str:
    """Say in one line what waits for a destination."""
    return f"{plural(record.count, 'message')} to send, the oldest waits for {duration(record.age_seconds)}"


async def look_at_outboxes(app: App) -> list[Finding]:
    """Find messages that do not leave, or not fast enough; nothing where none waits."""
    records = await list_outboxes(app)
    if not records:
        return []
    has_workers = any(worker.jobs and not is_gone(worker) for worker in await app.workers())
    return [_look_at(app, record, has_workers) for record in records]


def _look_at(app: App, record: OutboxRecord, has_workers: bool) -> Finding:
    what, text = f"outbox {record.destination}", outbox_text(record)
    if record.age_seconds < _STUCK_SECONDS and record.count < _MANY:
        return Finding(Level.OK, what, text)
    channel, colon, _ = record.destination.partition(":")
    if not has_workers:
        step = RUN
    elif colon and channel not in app.channels:
        step = f"its workers need App(..., channels={{{channel!r}: URL}}); --app module:app looks whether it answers"
    else:
        step = "is it away, or slower than what is sent to it? the workers' logs say what holds them up"
    return Finding(Level.WARNING, what, text, step)
