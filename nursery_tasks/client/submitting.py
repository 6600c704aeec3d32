"""Submitting: how a job becomes a submission, and what is checked and told around the call to the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from typing import Final

import msgspec

from ..brokers.gateway import Gateway
from ..brokers.needed import limits_of
from ..brokers.protocol import Broker, Feature
from ..errors import NotSupported, NoWorkers, QueueFull
from ..events import EventKind, EventRow, Events, JobEvent
from ..middleware import Make
from ..model.delivery import Receipt, Submission
from ..model.listing import WorkerRecord
from .around import Headers, around
from .ids import new_job_id
from .ports import Unsent
from .room import Answer, Room, answers_of

_QUEUED: Final = EventKind.QUEUED.value
SUBMIT_CHUNK: Final = 2_000  # jobs in one call of enqueue_many: a transaction that others can get in between


class Encoder:
    """Makes submissions of the jobs of a program, and tells its listeners of them; the async and the blocking client have one.

    Attributes:
        require_workers: Whether submitting raises `NoWorkers` when no live worker serves the queue.
        new_id: Makes the id of a job that has none.
        now: The clock of the world.
    """

    def __init__(self, events: Events, *, node: str, limit_bytes: int, require_workers: bool = False) -> None:
        self.require_workers = require_workers
        self.new_id: Callable[[], str] = new_job_id
        self.now: Callable[[], float] = time.time
        self._events = events
        self._node = node
        self._limit_bytes = limit_bytes

    def encode(
        self,
        broker: Broker,
        job: Unsent,
        job_id: str | None = None,
        remaining_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Submission:
        """Make a submission of a job for *broker*; raises as `Job.to_submission` does.

        Raises:
            NotSupported: The job has limits, belongs together with others in time, is delivered at most once, or is for a queue
                with a length, and the broker would store it as any other.
        """
        submission = job.to_submission(job_id or self.new_id(), self.now(), self._limit_bytes, remaining_seconds, headers)
        _check_support(broker, submission)
        if job.options.local:
            return msgspec.structs.replace(submission, queue=f"{submission.queue}@{self._node}")
        return submission

    def encode_template(self, broker: Broker, job: Unsent) -> Submission:
        """Make the job of a schedule; raises as `Job.to_template` does, and `encode`.

        Each run has its moment, and nobody is there who could wait for room. So no queue is too full for it.
        """
        submission = job.to_template(self._limit_bytes)
        _check_support(broker, submission)
        return msgspec.structs.replace(submission, max_length=0)

    def tell_queued(self, submissions: Sequence[Submission], answers: Iterable[Answer]) -> None:
        """Tell the listeners of the jobs that were stored."""
        if not self._events.is_heard:
            return
        now = self.now()
        stored = [
            submission
            for submission, answer in zip(submissions, answers, strict=True)
            if isinstance(answer, Receipt) and answer.created
        ]
        if self._events.log is not None and stored:
            self._events.log.note(_queued_rows(stored, now))
        for submission in stored if self._events.listeners else ():
            self._events.tell_listeners(
                JobEvent(
                    kind=EventKind.QUEUED,
                    job_id=submission.id,
                    task=submission.task,
                    queue=submission.queue,
                    at=now,
                    wait_seconds=submission.delay_seconds or None,
                )
            )


def _queued_rows(submissions: Sequence[Submission], now: float) -> list[EventRow]:
    """Return what the log keeps of new jobs: a row for each run of those that are alike."""
    rows: list[EventRow] = []
    for (task, queue, wait), alike in groupby(submissions, lambda each: (each.task, each.queue, each.delay_seconds)):
        ids = [submission.id for submission in alike]
        rows.append(EventRow(_QUEUED, task, queue, ids, [now] * len(ids), wait_seconds=wait or None))
    return rows


def _check_support(broker: Broker, submission: Submission) -> None:
    if submission.limits:
        limits_of(broker)
    if submission.once and Feature.ONCE not in broker.features:
        raise NotSupported(broker.name, Feature.ONCE, broker.step)
    if submission.window is not None and Feature.WINDOWS not in broker.features:
        raise NotSupported(broker.name, Feature.WINDOWS, broker.step)
    if submission.share is not None and Feature.SHARES not in broker.features:
        raise NotSupported(broker.name, f"fair_by for its queues, which {submission.queue!r} has", broker.step)
    if submission.max_length and Feature.BOUNDS not in broker.features:
        raise NotSupported(broker.name, f"max_length for its queues, which {submission.queue!r} has", broker.step)


class Submitter:
    """Submits jobs through a gateway."""

    def __init__(self, gateway: Gateway, encoder: Encoder, middleware: Sequence[Make] = ()) -> None:
        self.gateway = gateway
        self.middleware = middleware
        self.encoder = encoder
        self._room = Room(self._submit_once)

    def encode(
        self,
        job: Unsent,
        job_id: str | None = None,
        remaining_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Submission:
        """Make a submission of a job. See `Encoder.encode`."""
        return self.encoder.encode(self.gateway.broker, job, job_id, remaining_seconds, headers)

    def around(self, jobs: Sequence[Unsent]) -> AbstractAsyncContextManager[Headers]:
        """Enter the user's middleware around a submission; yields the headers for `encode`."""
        return around(self.middleware, jobs)

    async def submit_jobs(self, jobs: Iterable[Unsent]) -> list[Receipt]:
        """Submit jobs in a few calls to the broker; all are encoded before the first is sent."""
        if self.middleware:
            listed = list(jobs)
            async with self.around(listed) as headers:
                return await self._submit_all([self.encode(job, headers=own) for job, own in zip(listed, headers, strict=True)])
        encode, broker = self.encoder.encode, self.gateway.broker
        return await self._submit_all([encode(broker, job) for job in jobs])

    async def _submit_all(self, submissions: list[Submission]) -> list[Receipt]:
        if len(submissions) <= SUBMIT_CHUNK:
            return await self.submit(submissions)
        receipts: list[Receipt] = []
        for chunk in chunks(submissions):
            receipts += await self.submit(chunk)
        return receipts

    async def submit(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Submit in one call, or in more where queues are full, and tell the listeners of this program."""
        await self._check_served(submissions)
        if any(submission.max_length for submission in submissions):
            return await self._room.submit(submissions)
        receipts = await self.gateway.submit(submissions)
        self.encoder.tell_queued(submissions, receipts)
        return receipts

    async def submit_nowait(self, job: Unsent) -> Receipt:
        """Submit one job; raises `QueueFull` instead of waiting."""
        async with self.around([job]) as [headers]:
            submissions = [self.encode(job, headers=headers)]
            await self._check_served(submissions)
            receipts = await self.gateway.submit(submissions)
            self.encoder.tell_queued(submissions, receipts)
            return receipts[0]

    async def _check_served(self, submissions: Sequence[Submission]) -> None:
        if self.encoder.require_workers:
            workers = await self.gateway.call(self.gateway.admin.list_workers)
            check_served(submissions, workers, self.gateway.broker.name)

    async def _submit_once(self, submissions: Sequence[Submission]) -> Sequence[Answer]:
        answers: Sequence[Answer]
        try:
            answers = await self.gateway.submit(submissions)
        except QueueFull as full:
            answers = answers_of(full)
        self.encoder.tell_queued(submissions, answers)
        return answers


def chunks(submissions: Sequence[Submission]) -> list[Sequence[Submission]]:
    """Divide submissions into those of one call each."""
    return [submissions[begin : begin + SUBMIT_CHUNK] for begin in range(0, len(submissions), SUBMIT_CHUNK)]


def check_served(submissions: Iterable[Submission], workers: Iterable[WorkerRecord], broker: str) -> None:
    """Check that somebody listens to each queue.

    Raises:
        NoWorkers: Nobody does.
    """
    served = {queue for worker in workers for queue in worker.queues}
    for queue in sorted({submission.queue for submission in submissions} - served):
        raise NoWorkers(queue, broker)
