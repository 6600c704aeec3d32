"""After the call of a batch: what is known of each job's end, so that the same rules decide as for a job of its own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..errors import InvalidBatchResult
from ..execution.shares import error_of, share_out
from ..model.reasons import batch_went_on
from .batch import deadline_of
from .ending import AttemptEnd
from .in_flight import InFlightJob

Share = tuple[object, BaseException | None]  # a result, or an error


def ends_of(end: AttemptEnd, members: Sequence[InFlightJob]) -> list[AttemptEnd]:
    """Return the end of each job's attempt.

    A job that was cancelled meanwhile is cancelled, whatever the call has come to: nobody asks for its result any more.

    Args:
        end: That of the call.
        members: The jobs in it, with their calls.
    """
    return [_end_of(end, member, share) for member, share in zip(members, _shares(end, len(members)), strict=True)]


def _shares(end: AttemptEnd, jobs: int) -> list[Share]:
    if end.error is not None:
        return [(None, error_of(end.error, place)) for place in range(jobs)]
    if end.caught or end.given_up:
        return [(None, None)] * jobs
    try:
        shares = share_out(end.task, end.value, jobs)
    except InvalidBatchResult as error:
        return [(None, error)] * jobs
    return [(None, share) if isinstance(share, Exception) else (share, None) for share in shares]


def _end_of(end: AttemptEnd, member: InFlightJob, share: Share) -> AttemptEnd:
    value, error = share
    call = member.call
    assert call is not None  # it stays until the batch has ended
    went_on = member.cancelled and not end.cancelled
    return msgspec.structs.replace(
        end,
        job_id=member.delivery.id,
        attempt=member.delivery.attempt,
        rule=call.retry,
        deadline_at=deadline_of(member),
        value=value,
        error=error,
        caught=end.caught or member.cancelled,
        cancelled=member.cancelled,
        cancel_reason=batch_went_on(member.cancel_reason) if went_on else member.cancel_reason,
        lost=member.lost,
        settled=member.ended,
        once=call.once,
    )
