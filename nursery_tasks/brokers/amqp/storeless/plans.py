"""What a batch of settlements, or a claim, has to tell the server, and in which order.

Always in this order: what is to be known elsewhere is published and confirmed; then this process's own jobs change; then the
message is acknowledged. So a crash in between makes a second run, and never a lost job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ....errors import BrokerError
from ....model.states import JobState
from ..deliveries import DeliveredMessage
from ..publishing import OutgoingMessage
from .control_messages import Ended, to_one
from .delay_levels import LONGEST_SECONDS
from .envelopes import Envelope, reply_queue_of, to_dead_letter, to_message
from .in_flight import InFlightJob
from .transport import StorelessTransport

Copy = tuple[DeliveredMessage, Envelope, float]  # what it is a copy of, the job as it goes on, seconds until it is due

_log = logging.getLogger("nursery_tasks.brokers.amqp")


@dataclass(slots=True)
class Plan:
    """What there is to do.

    Attributes:
        starts: Jobs whose start is to be written down.
        copies: Messages of the next attempt.
        outcomes, answers: For processes that wait, and for other programs.
        dead_letters: What has failed for good, by queue.
        acks, done, backs: Messages that are done with, jobs that are, and those that the server may deliver again.
    """

    starts: list[InFlightJob] = field(default_factory=list[InFlightJob])
    copies: list[Copy] = field(default_factory=list[Copy])
    outcomes: list[OutgoingMessage] = field(default_factory=list[OutgoingMessage])
    answers: list[OutgoingMessage] = field(default_factory=list[OutgoingMessage])
    dead_letters: dict[str, list[OutgoingMessage]] = field(default_factory=dict[str, list[OutgoingMessage]])
    acks: list[DeliveredMessage] = field(default_factory=list[DeliveredMessage])
    done: list[InFlightJob] = field(default_factory=list[InFlightJob])
    backs: list[InFlightJob] = field(default_factory=list[InFlightJob])


class Plans:
    """Makes entries in plans, and does what they say."""

    def __init__(self, transport: StorelessTransport) -> None:
        self._transport = transport

    def end(self, plan: Plan, job: InFlightJob, state: JobState, outcome: bytes) -> None:
        """Plan the end of a job."""
        message, envelope = job.message, job.envelope
        ended = Ended(envelope.id, state, outcome)
        listening = {reply_queue_of(message), *job.listeners} - {None, self._transport.reply_queue}
        plan.outcomes += [to_one(ended, queue) for queue in listening if queue is not None]
        if state in (JobState.FAILED, JobState.DEAD):
            self.put_aside(plan, message, envelope.id, state, outcome)
        plan.done.append(job)

    def put_aside(
        self, plan: Plan, message: DeliveredMessage, job_id: str, state: str, outcome: bytes = b"", reason: str = ""
    ) -> None:
        """Plan a dead letter."""
        to = self._transport.layout.dead_letters(message.queue).name
        plan.dead_letters.setdefault(message.queue, []).append(to_dead_letter(message, to, job_id, state, outcome, reason))

    def send(self, plan: Plan) -> dict[str, BrokerError]:
        """Publish what a plan says; return which queues take no copies, and why. On return the server has all the rest.

        A dead letter that no queue takes is logged: the job's outcome does not wait for that.

        Raises:
            BrokerUnavailable: Unknown how much it has; nothing was acknowledged.
        """
        if plan.starts:
            self._transport.mark_starts([job.envelope.id for job in plan.starts])
            for job in plan.starts:
                job.marked = True
        refused = self.send_jobs([(envelope, reply_queue_of(message), seconds) for message, envelope, seconds in plan.copies])
        if plan.answers:
            self._transport.answer(plan.answers)
        if plan.dead_letters:
            self._send_dead_letters(plan)
        if plan.outcomes:
            self._transport.publish(plan.outcomes)
        return refused

    def send_jobs(self, mail: Sequence[tuple[Envelope, str | None, float]]) -> dict[str, BrokerError]:
        """Publish jobs to their queues: (job, the reply queue for its outcome, seconds until it is due).

        Returns which queues do not take theirs, and why; unknown how many of those they have.
        """
        at_once: dict[str, list[OutgoingMessage]] = {}
        late: dict[str, list[tuple[OutgoingMessage, float]]] = {}
        for envelope, reply_queue, seconds in mail:
            topology = self._transport.layout.topology(envelope.queue)
            later = max(0.0, seconds - LONGEST_SECONDS)
            if envelope.later != later:
                envelope = msgspec.structs.replace(envelope, later=later)
            message = to_message(envelope, reply_queue, topology.exchange, topology.key)
            if seconds > 0:
                late.setdefault(envelope.queue, []).append((message, seconds))
            else:
                at_once.setdefault(envelope.queue, []).append(message)
        refused: dict[str, BrokerError] = {}
        of = self._transport.layout.topology
        if at_once:
            refused = self._transport.send_each([(of(queue), messages) for queue, messages in at_once.items()])
        for queue, timed in late.items():
            try:
                self._transport.delay(of(queue), timed)
            except BrokerError as error:
                if not error.refused:
                    raise
                refused[queue] = error
        return refused

    def answer_server(self, plan: Plan) -> None:
        """Acknowledge, or give back; and forget markers, where a failure does no harm: the next look only takes longer."""
        receiver = self._transport.receiver
        taken_back = [job.envelope.id for job in plan.backs if job.marked]
        cleared = [job.envelope.id for job in plan.done if job.marked or job.crashes]
        try:
            if taken_back:
                self._transport.take_markers(taken_back)
        finally:
            if plan.acks or plan.done:  # each of these wakes another thread
                receiver.ack([*plan.acks, *(job.message for job in plan.done)])
            if plan.backs:
                self.give_back([job.message for job in plan.backs])
        if plan.backs:
            self._transport.flush_acks()  # on return others can have them
        if cleared:
            self._transport.clear_markers(cleared)

    def give_back(self, messages: list[DeliveredMessage]) -> None:
        """Have the server deliver messages again, which is nobody's fault."""
        self._transport.redeliveries.note_given_back(messages)
        self._transport.receiver.give_back(messages)

    def _send_dead_letters(self, plan: Plan) -> None:
        of = self._transport.layout.dead_letters
        lost = self._transport.send_each([(of(queue), messages) for queue, messages in plan.dead_letters.items()])
        for queue, error in lost.items():
            ids = ", ".join(message.message_id for message in plan.dead_letters[queue.removeprefix("dead.")])
            _log.error("cannot put aside what has failed for good (%s): %s", ids, error)
