"""Broadcasts: one job on each live worker, or on each machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar

from anyio import current_time

from ..errors import InvalidOptions, NotSupported, NoWorkers
from ..model.delivery import CancelAnswer
from ..model.duration import Duration, to_optional_seconds
from ..model.listing import WorkerRecord
from ..model.options import inbox_of
from ..model.outcome import Outcome
from .cancelling import CANCEL_WAIT_SECONDS, cancel_jobs
from .handle import JobHandle
from .job import Job, check_job
from .ports import Port, recorder_on

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

Per = Literal["worker", "node"]

EXPIRES_SECONDS: Final = 60.0  # for a worker that has gone meanwhile: its job would wait for ever


class Broadcast(Generic[R_co]):
    """The jobs of one broadcast: what `task.broadcast(...)` returns.

    Attributes:
        jobs: A handle on each job, by the name of its worker, or of its node.
    """

    def __init__(self, port: Port, jobs: Mapping[str, JobHandle[R_co]]) -> None:
        self.jobs = jobs
        self._port = port

    def __repr__(self) -> str:
        return f"<Broadcast to {', '.join(self.jobs)}>"

    async def outcomes(self, timeout: Duration | None = None) -> dict[str, Outcome]:
        """Wait until all have ended, and return how each did, by the name of its worker or node.

        A worker that goes away before it has begun leaves an `expired` job.

        Raises:
            WaitTimedOut: Not all have ended in time; they go on.

        Cancellation:
            Ends the wait; the jobs go on.
        """
        seconds = to_optional_seconds("timeout", timeout)
        deadline = None if seconds is None else current_time() + seconds
        outcomes: dict[str, Outcome] = {}
        for name, handle in self.jobs.items():
            outcomes[name] = await handle.outcome(None if deadline is None else max(0.0, deadline - current_time()))
        return outcomes

    async def results(self, timeout: Duration | None = None) -> dict[str, R_co]:
        """Wait until all have ended, and return their results by the name of the worker or node.

        Raises:
            WaitTimedOut: Not all have ended in time; they go on.
            ExceptionGroup: Of what those ended with that did not succeed, when all have ended.
        """
        await self.outcomes(timeout)
        results: dict[str, R_co] = {}
        errors: list[Exception] = []
        for name, handle in self.jobs.items():
            try:
                results[name] = await handle.result()
            except Exception as error:
                error.add_note(f"on {name}")
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.jobs)} jobs of a broadcast did not succeed", errors)
        return results

    async def cancel(self, reason: str | None = None, *, wait: Duration = CANCEL_WAIT_SECONDS) -> dict[str, CancelAnswer]:
        """Cancel all of them, wherever they are, as `JobHandle.cancel` does one; returns what each came to.

        Cancellation:
            The jobs stay cancelled; the wait for their ends is over.
        """
        seconds = to_optional_seconds("wait", wait) or 0.0
        ids = [handle.id for handle in self.jobs.values()]
        answers = await cancel_jobs(self._port.gateway, self._port.waiter, ids, reason, seconds)
        return {name: answers[handle.id] for name, handle in self.jobs.items()}


async def send_broadcast(port: Port, job: Job[R], per: Per = "worker") -> Broadcast[R]:
    """Submit one job for each live worker that serves the job's queue, or one for each of their nodes. See `App.broadcast`.

    Raises:
        NotSupported: A durable workflow's function calls it, or the broker knows no workers.
        NoWorkers: No worker serves the queue.
        InvalidOptions: As `broadcast_queues` does.
    """
    check_job("app.broadcast()", job)
    gateway = port.gateway
    if recorder_on(port) is not None:
        step = "a task that the workflow calls can broadcast"
        raise NotSupported(gateway.broker.name, "broadcasts in the function of a durable workflow", step)
    workers = await gateway.call(gateway.admin.list_workers)
    queues = broadcast_queues(job, workers, per, gateway.broker.name)
    copies = copies_for(job, queues.values())
    receipts = await port.enqueue(copies)
    handles = [copy.handle_on(receipt) for copy, receipt in zip(copies, receipts, strict=True)]
    return Broadcast(port, dict(zip(queues, handles, strict=True)))


def broadcast_queues(job: Job[Any], workers: Iterable[WorkerRecord], per: Per, broker: str) -> dict[str, str]:
    """Return the queue of each worker, or node, that is to get a copy of *job*, by its name.

    Raises:
        InvalidOptions: *per* is something else, or the job has what would make one of its copies.
        NoWorkers: There is none.
    """
    queue = job.options.queue
    _check_can_be_many(job)
    if per not in ("worker", "node"):
        raise InvalidOptions("per", per, "'worker' or 'node'")
    serving = [worker for worker in workers if queue in worker.queues]
    if per == "node":
        queues = {worker.node: f"{queue}@{worker.node}" for worker in serving}
    else:
        queues = {worker.name: inbox_of(worker.name) for worker in serving if inbox_of(worker.name) in worker.queues}
    if not queues:
        raise NoWorkers(queue, broker)
    return queues


def copies_for(job: Job[R], queues: Iterable[str]) -> list[Job[R]]:
    """Return a copy of *job* for each of these queues. One whose worker never comes to it expires."""
    seconds = job.options.expires_seconds or EXPIRES_SECONDS
    return [job.with_options(queue=queue, expires=seconds) for queue in queues]


def _check_can_be_many(job: Job[Any]) -> None:
    """Check that nothing would make one job of the copies, or keep them from their workers."""
    options = job.options
    for word, given in (
        ("id", options.job_id),
        ("key", options.key),
        ("local", options.local),
        ("debounce", options.debounce),
        ("throttle", options.throttle),
    ):
        if given:
            raise InvalidOptions(word, given, "none in a broadcast, which is a job for each worker")
