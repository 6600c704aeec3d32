"""How limits are shown."""

from __future__ import annotations

from ..model.limits import ORDER
from ..model.listing import LimitRecord
from ..observability.logging import duration
from .output import plural


def limit_text(record: LimitRecord, now: float) -> str:
    """Say in one line how a limit is used."""
    holds = "one has its turn" if record.name.startswith(f"{ORDER}:") else f"{record.running:,} of its jobs run"
    parts = [holds] if record.running else []
    parts.append(
        f"{plural(record.waiting, 'job')} {'waits' if record.waiting == 1 else 'wait'}" if record.waiting else "nobody waits"
    )
    if record.opens_at is not None:
        parts.append(f"room for the next one in {duration(max(0.0, record.opens_at - now))}")
    return f"{record.name}: {', '.join(parts)}"
