"""Detached jobs that a durable workflow submits: once, however often its function is run.

Each has a record that says so, with the id of the job that stands for it, because the workflow may outlive that job's outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from anyio import get_cancelled_exc_class, move_on_after
from anyio.lowlevel import checkpoint_if_cancelled

from ..client.ports import Unsent
from ..client.results import open_outcome
from ..current import slot_released
from ..model.codec import sniff
from ..model.delivery import Receipt, Stored, Submission
from .outages import submit_until_stored
from .recording import STORE_SECONDS, Recording

CHUNK: Final = 1_000  # jobs in one call to the broker, each with its record


@dataclass(slots=True)
class _Call:
    """One job, and the id of its record; *receipt* once it is known what stands for it."""

    job: Unsent
    record_id: str
    submission: Submission
    receipt: Receipt | None = None

    @property
    def what(self) -> str:
        return f"enqueue:{self.job.task}"

    @property
    def is_ours(self) -> bool:
        """Whether no other job can stand for it, and it is not refused: so its record can be stored in the same step."""
        options = self.job.options
        is_alone = options.key is None and options.job_id is None and options.keyed_in_time is None
        return is_alone and not self.submission.max_length

    def note(self, recording: Recording, receipt: Receipt) -> Submission:
        return recording.note(self.record_id, self.what, (receipt.id, receipt.created))


async def enqueue_recorded(recording: Recording, jobs: Sequence[Unsent]) -> list[Receipt]:
    """Submit jobs, detached, once; all are encoded before the first is sent.

    Cancellation:
        All of them have been submitted, or none.
    """
    async with recording.connection.submitter.around(jobs) as headers:
        return await _enqueue(recording, zip(jobs, headers, strict=True))


async def _enqueue(recording: Recording, jobs: Iterable[tuple[Unsent, Mapping[str, str] | None]]) -> list[Receipt]:
    calls: list[_Call] = []
    for job, headers in jobs:
        record_id, job_id = recording.names.of_enqueue(job)
        calls.append(_Call(job, record_id, recording.connection.submitter.encode(job, job_id, headers=headers)))
    await recording.check_left()
    new: list[_Call] = []
    for call in calls:
        found = recording.look(call.record_id)
        if found is None:
            new.append(call)
        elif recording.is_cut(found):
            async with slot_released():
                await recording.wait_cut(call.record_id)
        else:
            call.receipt = _receipt(recording, found)
    await _begin(recording, new)
    for begin in range(0, len(new), CHUNK):
        await _submit(recording, new[begin : begin + CHUNK])
    return [call.receipt for call in calls if call.receipt is not None]  # each has one by now


async def _begin(recording: Recording, calls: list[_Call]) -> None:
    try:
        await checkpoint_if_cancelled()
    except get_cancelled_exc_class():
        if calls:
            await recording.store_cut(recording.note(calls[0].record_id, calls[0].what), recording.connection.now())
        raise


async def _submit(recording: Recording, calls: list[_Call]) -> None:
    submissions: list[Submission] = []
    places: list[tuple[_Call, int]] = []
    for call in calls:
        if call.is_ours:
            call.receipt = Receipt(call.submission.id, created=True)
            submissions.append(call.note(recording, call.receipt))
        else:
            places.append((call, len(submissions)))
        submissions.append(call.submission)
    receipts = await _surely(recording, submissions)
    for call, place in places:
        stored = receipts[place]
        is_made = stored.created or (stored.id == call.submission.id and call.job.options.job_id is None)  # in a run before
        call.receipt = Receipt(stored.id, is_made)
    if places:
        await _surely(recording, [call.note(recording, call.receipt) for call, _ in places if call.receipt is not None])


async def _surely(recording: Recording, submissions: Sequence[Submission]) -> list[Receipt]:
    """Submit, also when a scope is cancelled meanwhile: what was half done would be something else in another run."""
    with move_on_after(STORE_SECONDS, shield=True):
        return await submit_until_stored(recording.connection, submissions)
    return await submit_until_stored(recording.connection, submissions)


def _receipt(recording: Recording, found: Stored) -> Receipt:
    """Read a record."""
    outcome = open_outcome(found)
    assert outcome is not None
    assert found.outcome is not None
    job_id, created = recording.codec.decode_value(outcome.value, sniff(found.outcome), tuple[str, bool])
    return Receipt(job_id, created)
