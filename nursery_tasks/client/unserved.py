"""Says why a job that somebody waits for has not begun: no worker runs, none serves its queue, or none knows its task.

A wait for a job whose worker was forgotten looks like a wait for a slow one. So after a few seconds the reason is looked for,
and is logged once, however many wait.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Final

from ..brokers.protocol import Broker, Feature
from ..errors import BrokerError, NotSupported
from ..model.listing import JobRecord, WorkerRecord
from ..model.pauses import PAUSED
from ..model.states import WAITING, JobState

LOOK_SECONDS: Final = 3.0  # how long a wait may last before it is looked into
AGAIN_SECONDS: Final = 30.0  # after which a wait that goes on is looked into again
LOOK_LIMIT: Final = 20  # jobs in one look
REASONS: Final = 100  # that are remembered

_log = logging.getLogger("nursery_tasks.client")


class Unserved:
    """What was said of the jobs that one program waits for. Thread-safe.

    Attributes:
        is_quiet: Set by who says it himself.
    """

    def __init__(self) -> None:
        self.is_quiet = False
        self._said: set[tuple[str, str]] = set()
        self._lock = Lock()

    def look(self, broker: Broker, ids: Sequence[str]) -> None:
        """Look why jobs have not begun, and log what nobody was told yet. A blocking call to the broker."""
        if self.is_quiet:
            return
        for record, kind, name, sentence in why_waiting(broker, ids):
            if self._is_news(kind, name):
                _log.warning("waiting for %s %s: %s", record.task or "a job", record.id, sentence)

    def _is_news(self, kind: str, name: str) -> bool:
        with self._lock:
            is_new = (kind, name) not in self._said and len(self._said) < REASONS
            if is_new:
                self._said.add((kind, name))
        return is_new


def why_waiting(broker: Broker, ids: Sequence[str]) -> list[tuple[JobRecord, str, str, str]]:
    """Return those jobs that wait and cannot begin, each with a kind, a name, and a sentence. A blocking call to the broker."""
    admin = broker.admin
    if admin is None:
        return []
    try:
        records = [record for job_id in ids[:LOOK_LIMIT] if (record := admin.job(job_id)) is not None]
        waiting = [record for record in records if record.state in WAITING]
        workers = admin.list_workers() if waiting else []
    except (BrokerError, NotSupported):  # that it is away is said by who looks the jobs up
        return []
    where, is_shared = _where(broker), Feature.SHARED in broker.features
    found = [(record, reason(record, workers, where, is_shared=is_shared)) for record in waiting]
    return [(record, *why) for record, why in found if why is not None]


def reason(
    record: JobRecord, workers: Iterable[WorkerRecord], where: str, *, is_shared: bool = True
) -> tuple[str, str, str] | None:
    """Say why a job that waits cannot begin: a kind, a name, and a sentence; None: it can, or may not begin yet."""
    live = [worker for worker in workers if worker.jobs]
    is_due = record.state is JobState.READY or record.parked is not None
    if not is_due:
        return None
    if not live:
        step = "start one with `nursery-tasks run module:app`"
        if not is_shared:
            step = "its jobs live inside this program: `async with app.open_worker():`"
        return "worker", "", f"no worker is running for {where}; {step}"
    served = sorted({queue for worker in live for queue in worker.queues if "@" not in queue})
    if not any(record.queue in worker.queues for worker in live):
        return "queue", record.queue, f"no worker for {where} serves the queue {record.queue!r}, only {', '.join(served)}"
    if record.parked is not None and record.parked.startswith(PAUSED):
        return "paused", record.parked, "it is paused; `nursery-tasks paused` says by whom and why, and `resume` lets it go on"
    if record.parked is not None:
        what = f"the workers for {where} know no task of that name"
        return "task", record.parked, f"{what}; does the module that they run declare it, and are they of this version?"
    return None


def _where(broker: Broker) -> str:
    return f"{broker.name} ({broker.place})" if broker.place else broker.name
