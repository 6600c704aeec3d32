"""Messages that the server has pushed here ahead of the claims."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from .deliveries import DeliveredMessage


class PrefetchBuffer:
    """The messages that nobody has used yet, by queue; those of other programs lie apart. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queues: dict[str, deque[DeliveredMessage]] = {}
        self._foreign: list[DeliveredMessage] = []

    def add(self, message: DeliveredMessage) -> None:
        with self._lock:
            if message.is_ours:
                self._queues.setdefault(message.queue, deque()).append(message)
            else:
                self._foreign.append(message)

    def take_foreign(self) -> list[DeliveredMessage]:
        """Take what other programs have sent, of all queues."""
        if not self._foreign:
            return []
        with self._lock:
            foreign, self._foreign = self._foreign, []
        return foreign

    def put_back_foreign(self, messages: Sequence[DeliveredMessage]) -> None:
        """Put messages of other programs back that could not be stored."""
        with self._lock:
            self._foreign[:0] = messages

    def put_back(self, messages: Sequence[DeliveredMessage], *, park: bool) -> None:
        """Put messages back that were of no use yet."""
        with self._lock:
            for message in reversed(messages):
                message.parked = park
                self._queues.setdefault(message.queue, deque()).appendleft(message)

    def take(self, queue: str, limit: int) -> list[DeliveredMessage]:
        with self._lock:
            waiting = self._queues.get(queue)
            if not waiting:
                return []
            return [waiting.popleft() for _ in range(min(limit, len(waiting)))]

    def take_all(self, queue: str) -> list[DeliveredMessage]:
        with self._lock:
            foreign = [message for message in self._foreign if message.queue == queue]
            self._foreign = [message for message in self._foreign if message.queue != queue]
            return [*self._queues.pop(queue, ()), *foreign]

    def stale(self, fresh_since: float, parked_since: float) -> list[str]:
        """Return the queues whose oldest message came before a moment; for parked and foreign ones there is another one."""
        with self._lock:
            ours = [
                queue
                for queue, waiting in self._queues.items()
                if waiting and waiting[0].arrived < (parked_since if waiting[0].parked else fresh_since)
            ]
            foreign = [message.queue for message in self._foreign if message.arrived < parked_since]
        return list(dict.fromkeys(ours + foreign))

    def drop_lost(self) -> None:
        """Forget what came on a channel that is gone: the server has it again."""
        with self._lock:
            for queue, waiting in self._queues.items():
                self._queues[queue] = deque(message for message in waiting if message.is_here)
            self._foreign = [message for message in self._foreign if message.is_here]
