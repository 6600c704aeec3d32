"""Taking back what a durable workflow has done, when it does not succeed.

What is to be undone is handed to a job of its own, detached and durable, before the first undo runs: so it goes on when the
worker dies in the middle of it, and also when the workflow was cancelled and is over by then. Its id follows from the
workflow's, so a workflow that is run again finds that it has failed already, and does nothing else any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from anyio import move_on_after

from ..client import Job, JobHandle
from ..client.job import Connected
from ..client.results import open_outcome
from ..errors import JobCancelled
from ..model.codec import sniff
from ..model.failure import Failure, describe_safely, rebuild_error
from ..model.options import GivenOptions, JobOptions
from ..model.retry import RetryRule
from ..model.states import JobState
from .found import until_answered
from .recording import Recording, hash_of

UNDO_TASK: Final = "nursery_tasks.undo"
UNDO_SECONDS: Final = 60.0  # the budget, for all that is to be undone
STORE_SECONDS: Final = 10.0  # for handing it over, whatever is cancelled meanwhile
TOLD_WAIT_SECONDS: Final = 8.0  # how long a cancelled workflow waits for it, as a cancelled caller does for what it awaits

_log = logging.getLogger("nursery_tasks.workflows")


class Undo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task that takes something back, with its arguments; the rest only where it was changed."""

    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    queue: str | None = None
    timeout: float | None = None
    retry: RetryRule | None = None

    def to_job(self, app: Connected) -> Job[Any]:
        """Return the unsent job."""
        spec = app.registry.tasks.get(self.task)
        given: dict[str, Any] = {"queue": self.queue, "timeout": self.timeout, "retry": self.retry}
        options = spec.options if spec else JobOptions()
        changed: GivenOptions = {name: value for name, value in given.items() if value is not None}  # type: ignore[assignment]
        return Job(app, self.task, self.args, self.kwargs, options.changed_by(changed))


def to_undo(job: Job[Any]) -> Undo:
    """Describe a job."""
    options, changed = job.options, job.options.changed
    return Undo(
        task=job.task,
        args=list(job.args),
        kwargs=dict(job.kwargs),
        queue=options.queue if "queue" in changed else None,
        timeout=options.timeout_seconds if "timeout_seconds" in changed else None,
        retry=options.retry if "retry" in changed else None,
    )


def make_undo(app: Connected) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the function of `UNDO_TASK`."""

    async def undo_all(undos: list[Undo], cause: Failure) -> list[str]:
        """Run *undos* one after the other; returns what was wrong with those that failed, after their retries."""
        problems: list[str] = []
        for each in undos:
            try:
                await each.to_job(app).run()
            except Exception as error:  # the others are to be undone all the same
                problems.append(f"{each.task}: {type(error).__name__}: {error}")
        return problems

    return undo_all


class Begun:
    """An undoing that has begun."""

    def __init__(self, recording: Recording, undo_id: str) -> None:
        self._recording = recording
        self._handle = JobHandle[list[str]](recording.connection.app, undo_id, UNDO_TASK, list[str])

    async def wait(self) -> str:
        """Wait until it has ended; returns a sentence about it."""
        stored = await self._handle.wait_stored(None)
        outcome = open_outcome(stored)
        assert outcome is not None
        assert stored.outcome is not None
        if outcome.state is not JobState.SUCCEEDED:
            return f"it was not undone, see `nursery-tasks tree {self._handle.id}`: {outcome.reason or outcome.state}"
        problems: list[str] = self._recording.codec.decode_value(outcome.value, sniff(stored.outcome), list[str])
        return f"not all was undone: {'; '.join(problems)}" if problems else "what it had done was undone"

    async def finish(self) -> BaseException:
        """Wait until it has ended, and return what the workflow had failed with."""
        note = await self.wait()
        gateway = self._recording.connection.gateway
        record = await until_answered(lambda: gateway.call(gateway.admin.job, self._handle.id))
        assert record is not None
        message = self._recording.codec.decode_message(record.payload)
        cause = rebuild_error(msgspec.convert(message.args[1], Failure), self._recording.connection.app.registry.errors)
        cause.add_note(note)
        return cause


async def find_undo(recording: Recording) -> Begun | None:
    """Return the undoing that an earlier run of the workflow has begun."""
    undo_id = _id_of(recording)
    [stored] = await until_answered(lambda: recording.connection.gateway.outcomes([undo_id]))
    return None if stored is None else Begun(recording, undo_id)


async def undo(recording: Recording, error: BaseException, undo_seconds: float) -> None:
    """Take back what *recording* says, the last first, and tell *error* how that went.

    Cancellation:
        What is to be undone has been handed over, and goes on without us.
    """
    if not recording.undos:
        return
    is_told = recording.leaving == "told"
    with move_on_after(STORE_SECONDS, shield=True):
        await _hand_over(recording, error, undo_seconds, is_told)
    begun = Begun(recording, _id_of(recording))
    if not is_told:
        error.add_note(await begun.wait())
        return
    with move_on_after(TOLD_WAIT_SECONDS, shield=True):
        _log.info("workflow %s has ended: %s", recording.job.id, await begun.wait(), extra={"job_id": recording.job.id})
        return
    text = "workflow %s ends while what it has done is still being undone, by job %s"
    _log.warning(text, recording.job.id, _id_of(recording), extra={"job_id": recording.job.id})


async def _hand_over(recording: Recording, error: BaseException, undo_seconds: float, is_told: bool) -> None:
    job, app = recording.job, recording.connection.app
    reason = job.hold.cancel_reason if job.hold is not None else None
    cause = JobCancelled(job.id, job.task, reason) if is_told else error
    arguments = ([to_undo(each) for each in reversed(recording.undos)], describe_safely(cause, recording.codec.plain))
    options = app.registry.own[UNDO_TASK].options.changed_by({"id": _id_of(recording), "timeout": undo_seconds})
    if job.queue is not None:
        options = options.changed_by({"queue": job.queue})
    undoing = Job[Any](app, UNDO_TASK, arguments, {}, options)
    await until_answered(lambda: recording.connection.enqueue(undoing))


def _id_of(recording: Recording) -> str:
    return hash_of(recording.job.id, "undo", "", b"", 0)
