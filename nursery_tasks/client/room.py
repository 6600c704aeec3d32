"""Waiting for room in full queues.

The broker refuses what finds no room, and tells nobody when there is some. That would cost each claim a look whether anybody
waits, and wake them for each place that is free: a full queue would be filled job by job, one call for each, by programs that
race for it. Nobody is in a hurry either, as there is work for the workers meanwhile. So whoever waits asks again, after pauses
in which an eighth to a quarter of the queue is worked off. Of a program only one asks for each queue, and the others stand in
line behind, so that jobs go in as their callers came, and a thousand callers cost the broker no more than one.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from anyio import Lock, sleep

from ..current import slot_released
from ..errors import BrokerError, QueueFull
from ..model.delivery import Receipt, Submission

SHORTEST_SECONDS: Final = 0.01
LONGEST_SECONDS: Final = 0.5
PIECE: Final = 2_000  # jobs in one call, at most
SLOW, FAST = 1 / 8, 1 / 4  # what of a queue should be worked off in one pause: then it is neither asked for in vain nor empty

Answer = Receipt | QueueFull
Submit = Callable[[Sequence[Submission]], Awaitable[Sequence[Answer]]]


class Pace:
    """How many jobs to send next to a full queue, and how long to wait before that.

    Args:
        fraction: From where in the range of a pause it is, 0 to 1, so that programs do not ask all at once.
    """

    def __init__(self, fraction: Callable[[], float] = random.random) -> None:
        self._fraction = fraction
        self._seconds = SHORTEST_SECONDS
        self._went_in = 0  # since the last pause
        self.piece = 1

    def note(self, sent: int, went_in: int) -> None:
        """Hear how many of those that were sent went in."""
        self._went_in += went_in
        self.piece = min(PIECE, 2 * self.piece if went_in == sent else max(1, 2 * went_in))

    def next_pause(self, max_length: int) -> float:
        """Return for how long to wait, in seconds: from 0.01 to 0.5, longer where little is worked off meanwhile."""
        if self._went_in < SLOW * max_length:
            self._seconds = min(LONGEST_SECONDS, 2 * self._seconds)
        elif self._went_in > FAST * max_length:
            self._seconds = max(SHORTEST_SECONDS, self._seconds / 2)
        self._went_in = 0
        return max(SHORTEST_SECONDS, self._seconds * (0.5 + 0.5 * self._fraction()))


class _Line:
    """Those who wait for one queue."""

    def __init__(self) -> None:
        self.turn = Lock()
        self.pace = Pace()
        self.waiting = 0


class Room:
    """Submits jobs that may find no room, for the callers of one event loop.

    Args:
        submit: Submits once.
    """

    def __init__(self, submit: Submit) -> None:
        self._submit = submit
        self._lines: dict[str, _Line] = {}  # queue -> those who wait; while anybody does

    def waiting_for(self, queue: str) -> int:
        """Return how many callers wait for room in a queue."""
        line = self._lines.get(queue)
        return 0 if line is None else line.waiting

    async def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        """Submit jobs, and wait until all are in; those of one queue go in in their order. In a handler its slot is given back.

        Cancellation:
            What went in stays, and nothing is half done.
        """
        receipts: dict[int, Receipt] = {}
        left = await self._send(jobs, [n for n, job in enumerate(jobs) if job.queue not in self._lines], receipts)
        left = sorted({*left, *(n for n in range(len(jobs)) if n not in receipts)})
        if left:
            async with slot_released():
                for queue in dict.fromkeys(jobs[n].queue for n in left):
                    await self._stand_in_line(queue, jobs, [n for n in left if jobs[n].queue == queue], receipts)
        return [receipts[n] for n in range(len(jobs))]

    async def _stand_in_line(
        self, queue: str, jobs: Sequence[Submission], places: list[int], receipts: dict[int, Receipt]
    ) -> None:
        line = self._lines.setdefault(queue, _Line())
        line.waiting += 1
        try:
            async with line.turn:
                await self._push(line.pace, jobs, places, receipts)
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[queue]

    async def _push(self, pace: Pace, jobs: Sequence[Submission], places: list[int], receipts: dict[int, Receipt]) -> None:
        while places:
            piece, rest = places[: pace.piece], places[pace.piece :]
            refused = await self._send(jobs, piece, receipts)
            pace.note(len(piece), len(piece) - len(refused))
            places = refused + rest
            if refused:
                await sleep(pace.next_pause(jobs[refused[0]].max_length))

    async def _send(self, jobs: Sequence[Submission], places: list[int], receipts: dict[int, Receipt]) -> list[int]:
        """Submit some of *jobs* once, note the receipts, and return which were refused."""
        if not places:
            return []
        answers = await self._submit([jobs[n] for n in places])
        receipts.update((n, answer) for n, answer in zip(places, answers, strict=True) if isinstance(answer, Receipt))
        return [n for n in places if n not in receipts]


def answers_of(full: QueueFull) -> Sequence[Answer]:
    """Return the answer to each job of a batch of which some were refused.

    Raises:
        BrokerError: Something else is wrong with one of them.
    """
    answers: Sequence[object] = (full,) if full.answers is None else full.answers
    for answer in answers:
        if isinstance(answer, BrokerError) and not isinstance(answer, QueueFull):
            raise answer
    return [answer for answer in answers if isinstance(answer, Receipt | QueueFull)]
