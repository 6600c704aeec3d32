"""What was delivered here: jobs that are held, and messages that have come too early for that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from threading import Lock

from ....model.delivery import Hint
from ..consuming import Receiver
from ..deliveries import DeliveredMessage
from .envelopes import Envelope, reply_queue_of
from .known_jobs import KnownJobs


@dataclass(eq=False, slots=True)
class InFlightJob:
    """A job that is held here, and its message.

    Attributes:
        crashes: How many crashes its markers say, beside those in the envelope.
        suspect: Whether its start is to be written down.
        marked: Whether it was.
        listeners: The reply queues of those who have asked for its end, and want to hear of it.
    """

    message: DeliveredMessage
    envelope: Envelope
    crashes: int
    suspect: bool = False
    marked: bool = False
    listeners: set[str] = field(default_factory=set[str])


class EarlyMessages:
    """Messages that have come too early: the job of that id is still held here. Any thread.

    The next attempt of a retry may be here before the server has confirmed that it has it, and two programs may send jobs of
    one id. Such a message is neither done with nor to be started: it waits here until nobody holds that id.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[tuple[str, DeliveredMessage]] = []  # (id of its job, message), in the order in which they came

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, early: Iterable[tuple[str, DeliveredMessage]]) -> None:
        with self._lock:
            self._waiting += early

    def take(self, queues: Collection[str], limit: int, is_held: Callable[[str], bool]) -> list[DeliveredMessage]:
        """Take up to *limit* messages of these queues, one of each id, whose time has come."""
        taken: dict[str, DeliveredMessage] = {}
        with self._lock:
            left: list[tuple[str, DeliveredMessage]] = []
            for job_id, message in self._waiting:
                if len(taken) < limit and message.queue in queues and job_id not in taken and not is_held(job_id):
                    taken[job_id] = message
                else:
                    left.append((job_id, message))
            self._waiting = left
        return list(taken.values())

    def take_all(self, queues: Collection[str]) -> list[DeliveredMessage]:
        """Take all messages of these queues."""
        return self._part(lambda message: message.queue in queues)

    def drop_lost(self) -> None:
        """Forget what came on a channel that is gone: the server has it again."""
        self._part(lambda message: not message.is_here)

    def queues(self) -> list[str]:
        with self._lock:
            return list(dict.fromkeys(message.queue for _, message in self._waiting))

    def _part(self, goes: Callable[[DeliveredMessage], bool]) -> list[DeliveredMessage]:
        with self._lock:
            gone = [message for _, message in self._waiting if goes(message)]
            self._waiting = [each for each in self._waiting if not goes(each[1])]
        return gone


class InFlightJobs:
    """The jobs that are held here, by token. Any thread.

    Args:
        receiver: Where their messages came, and knows when the server has some again.
    """

    def __init__(self, jobs: KnownJobs, receiver: Receiver) -> None:
        self.early = EarlyMessages()
        self._jobs, self._receiver = jobs, receiver
        self._lock = Lock()
        self._held: dict[bytes, InFlightJob] = {}
        self._losses = 0  # how many of the receiver's were looked at
        self._marked_in_vain: list[str] = []  # jobs that were lost while their starts were written down

    def __len__(self) -> int:
        return len(self._held)

    def get(self, token: bytes) -> InFlightJob | None:
        return self._held.get(token)

    def all(self) -> list[InFlightJob]:
        with self._lock:
            return list(self._held.values())

    def add(self, token: bytes, job: InFlightJob) -> None:
        with self._lock:
            if not job.message.is_here:
                self._losses = -1  # it was lost meanwhile: the next look finds it
            self._held[token] = job

    def remove(self, tokens: Iterable[bytes]) -> None:
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)

    def drop_lost(self) -> None:
        """Let go of what the server delivers again: the channel on which it came is gone."""
        losses = self._receiver.losses
        if losses == self._losses:
            return
        with self._lock:
            self._losses = losses
            lost = {token: job for token, job in self._held.items() if not job.message.is_here}
            for token, job in lost.items():
                del self._held[token]
                if job.marked:
                    self._marked_in_vain.append(job.envelope.id)
        self.early.drop_lost()
        if lost:
            ids = self._jobs.lose(lost)
            self._jobs.tell(Hint("cancel", tuple(ids)))  # so that the worker asks, and hears that they are lost

    def take_marked_in_vain(self) -> list[str]:
        """Take the jobs whose crash markers are to be taken back."""
        with self._lock:
            ids, self._marked_in_vain = self._marked_in_vain, []
        return ids

    def put_back_marked_in_vain(self, ids: list[str]) -> None:
        """Keep them for the next try."""
        with self._lock:
            self._marked_in_vain += ids

    def awaited_by(self) -> set[str]:
        """Return the reply queues of those who await what is held here."""
        queues = {reply_queue_of(job.message) for job in self.all() if job.envelope.owned}
        return {queue for queue in queues if queue is not None}
