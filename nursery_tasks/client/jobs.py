"""`app.jobs`: what people and programs look at and change from outside, whoever has submitted it.

Each step is one call to the broker, so the rules are written once, see `calls.py`; the blocking twin is in `sync_admin.py`.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

from ..brokers.needed import admin_of
from ..errors import InvalidOptions
from ..model.delivery import CancelAnswer
from ..model.duration import Duration, to_seconds
from ..model.listing import JobFilter, JobRecord
from ..model.options import check_queue
from ..model.states import ENDED, HELD, WAITING, JobState
from .calls import Calls
from .cancelling import CANCEL_PAGE, CANCEL_WAIT_SECONDS, UNFINISHED
from .choosing import check_count, check_id, to_filter, to_ids, to_states
from .info import JobInfo, info_of

LISTED: Final = 50  # jobs in one listing, unless more are asked for
PAGE: Final = 2_000  # in one call to the broker
ALL: Final = 1_000_000  # that one call puts back
_CHUNK: Final = 500


class RetryAnswer(StrEnum):
    """What became of a job that was to be run again."""

    READY = "ready"  # it waits for a worker, as if it were new
    UNKNOWN = "unknown"  # there is no such job
    NOT_ENDED = "not ended"
    SUCCEEDED = "succeeded"  # what it has done is done; submit a new one
    UNDONE = "undone"  # a durable workflow that has taken back what it did; submit it anew
    KEY_TAKEN = "key taken"  # another job has its key by now


# Cancels some jobs, given the reason and how long to wait; returns what each came to.
CancelPage = Callable[[Sequence[str], str | None, float], Awaitable[Iterable[CancelAnswer]]]


class Jobs:
    """The jobs of an app's broker: `app.jobs`.

    Args:
        undo_id_of: Names the job that takes back what a durable workflow has done.
    """

    def __init__(self, calls: Callable[[], Calls], cancel_page: CancelPage, undo_id_of: Callable[[str], str]) -> None:
        self._calls = calls
        self._cancel_page = cancel_page
        self._undo_id_of = undo_id_of

    async def list(
        self,
        *,
        states: Iterable[JobState | str] = (),
        queue: str | None = None,
        task: str | None = None,
        tag: str | None = None,
        parent: str | None = None,
        limit: int = LISTED,
        after: int = 0,
        newest_first: bool = False,
    ) -> builtins.list[JobInfo]:
        """List jobs in the order of their submission; of those that match all that is given, at most *limit*.

        Args:
            states: In one of these; empty: in any.
            parent: Submitted by the job of this id.
            after: Go on after this place: the `cursor` of the last one that is known.
            newest_first: In the reverse order.

        Raises:
            InvalidOptions: A state is none, or a name or a number is something else.
            NotSupported: The broker keeps no listings.
        """
        wanted = to_filter(states, queue=queue, task=task, tag=tag, parent=parent)
        check_count("limit", limit)
        check_count("after", after)
        return [info_of(record) for record in await self._records(wanted, limit, after, newest_first)]

    async def get(self, job_id: str) -> JobInfo | None:
        """Return everything that is known of one job; None: there is none of this id."""
        check_id("job_id", job_id)
        calls = self._calls()
        record = await calls(admin_of(calls.broker).job, job_id)
        return None if record is None else info_of(record)

    async def retry(
        self,
        ids: Iterable[str] | None = None,
        *,
        states: Iterable[JobState | str] = (),
        queue: str | None = None,
        task: str | None = None,
        tag: str | None = None,
    ) -> dict[str, RetryAnswer]:
        """Make jobs ready again that failed, died, expired or were cancelled, as if they were new.

        Args:
            ids: These jobs, or the one of this id; or, without them, all that match the rest, of which *states* must be given.

        Returns:
            What became of each, by its id.

        Raises:
            InvalidOptions: There is nothing to choose by, too much, or something that is none.
            NotSupported: The broker keeps no listings.
        """
        wanted = to_filter(states, queue=queue, task=task, tag=tag)
        if (ids is None) == (not wanted.states):
            raise InvalidOptions("ids", ids, "either ids, or states= to choose by, such as states=['dead']")
        chosen = [one.id for one in await self._records(wanted, ALL)] if ids is None else to_ids(ids)
        answers: dict[str, RetryAnswer] = {}
        for begin in range(0, len(chosen), _CHUNK):
            answers |= await self._retry(chosen[begin : begin + _CHUNK])
        return answers

    async def cancel(
        self,
        ids: Iterable[str] | None = None,
        *,
        task: str | None = None,
        tag: str | None = None,
        queue: str | None = None,
        reason: str | None = None,
        wait: Duration = CANCEL_WAIT_SECONDS,
    ) -> dict[CancelAnswer, int]:
        """Cancel many jobs: those with these ids, or all unfinished ones that match *task*, *tag* and *queue* together.

        Queued, delayed and running ones alike; what is submitted meanwhile may or may not be among them.

        Args:
            ids: These jobs, or the one of this id.
            reason: Told to the handlers, and kept in the outcomes.
            wait: How long to wait for running ones to end, for each 500 of them, in seconds or as a timedelta.

        Returns:
            How many jobs came to what, see `JobHandle.cancel`.

        Raises:
            InvalidOptions: Something was given that is none, or nothing to choose by: cancelling everything must be asked for
                by a queue or a task.
            NotSupported: The broker cannot list jobs.
        """
        by_filter = not task is tag is queue is None
        if by_filter == (ids is not None):
            raise InvalidOptions("ids", ids, "either ids, or one or more of task=, tag= and queue= to choose by")
        wanted = to_filter(UNFINISHED, task=task, tag=tag, queue=queue) if ids is None else to_ids(ids)
        wait_seconds, answers, after = to_seconds("wait", wait), Counter[CancelAnswer](), 0
        while True:
            page, after = await self._page(wanted, after)
            if not page:
                return dict(answers)
            answers.update(await self._cancel_page(page, reason, wait_seconds))

    async def purge(self, queue: str, *, states: Iterable[JobState | str] = WAITING) -> int:
        """Delete the jobs of one queue that are in one of *states* (default: those that wait), and say how many.

        Raises:
            InvalidOptions: Jobs in such a state belong to a worker; cancel them.
            NotSupported: The broker keeps no listings.
        """
        calls, chosen, purged = self._calls(), to_states(states), 0
        check_queue("queue", queue)
        check_purged(chosen)
        admin = admin_of(calls.broker)
        while count := await calls(admin.purge, queue, chosen):
            purged += count
        return purged

    async def _page(self, wanted: Sequence[str] | JobFilter, after: int) -> tuple[Sequence[str], int]:
        """Return the ids that one call cancels, and where to go on."""
        if not isinstance(wanted, JobFilter):
            return wanted[after : after + CANCEL_PAGE], after + CANCEL_PAGE
        calls = self._calls()
        records = await calls(admin_of(calls.broker).list_jobs, wanted, CANCEL_PAGE, after)
        return [record.id for record in records], records[-1].cursor if records else after

    async def _records(
        self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False
    ) -> builtins.list[JobRecord]:
        calls = self._calls()
        admin, found = admin_of(calls.broker), builtins.list[JobRecord]()
        while len(found) < limit:
            page = await calls(admin.list_jobs, wanted, min(limit - len(found), PAGE), after, newest_first)
            if not page:
                break
            found += page
            after = page[-1].cursor
        return found

    async def _retry(self, ids: Sequence[str]) -> dict[str, RetryAnswer]:
        calls = self._calls()
        admin = admin_of(calls.broker)
        undoing = await calls(calls.broker.outcomes, [self._undo_id_of(job_id) for job_id in ids])
        undone = {job_id for job_id, found in zip(ids, undoing, strict=True) if found is not None}
        wanted = [job_id for job_id in ids if job_id not in undone]
        done = dict(zip(wanted, await calls(admin.requeue, wanted) if wanted else [], strict=True))
        return {
            job_id: RetryAnswer.UNDONE
            if job_id in undone
            else RetryAnswer.READY
            if done[job_id]
            else _why_not(await calls(admin.job, job_id))
            for job_id in ids
        }


def check_purged(states: frozenset[JobState]) -> None:
    """Check that no worker holds what is to be deleted.

    Raises:
        InvalidOptions: It does.
    """
    if not states or states & HELD:
        raise InvalidOptions("states", sorted(states), "some that no worker holds; cancel() what is claimed or started")


def _why_not(record: JobRecord | None) -> RetryAnswer:
    if record is None:
        return RetryAnswer.UNKNOWN
    if record.state not in ENDED:
        return RetryAnswer.NOT_ENDED
    return RetryAnswer.SUCCEEDED if record.state is JobState.SUCCEEDED else RetryAnswer.KEY_TAKEN
