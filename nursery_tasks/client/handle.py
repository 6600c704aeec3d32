"""A handle on a job that was sent, here or anywhere else."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, TypeVar

from anyio import move_on_after

from ..current import slot_released
from ..errors import UnknownJob, WaitTimedOut
from ..model.delivery import CancelAnswer, Stored
from ..model.duration import Duration, to_optional_seconds
from ..model.outcome import Outcome
from ..model.states import JobState
from .cancelling import CANCEL_WAIT_SECONDS, cancel_jobs
from .info import update_of
from .ports import Connected
from .results import open_outcome, result_of
from .waiting import count_workers
from .watching import JobWatch

R_co = TypeVar("R_co", covariant=True)


class JobHandle(Generic[R_co]):
    """One job, by its id. `await handle` gives its result.

    Handles are cheap and hold nothing open; `app.handle(id)` makes one from an id in any process. Giving up a wait changes
    nothing for the job: it was let go when it was enqueued.
    """

    __slots__ = ("_app", "created", "id", "returns", "task")

    def __init__(self, app: Connected, job_id: str, task: str, returns: Any = Any, created: bool = True) -> None:
        self._app = app
        self.id = job_id
        self.task = task
        self.returns = returns
        self.created = created  # False: an equal job was there already, and this is a handle on that one

    def __repr__(self) -> str:
        return f"<JobHandle {self.task} {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self.result().__await__()

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the job has ended, and return its result.

        Args:
            timeout: Seconds (or a timedelta) to wait at most; None: for ever.

        Raises:
            WaitTimedOut: It has not ended in time (a `TimeoutError`); the job goes on.
            UnknownJob: The broker does not know it (any more).
            Exception: The job's own error, or `RemoteError` where its class is not registered here.
            JobTimedOut, JobCancelled, JobExpired, JobDead: It ended like that.
        """
        stored = await self.wait_stored(to_optional_seconds("timeout", timeout))
        result: R_co = result_of(stored, self.id, self.task, self.returns, self._app.registry)
        return result

    async def outcome(self, timeout: Duration | None = None) -> Outcome:
        """Wait until the job has ended, and return how, whatever it was. Raises as `result` does, but not the job's error."""
        outcome = open_outcome(await self.wait_stored(to_optional_seconds("timeout", timeout)))
        assert outcome is not None
        return outcome

    async def status(self) -> JobState:
        """Return the job's state now.

        Raises:
            UnknownJob: The broker does not know it (any more).
        """
        return (await self._look()).state

    async def ready(self) -> bool:
        """Say whether the job has ended, in whatever way."""
        return (await self._look()).state.ended

    async def succeeded(self) -> bool:
        """Say whether the job has ended well."""
        return (await self._look()).state is JobState.SUCCEEDED

    async def failed(self) -> bool:
        """Say whether the job has ended in any other way than well."""
        state = (await self._look()).state
        return state.ended and state is not JobState.SUCCEEDED

    async def progress(self) -> Any:
        """Return what the handler last said of its progress; None when it said nothing."""
        gateway = self._app.connection.gateway
        record = await gateway.call(gateway.admin.job, self.id)
        if record is None:
            raise UnknownJob(self.id)
        return update_of(record).progress

    def watch(self) -> JobWatch:
        """Follow the job: its state and its progress, as they change, until it has ended.

            async for update in handle.watch():
                print(update.state, update.progress)

        The first step gives how it is now, each further one waits for something new, which is pushed; the last one gives its
        end. Between two steps only the latest counts: a state, or a progress, that was there for a moment may be skipped.
        Leaving the loop early leaves nothing behind.

        Raises:
            UnknownJob: At a step: the broker does not know it (any more).
        """
        return JobWatch(lambda: self._app.connection.watchers, self.id)

    async def cancel(self, reason: str | None = None, *, wait: Duration = CANCEL_WAIT_SECONDS) -> CancelAnswer:
        """Cancel the job. One that has not started never will; one that runs is told, and leaves at its next `await`.

        Args:
            reason: Told to the handler's worker, and kept in the outcome.
            wait: How long to wait for a running job to end, in seconds or as a timedelta.

        Returns:
            `cancelled`: it will never run, or it ran and has ended cancelled. `finished`: it had ended or ended by itself
            first. `unresponsive`: its handler does not end, and has cost its worker a slot. `requested`: it still runs after
            *wait*; it stays marked. `unknown`: there is no such job.

            Where a worker has the job and has not said that it runs, the wait goes on until that is clear, at most until the
            worker's lease is over: a job that had not started before never starts after this has returned.
        """
        wait_seconds = to_optional_seconds("wait", wait) or 0.0
        connection = self._app.connection
        answers = await cancel_jobs(connection.gateway, connection.waiter, [self.id], reason, wait_seconds)
        return answers[self.id]

    async def _look(self) -> Stored:
        gateway = self._app.connection.gateway
        [stored] = await gateway.outcomes([self.id])
        if stored is None:
            raise UnknownJob(self.id, gateway.broker.step)
        return stored

    async def wait_stored(self, timeout_seconds: float | None) -> Stored:
        """Wait until the job has ended, and return what is stored of it."""
        connection = self._app.connection
        async with slot_released():
            with connection.waiter.expecting(self.id, look=True) as ticket, move_on_after(timeout_seconds) as scope:
                return await ticket.wait()
        assert scope.cancelled_caught
        stored = await self._look()
        if stored.state.ended:  # in the last moment, or before a wait of 0 s
            return stored
        workers, broker = await count_workers(connection.gateway), connection.gateway.broker.name
        raise WaitTimedOut(self.id, self.task, timeout_seconds or 0.0, stored.state, workers, broker)
