"""`app.sync.jobs`, `app.sync.queues` and `app.sync.pauses`: the blocking twins of `app.jobs` and so on.

They run the very coroutines of those, with calls that never wait for a loop, so there is one set of rules.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..brokers.protocol import Broker
from ..errors import UnknownJob, WaitTimedOut
from ..model.delivery import CancelAnswer
from ..model.duration import Duration
from ..model.listing import ServerMessage
from ..model.pauses import PauseRecord
from ..model.queue import Queue
from ..model.states import WAITING, JobState
from ..registry import Registry
from .calls import DirectCalls, run_at_once
from .cancelling import CANCEL_WAIT_SECONDS
from .info import JobInfo
from .jobs import LISTED, Jobs, RetryAnswer
from .pauses import Pauses
from .queues import PEEKED, Purged, QueueInfo, Queues

T = TypeVar("T")

CancelOne = Callable[[str, float], CancelAnswer]


class SyncJobs:
    """The jobs of an app's broker: `app.sync.jobs`; the blocking twin of `Jobs`.

    Args:
        wait_answered: Waits until a job that was told to end has done so, for so many seconds.
    """

    def __init__(self, broker: Callable[[], Broker], wait_answered: CancelOne, undo_id_of: Callable[[str], str]) -> None:
        self._broker = broker
        self._wait_answered = wait_answered
        self._jobs = Jobs(lambda: DirectCalls(broker()), self._cancel_page, undo_id_of)

    def list(
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
        """List jobs. See `Jobs.list`."""
        return run_at_once(
            self._jobs.list(
                states=states,
                queue=queue,
                task=task,
                tag=tag,
                parent=parent,
                limit=limit,
                after=after,
                newest_first=newest_first,
            )
        )

    def get(self, job_id: str) -> JobInfo | None:
        """Return everything that is known of one job; None: there is none of this id."""
        return run_at_once(self._jobs.get(job_id))

    def retry(
        self,
        ids: Iterable[str] | None = None,
        *,
        states: Iterable[JobState | str] = (),
        queue: str | None = None,
        task: str | None = None,
        tag: str | None = None,
    ) -> dict[str, RetryAnswer]:
        """Make jobs ready again that did not succeed. See `Jobs.retry`."""
        return run_at_once(self._jobs.retry(ids, states=states, queue=queue, task=task, tag=tag))

    def cancel(
        self,
        ids: Iterable[str] | None = None,
        *,
        task: str | None = None,
        tag: str | None = None,
        queue: str | None = None,
        reason: str | None = None,
        wait: Duration = CANCEL_WAIT_SECONDS,
    ) -> dict[CancelAnswer, int]:
        """Cancel many jobs. See `Jobs.cancel`."""
        return run_at_once(self._jobs.cancel(ids, task=task, tag=tag, queue=queue, reason=reason, wait=wait))

    def purge(self, queue: str, *, states: Iterable[JobState | str] = WAITING) -> int:
        """Delete jobs of a queue. See `Jobs.purge`."""
        return run_at_once(self._jobs.purge(queue, states=states))

    async def _cancel_page(self, page: Sequence[str], reason: str | None, wait_seconds: float) -> Iterable[CancelAnswer]:
        ends_at = time.monotonic() + wait_seconds
        given = dict(zip(page, self._broker().cancel(page, reason), strict=True))
        for job_id, answer in given.items():
            if answer is CancelAnswer.REQUESTED:
                try:
                    given[job_id] = self._wait_answered(job_id, max(0.0, ends_at - time.monotonic()))
                except UnknownJob:
                    given[job_id] = CancelAnswer.UNKNOWN
                except WaitTimedOut:
                    pass  # it stays marked, which is the answer
        return given.values()


class SyncQueues:
    """The queues of an app's broker: `app.sync.queues`; the blocking twin of `Queues`."""

    def __init__(self, broker: Callable[[], Broker], declared: Mapping[str, Queue]) -> None:
        self._queues = Queues(lambda: DirectCalls(broker()), declared)

    def list(self, *also: str) -> builtins.list[QueueInfo]:
        """List the queues. See `Queues.list`."""
        return run_at_once(self._queues.list(*also))

    def pause(self, *names: str) -> None:
        """Let no worker take jobs from these queues; what runs goes on."""
        run_at_once(self._queues.pause(*names))

    def resume(self, *names: str) -> None:
        """Undo `pause`."""
        run_at_once(self._queues.resume(*names))

    def purge(self, name: str, *, states: Iterable[JobState | str] = WAITING) -> Purged:
        """Delete what waits in a queue. See `Queues.purge`."""
        return run_at_once(self._queues.purge(name, states=states))

    def create(self, name: str) -> bool:
        """Make a queue at the server. See `Queues.create`."""
        return run_at_once(self._queues.create(name))

    def delete(self, name: str, *, force: bool = False) -> bool:
        """Delete a queue at the server. See `Queues.delete`."""
        return run_at_once(self._queues.delete(name, force=force))

    def peek(self, name: str, limit: int = PEEKED) -> builtins.list[ServerMessage]:
        """Look at messages that wait at the server. See `Queues.peek`."""
        return run_at_once(self._queues.peek(name, limit))

    def send(
        self,
        name: str,
        body: bytes | str,
        *,
        id: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Send a message as another program would. See `Queues.send`."""
        return run_at_once(
            self._queues.send(name, body, id=id, reply_to=reply_to, correlation_id=correlation_id, content_type=content_type)
        )


class SyncPauses:
    """What is paused of an app's tasks: `app.sync.pauses`; the blocking twin of `Pauses`."""

    def __init__(self, broker: Callable[[], Broker], registry: Registry, node: str) -> None:
        self._pauses = Pauses(lambda: DirectCalls(broker()), registry, node)

    def pause(self, task: str, *, where: Mapping[str, Any] | None = None, note: str = "", by: str | None = None) -> PauseRecord:
        """Let no job of a task start, or none with certain arguments. See `Pauses.pause`."""
        return run_at_once(self._pauses.pause(task, where=where, note=note, by=by))

    def resume(self, task: str, *, where: Mapping[str, Any] | None = None) -> bool:
        """Undo `pause`. See `Pauses.resume`."""
        return run_at_once(self._pauses.resume(task, where=where))

    def list(self) -> builtins.list[PauseRecord]:
        """List what is paused. See `Pauses.list`."""
        return run_at_once(self._pauses.list())
