"""Queues at the server whose jobs are in a store."""

from __future__ import annotations

from ....errors import BrokerRefused
from ....model.states import HELD, WAITING, JobState
from ...parts import Admin
from ..queues import AmqpQueues
from ..transport import Transport


class StoredQueues(AmqpQueues):
    """The calls of `Queues`: a queue is not deleted without what waits in it in the store."""

    def __init__(self, name: str, transport: Transport, admin: Admin) -> None:
        super().__init__(name, transport)
        self._admin = admin

    def delete_queue(self, queue: str, force: bool) -> bool:
        counts = next((record.counts for record in self._admin.list_queues() if record.name == queue), dict[JobState, int]())
        alive = {state: count for state in (*WAITING, *HELD) if (count := counts.get(state, 0))}
        if alive and not force:
            listed = ", ".join(f"{count:,} {state}" for state, count in sorted(alive.items()))
            step = "wait for them, or --force deletes those that wait; what runs goes on"
            raise BrokerRefused(self._name, f"the queue {queue!r} has jobs: {listed}", step)
        purged = 0
        while force and (count := self._admin.purge(queue, WAITING)):  # first, or workers would look for them without messages
            purged += count
        return super().delete_queue(queue, force) or purged > 0
