"""Claims: from the ready jobs of some queues to deliveries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from functools import partial

from ...model.delivery import Delivery
from ...model.limits import Limit, no_room
from ...model.states import JobState
from ..common.hints import Hints
from .job import Job
from .moves import Moves
from .order import JobOrder


class Claims:
    """The claims of workers.

    Args:
        new_token: Makes the token of a delivery, which nobody can guess.
    """

    def __init__(self, order: JobOrder, moves: Moves, new_token: Callable[[], bytes]) -> None:
        self.order, self.moves, self.table = order, moves, moves.table
        self._new_token = new_token

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, until: float, names: Collection[str], now: float, hints: Hints
    ) -> list[Delivery]:
        """Lease up to *limit* jobs until a moment. See `Broker.claim`."""
        gates = self.order.gates
        gates.open_due(now)
        gates.opened.difference_update(queues)  # of others, no sweep will find them closed any more
        deliveries: list[Delivery] = []
        refuse = partial(self.refuse, now=now, hints=hints)
        for queue in queues:
            if queue in self.order.paused:
                continue
            with self._unparked(queue, names if len(deliveries) < limit else ()):
                for job in self.order.take_ready(queue, limit - len(deliveries), now, refuse):
                    job.due_at = min(job.due_at, now)  # one that was parked need not wait any more
                    self.moves.lease(job, self._new_token(), worker, until)
                    self.order.shares.reach(job)
                    deliveries.append(job.to_delivery(now))
                    job.parked = None
        gates.tell_opened(hints)
        return deliveries

    def is_parked(self, queues: Sequence[str], names: Collection[str]) -> bool:
        return any(self.order.parked_under(queue, names) for queue in queues)

    def refuse(self, job: Job, limit: Limit, now: float, hints: Hints) -> None:
        """End a ready job that a limit has no room for."""
        self.moves.cancel(job.submitted.id, no_room(limit.name), now, hints)

    @contextmanager
    def _unparked(self, queue: str, names: Collection[str]) -> Generator[None, None, None]:
        """Let those who are parked under *names* stand among the ready ones meanwhile."""
        parked = self.order.parked_under(queue, names)
        names_of = [job.parked for job in parked]
        for job in parked:
            self.table.lift(job)
            job.parked = None  # what is claimed now is claimed by somebody who knows it
        yield
        for job, name in zip(parked, names_of, strict=True):
            if job.state is JobState.READY:
                job.parked = name
                self.table.put_back(job)
