"""Messages that were delivered here and not acknowledged, and how the answers to them are merged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from pamqp import commands

JOB: Final = "nursery-tasks.job"  # the type of a message of ours


@dataclass(eq=False, slots=True)
class Permit:
    """One delivered message: the right to claim one job of a queue. Until it is answered the server keeps the message.

    Attributes:
        queue: The queue, by its name among the jobs.
        tag, generation: The delivery tag, and the opening of the line in which it means something.
        arrived: When, on the clock of `time.monotonic`.
        body, properties: What was sent.
        redelivered: Whether somebody had it before.
        parked: It found no job though there are some, in a queue that is paused for example, and waits here.
    """

    queue: str
    tag: int
    generation: int
    arrived: float
    body: bytes
    properties: commands.Basic.Properties
    redelivered: bool = False
    parked: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it says no more than that there is a job. Else another program has sent it, and it is the job."""
        return self.properties.message_type == JOB


class Shelf:
    """The permits that nobody has used yet, by queue; those of other programs lie apart. Any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queues: dict[str, deque[Permit]] = {}
        self._foreign: list[Permit] = []

    def add(self, permit: Permit) -> None:
        with self._lock:
            if permit.is_ours:
                self._queues.setdefault(permit.queue, deque()).append(permit)
            else:
                self._foreign.append(permit)

    def take_foreign(self) -> list[Permit]:
        """Take what other programs have sent, of all queues."""
        if not self._foreign:
            return []
        with self._lock:
            foreign, self._foreign = self._foreign, []
        return foreign

    def put_back_foreign(self, permits: Sequence[Permit]) -> None:
        """Put messages of other programs back that could not be stored."""
        with self._lock:
            self._foreign[:0] = permits

    def put_back(self, permits: Sequence[Permit], *, park: bool) -> None:
        """Put permits back that were of no use yet."""
        with self._lock:
            for permit in reversed(permits):
                permit.parked = park
                self._queues.setdefault(permit.queue, deque()).appendleft(permit)

    def take(self, queue: str, limit: int) -> list[Permit]:
        with self._lock:
            waiting = self._queues.get(queue)
            if not waiting:
                return []
            return [waiting.popleft() for _ in range(min(limit, len(waiting)))]

    def take_all(self, queue: str) -> list[Permit]:
        with self._lock:
            foreign = [permit for permit in self._foreign if permit.queue == queue]
            self._foreign = [permit for permit in self._foreign if permit.queue != queue]
            return [*self._queues.pop(queue, ()), *foreign]

    def stale(self, fresh_since: float, parked_since: float) -> list[str]:
        """Return the queues whose oldest permit came before a moment; for parked and foreign ones there is another one."""
        with self._lock:
            ours = [
                queue
                for queue, waiting in self._queues.items()
                if waiting and waiting[0].arrived < (parked_since if waiting[0].parked else fresh_since)
            ]
            foreign = [permit.queue for permit in self._foreign if permit.arrived < parked_since]
        return list(dict.fromkeys(ours + foreign))

    def clear(self) -> None:
        with self._lock:
            self._queues.clear()
            self._foreign.clear()


class Tags:
    """The delivery tags of one channel that were not answered, and the answers that wait to be written."""

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  # in the order of the tags
        self._acks: set[int] = set()
        self._nacks: set[int] = set()

    def arrived(self, tag: int) -> None:
        self._open[tag] = None

    def ack(self, tags: Iterable[int]) -> None:
        self._acks.update(tag for tag in tags if tag in self._open)

    def nack(self, tags: Iterable[int]) -> None:
        self._nacks.update(tag for tag in tags if tag in self._open)

    def clear(self) -> None:
        """Forget everything: the channel is gone, and the server delivers all of it again."""
        self._open.clear()
        self._acks.clear()
        self._nacks.clear()

    def frames(self) -> Sequence[Any]:
        """Return the frames that say what has gathered: one for all tags from the oldest on, one for each of the others."""
        nacks = [commands.Basic.Nack(delivery_tag=tag, requeue=True) for tag in sorted(self._nacks)]
        for tag in self._nacks:
            self._close(tag)
        acks, self._acks, self._nacks = self._acks - self._nacks, set(), set()
        upto, merged = 0, 0
        for tag in self._open:
            if tag not in acks:
                break
            upto, merged = tag, merged + 1
        frames: list[Any] = nacks
        if merged:
            frames.append(commands.Basic.Ack(delivery_tag=upto, multiple=merged > 1))
        frames += [commands.Basic.Ack(delivery_tag=tag) for tag in sorted(acks) if tag > upto]
        for tag in acks:
            self._close(tag)
        return frames

    def _close(self, tag: int) -> None:
        self._open.pop(tag, None)
