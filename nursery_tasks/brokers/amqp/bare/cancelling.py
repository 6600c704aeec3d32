"""Cancels and owners, where a job may be held by any process, or be in a message somewhere.

Everybody is told, remembers it for when the message is delivered there, and each worker answers which of the jobs it holds. A
job of ours that nobody holds will not start any more, so it is cancelled at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....model.delivery import CancelAnswer
from ....model.reasons import OWNER_GONE
from .core import BareCore
from .parcels import box_of
from .transport import now
from .words import Cancels, Holds, to_all, to_one

ASK_MOST = 1_000  # jobs in one message


class Cancelling(BareCore):
    """What ends jobs before their time."""

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        self._transport.check_usable()
        if owner is None:
            asked = [job_id for job_id in dict.fromkeys(ids) if not self._has_ended(job_id)]
        else:
            asked = self._ledger.away(dict.fromkeys(ids), owner)
        held = self._ask(asked, reason or None)
        answers = self._ledger.cancel(ids, reason, owner)
        # What another process holds was told, though its outcome may have come by now.
        return [CancelAnswer.REQUESTED if job_id in held else answer for job_id, answer in zip(ids, answers, strict=True)]

    def hold(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        self._transport.check_usable()
        if lease_seconds <= 0:
            self._ask(self._ledger.away_of(owners), OWNER_GONE)
        return self._ledger.hold(owners, lease_seconds)

    def _has_ended(self, job_id: str) -> bool:
        [stored] = self._ledger.outcomes([job_id])
        return stored is not None and stored.state.ended

    def _ask(self, ids: Sequence[str], reason: str | None) -> set[str]:
        """Tell everybody that jobs are not wanted any more; return which of them other processes hold.

        Raises:
            BrokerUnavailable: It could not be told; nothing has changed here.
        """
        held: set[str] = set()
        for begin in range(0, len(ids), ASK_MOST):
            said_at = now()
            jobs = [(job_id, reason, said_at) for job_id in ids[begin : begin + ASK_MOST]]
            question = self._roster.ask()
            told = False
            try:
                word = Cancels(self._transport.box, question.number, jobs)
                self._transport.publish([to_all(word, self._places.control)])
                told = True
            finally:
                held |= self._roster.close(question, wait=told)
            self._marks.add([mark for mark in jobs if self._ledger.knows(mark[0])], ours=True)
        self._ledger.elsewhere.update(job_id for job_id in held if self._ledger.knows(job_id))
        return held

    def _on_cancels(self, word: Cancels) -> None:
        self._marks.add(word.jobs, ours=False)
        with self._lock:
            here = {holding.parcel.id for holding in self._held.values()}
        held: list[str] = []
        for job_id, reason, _ in word.jobs:
            if job_id in here:
                self._ledger.cancel([job_id], reason)
                held.append(job_id)
        if word.number and self._works:
            self._transport.post([to_one(Holds(self._transport.box, word.number, held), word.box)])

    def _on_owner_gone(self, box: str) -> None:
        with self._lock:
            held = list(self._held.values())
        self._ledger.cancel([each.parcel.id for each in held if each.parcel.owned and box_of(each.permit) == box], OWNER_GONE)
