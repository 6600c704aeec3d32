"""Cancels and owners, where a job may be held by any process, or be in a message somewhere.

Everybody is told, remembers it for when the message is delivered there, and each worker answers which of the jobs it holds. A
job of ours that nobody holds will not start any more, so it is cancelled at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....model.delivery import CancelAnswer
from ....model.reasons import OWNER_GONE
from .cancel_log import CancelLog
from .control_messages import CancelJobs, Holds, to_all, to_one
from .envelopes import reply_queue_of
from .in_flight import InFlightJobs
from .known_jobs import KnownJobs
from .peers import Peers
from .transport import StorelessTransport, now

ASK_MOST = 1_000  # jobs in one message


class Cancelling:
    """What ends jobs before their time."""

    def __init__(
        self, transport: StorelessTransport, jobs: KnownJobs, in_flight: InFlightJobs, log: CancelLog, peers: Peers
    ) -> None:
        self._transport, self._jobs, self._in_flight = transport, jobs, in_flight
        self._log, self._peers = log, peers

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None) -> list[CancelAnswer]:
        """Cancel jobs. See `Broker.cancel`."""
        if owner is None:
            asked = [job_id for job_id in dict.fromkeys(ids) if not self._has_ended(job_id)]
        else:
            asked = self._jobs.away(dict.fromkeys(ids), owner)
        held = self.ask(asked, reason or None)
        answers = self._jobs.cancel(ids, reason, owner)
        # What another process holds was told, though its outcome may have come by now.
        return [CancelAnswer.REQUESTED if job_id in held else answer for job_id, answer in zip(ids, answers, strict=True)]

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        """Prolong owners' leases. See `Broker.renew_owners`."""
        if lease_seconds <= 0:
            self.ask(self._jobs.away_of(owners), OWNER_GONE)
        return self._jobs.renew_owners(owners, lease_seconds)

    def ask(self, ids: Sequence[str], reason: str | None) -> set[str]:
        """Tell everybody that jobs are not wanted any more; return which of them other processes hold.

        Raises:
            BrokerUnavailable: It could not be told; nothing has changed here.
        """
        held: set[str] = set()
        for begin in range(0, len(ids), ASK_MOST):
            said_at = now()
            cancels = [(job_id, reason, said_at) for job_id in ids[begin : begin + ASK_MOST]]
            question = self._peers.ask(self._transport.count_workers())
            told = False
            try:
                message = CancelJobs(self._transport.reply_queue, question.number, cancels)
                self._transport.publish([to_all(message, self._transport.layout.control)])
                told = True
            finally:
                held |= self._peers.close(question, wait=told)
            self._log.add([cancel for cancel in cancels if self._jobs.knows(cancel[0])], ours=True)
        self._jobs.note_elsewhere(held)
        return held

    def on_cancels(self, message: CancelJobs, *, answers: bool) -> None:
        """Hear of another process's cancels, in the portal's thread.

        Args:
            answers: Whether this process is among those who are asked what they hold.
        """
        self._log.add(message.jobs, ours=False)
        here = {job.envelope.id: job for job in self._in_flight.all()}
        held = [job_id for job_id, _, _ in message.jobs if job_id in here]
        if message.number and answers:  # first: whoever asks has to know of a job before it hears of its end
            answer = Holds(self._transport.reply_queue, message.number, held)
            self._transport.post([to_one(answer, message.reply_queue)])
        for job_id, reason, _ in message.jobs:
            if job_id in here:
                here[job_id].listeners.add(message.reply_queue)
                self._jobs.cancel([job_id], reason)

    def on_owner_gone(self, reply_queue: str) -> None:
        """Cancel what is held here for somebody who does not read its reply queue any more."""
        awaited = [job for job in self._in_flight.all() if job.envelope.owned and reply_queue_of(job.message) == reply_queue]
        self._jobs.cancel([job.envelope.id for job in awaited], OWNER_GONE)

    def _has_ended(self, job_id: str) -> bool:
        [stored] = self._jobs.outcomes([job_id])
        return stored is not None and stored.state.ended
