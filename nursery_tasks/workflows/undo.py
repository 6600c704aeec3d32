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
from anyio.lowlevel import checkpoint_if_cancelled

from ..client import Job, JobHandle
from ..client.owned import DISOWN_SECONDS
from ..client.ports import Connected
from ..client.results import open_outcome
from ..errors import JobCancelled
from ..model.codec import sniff
from ..model.failure import Failure, describe_safely, rebuild_error
from ..model.options import DEAD_TTL_SECONDS
from ..model.states import JobState
from ..shown import command_line
from .data import Undo, options_from_data, options_to_data
from .names import hash_of
from .outages import until_answered
from .recording import STORE_SECONDS, Recording

UNDO_TASK: Final = "nursery_tasks.undo"
UNDO_SECONDS: Final = 60.0  # the budget, for all that is to be undone

_log = logging.getLogger("nursery_tasks.workflows")


def to_undo(job: Job[Any]) -> Undo:
    """Describe a job.

    Raises:
        InvalidOptions: It has limits of its own, which cannot travel.
    """
    spec = job.app.registry.tasks.get(job.task)
    options = options_to_data(job.task, job.options, None if spec is None else spec.options)
    return Undo(task=job.task, args=list(job.args), kwargs=dict(job.kwargs), options=options)


def _to_job(app: Connected, undo: Undo) -> Job[Any]:
    spec = app.registry.tasks.get(undo.task)
    options = options_from_data(undo.options, None if spec is None else spec.options)
    return Job(app, undo.task, undo.args, undo.kwargs, options)


def make_undo(app: Connected) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the function of `UNDO_TASK`."""

    async def undo_all(undos: list[Undo], cause: Failure) -> list[str]:
        """Run *undos* one after the other; returns what was wrong with those that failed, after their retries."""
        problems: list[str] = []
        for each in undos:
            try:
                await _to_job(app, each).run()
            except Exception as error:  # the others are to be undone all the same
                problems.append(f"{each.task}: {type(error).__name__}: {error}")
        return problems

    return undo_all


class Undoing:
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
            return f"it was not undone, see `{command_line('tree', self._handle.id)}`: {outcome.reason or outcome.state}"
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
        cause.add_note("that has been recorded, so it is not run again, not by a retry either: submit it anew")
        return cause


async def find_undo(recording: Recording) -> Undoing | None:
    """Return the undoing that an earlier run of the workflow has begun."""
    undo_id = undo_id_of(recording.job.id)
    [stored] = await until_answered(lambda: recording.connection.gateway.outcomes([undo_id]))
    return None if stored is None else Undoing(recording, undo_id)


async def undo(recording: Recording, error: BaseException, undo_seconds: float) -> None:
    """Take back what *recording* says, the last first, and tell *error* how that went.

    A broker that is away is waited for: a workflow whose undoing is not stored has not ended.

    Cancellation:
        What is to be undone has been handed over, and goes on without us; or it is not the workflow that ends, but only its
        worker that stops, and another run comes here again.
    """
    if not recording.undos:
        return
    await _hand_over(recording, error, undo_seconds)
    begun = Undoing(recording, undo_id_of(recording.job.id))
    if not recording.is_told:
        error.add_note(await begun.wait())
        return
    with move_on_after(DISOWN_SECONDS, shield=True):
        _log.info("workflow %s has ended: %s", recording.job.id, await begun.wait(), extra={"job_id": recording.job.id})
        return
    text = "workflow %s ends while what it has done is still being undone, by job %s"
    _log.warning(text, recording.job.id, undo_id_of(recording.job.id), extra={"job_id": recording.job.id})


async def _hand_over(recording: Recording, error: BaseException, undo_seconds: float) -> None:
    """Store the job that undoes, however long the broker is away, unless the workflow goes on elsewhere."""
    undoing = _undoing(recording, error, undo_seconds)
    while True:
        with move_on_after(STORE_SECONDS, shield=True):
            await until_answered(lambda: recording.connection.enqueue([undoing]))
            return
        text = "workflow %s cannot end yet: what it has done is to be undone, and the broker does not store that"
        _log.warning(text, recording.job.id, extra={"job_id": recording.job.id})
        context = recording.job.context
        if context is None or not context.is_told:  # the job is not ended by our leaving it
            await checkpoint_if_cancelled()


def _undoing(recording: Recording, error: BaseException, undo_seconds: float) -> Job[Any]:
    job, app = recording.job, recording.connection.app
    reason = job.context.cancel_reason if job.context is not None else None
    cause = JobCancelled(job.id, job.task, reason) if recording.is_told else error
    undos = [undo for _, undo in sorted(recording.undos, key=lambda each: each[0])]  # stable: of one branch they are in order
    arguments = (undos[::-1], describe_safely(cause, recording.codec.plain))
    options = app.registry.own[UNDO_TASK].options.changed_by({"id": undo_id_of(job.id), "timeout": undo_seconds})
    options = options.changed_by({"result_ttl": DEAD_TTL_SECONDS})  # as long as somebody may try to retry the workflow
    if job.queue is not None:
        options = options.changed_by({"queue": job.queue})
    return Job[Any](app, UNDO_TASK, arguments, {}, options)


def undo_id_of(job_id: str) -> str:
    """Return the id of the job that undoes what the durable workflow *job_id* has done, if any does."""
    return hash_of(job_id, "undo", "", b"", 0)
