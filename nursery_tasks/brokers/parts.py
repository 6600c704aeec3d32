"""The parts of a broker: what it may be able to do beside its transitions.

A broker has each of them as an attribute, which is None where it cannot do that (see `Broker`). What a part needs of the
broker's own calls is said in its first lines.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from ..model.delivery import Receipt
from ..model.ended import OnEnded
from ..model.event_log import EventBatch, LogPage
from ..model.listing import JobFilter, JobRecord, LimitRecord, LockRecord, QueueRecord, WorkerRecord
from ..model.outgoing import OutboxRecord, Outgoing, StateRecord, StateRow
from ..model.pauses import PauseList, PauseRecord
from ..model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from ..model.states import JobState
from .common.subscription import Listener


@runtime_checkable
class Admin(Protocol):
    """What people and programs look at and change."""

    def job(self, job_id: str) -> JobRecord | None:
        """Return all that is known of one job."""
        ...

    def list_jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        """List jobs in the order of submission, at most *limit*, those with a cursor greater than *after*.

        With *newest_first* in the reverse order, those with a cursor smaller than *after*; 0: from the newest.
        """
        ...

    def list_queues(self) -> list[QueueRecord]:
        """List the queues that have jobs or are paused, by name."""
        ...

    def purge(self, queue: str, states: frozenset[JobState], limit: int = 10_000) -> int:
        """Delete jobs of one queue that no worker holds, and hint at their `outcome`; return how many.

        *states* may not name `claimed` or `started` (`InvalidOptions`). At most *limit* go in one call, oldest first: repeat
        until it returns 0.
        """
        ...

    def pause(self, queue: str) -> None:
        """Let nobody claim from this queue, until `resume`; what runs goes on."""
        ...

    def resume(self, queue: str) -> None:
        """Undo `pause`."""
        ...

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        """Make ended jobs (not succeeded ones) ready again, as new: no attempts, crashes, outcome, cancel, owner or `expires`.

        False: unknown, not ended, succeeded, or its key belongs to another job by now.
        """
        ...

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        """Store a worker's description of itself for *ttl_seconds*, with `seen_at` by the broker's clock; 0 removes it."""
        ...

    def list_workers(self) -> list[WorkerRecord]:
        """List the workers whose last heartbeat still counts, by name."""
        ...


@runtime_checkable
class Limits(Protocol):
    """What people see of limits. A broker that has this heeds the limits of jobs."""

    def list_limits(self, limit: int) -> list[LimitRecord]:
        """List at most *limit* of the limits that hold jobs, or that jobs wait for, by name."""
        ...


@runtime_checkable
class Locks(Protocol):
    """Locks with a lease.

    Whoever wants a lock stands in line under an id of its own (`holder`), with a lease of its own, too: one that died does not
    hold up those behind it for longer.
    """

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        """Take a lock, or look whether one's turn has come; returns the fencing token, 0: somebody else has it.

        Tokens are above 0 and grow from one holder of a lock to the next. Leases that are over end here. With *wait*, whoever
        does not get it stands in line for *lease_seconds* from now; each further call prolongs that and keeps the place.
        Without, nobody who was not in line is put there. A holder that asks again gets its token again.
        """
        ...

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        """Prolong the leases of holders to *lease_seconds* from now. False: it is not (any more) the holder.

        A lease that ran out while nobody else asked for the lock, and that nobody swept, is still held.
        """
        ...

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Give locks back, or leave the line, and hint at `lock`. False: there was nothing to give back."""
        ...

    def list_locks(self, limit: int) -> list[LockRecord]:
        """List at most *limit* locks that somebody holds or waits for, by name."""
        ...


@runtime_checkable
class Replies(Protocol):
    """Answers to other programs, in lists. A broker that has this stores the reply of a `Finished`."""

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        """Take up to *limit* replies out of a list, the oldest first, as other programs do."""
        ...


@runtime_checkable
class Outbox(Protocol):
    """Messages that wait until a worker has sent them, in a line for each destination. None is ever dropped for its age, or
    because they are many.

    A broker that has this stores the `outgoing` of a `Finished`. Several may look into one line at a time; who sends, `Locks`
    decide. A worker that has lost the lock unknowingly can send what was sent before, and drops no more than it has sent.
    """

    def put_outgoing(self, items: Sequence[Outgoing]) -> None:
        """Store messages at the ends of their lines, all in one step, and hint at `outgoing`. Durable when it returns.

        An error may come after it was done; who puts them again may have put them twice.

        Raises:
            InvalidOptions, PayloadTooLarge: One of them is none that a broker keeps; nothing was stored.
        """
        ...

    def next_outgoing(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        """Look at the oldest of a line: their positions and bodies, at most *limit* and about `BATCH_BYTES`, at least one.

        Positions are above 0 and grow along the line, and none is ever given twice, also after the line was empty. What is
        stored later never stands before what a caller has seen.
        """
        ...

    def drop_outgoing(self, destination: str, up_to_position: int) -> int:
        """Drop what stands at this position and before it, because it was sent; return how many. Durable when it returns."""
        ...

    def list_outboxes(self, limit: int, after: str = "") -> list[OutboxRecord]:
        """List at most *limit* destinations for which something waits, those greater than *after*, by code points."""
        ...


@runtime_checkable
class States(Protocol):
    """Small values that are kept under a name until a caller deletes them, and changed by compare-and-set."""

    def get_state(self, name: str) -> StateRow | None:
        """Return a value with its version; None: there is none."""
        ...

    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        """Store a value, and messages as `Outbox.put_outgoing` does, in one step, if the version is still *version*.

        Args:
            version: From which it was made; 0: there must be no value of this name.
            outgoing: Only a broker with `outbox` is given any.

        Returns:
            The new version, above 0; 0: the version is another one, and nothing was done. Durable when it returns. An error may
            come after it was done; then the next look shows that.

        Raises:
            InvalidOptions, PayloadTooLarge: It is none that a broker keeps.
        """
        ...

    def delete_state(self, name: str, version: int) -> bool:
        """Delete a value, if this is its version; False: it is not, or there is none."""
        ...

    def list_states(self, prefix: str, limit: int, after: str = "") -> list[StateRecord]:
        """List at most *limit* values whose names begin with *prefix* and are greater than *after*, by code points."""
        ...


@runtime_checkable
class Parking(Protocol):
    """Parked jobs. A broker that has this heeds `Released.park`, and the names of a claim."""

    def is_parked(self, queues: Sequence[str], names: Collection[str]) -> bool:
        """Say whether a job of these queues is parked under one of *names*; nearly always at once, that none is at all."""
        ...


@runtime_checkable
class Pauses(Protocol):
    """What is paused by the names of tasks. The broker keeps the records; it is the workers that let such jobs wait.

    A worker that meets one gives it back, parked under the name of the pause (`Released.park`); so a broker that has this has
    `parking`. A sweep makes jobs ready that are parked under a name that begins with `PAUSED` and is no pause's: in their
    order, line by line, and not more than its limit allows; they count as `due`. It says in `Swept.pauses` which version of
    the list is the latest, and each change is hinted at as `pause`.
    """

    def pause_task(self, pause: PauseRecord) -> None:
        """Store a pause, in place of the one of its name, with `paused_at` by the broker's clock; durable when it returns."""
        ...

    def resume_task(self, name: str) -> bool:
        """End a pause; durable when it returns. False: there is none of this name."""
        ...

    def list_pauses(self) -> PauseList:
        """List all pauses by name, with how many jobs are parked under each."""
        ...


@runtime_checkable
class Prefetch(Protocol):
    """What a broker has that brings work to the workers before they claim it."""

    def feed(self, queues: Sequence[str], slots: int) -> Listener:
        """Take note that a worker claims from *queues* from now on, and can run *slots* jobs, until the listener is closed.

        Claims may then be answered from what has come here by itself, and `work` hints tell of what comes. What has come and
        was not claimed when the listener is closed goes back to where others can have it.
        """
        ...


@runtime_checkable
class Schedules(Protocol):
    """Schedules: what is to be submitted when. The broker keeps rows, and never looks into their bodies.

    A broker that has this says in `Swept.next_schedule_seconds` when the next look is due, and hints at `schedule` after each
    change.
    """

    def list_schedules(self, limit: int, after: str = "") -> list[ScheduleRow]:
        """List at most *limit* schedules by name, those with a name greater than *after*, by code points."""
        ...

    def find_schedules(self, names: Sequence[str]) -> list[ScheduleRow | None]:
        """Look schedules up; None for a name that there is none of."""
        ...

    def look_at_schedules(self, limit: int) -> ScheduleLook:
        """Return at most *limit* of those whose `look_at` has come by the broker's clock. Changes nothing."""
        ...

    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        """Change a schedule and submit jobs, both in one step, when it is still what the change was made from.

        None: it is not: its version is another one, it is gone, or (version 0) there is one by now. Nothing was done.
        Otherwise the row has a new version, or is gone where the body is None, and the jobs are submitted as by
        `Broker.submit`: a job whose id is known, or whose key is taken, is not stored and changes nothing of the rest. None of
        them has a `max_length`: nobody is there who could wait for room.
        Durable when it returns. An error may come after it was done, as from `Broker.submit`; then the next look shows that.
        """
        ...

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        """Make changes without jobs, each as `fire` makes it and whatever becomes of the others. False: it was not made."""
        ...


@runtime_checkable
class EventLog(Protocol):
    """A log of what happened to jobs, for those who follow it; the broker keeps batches and never looks into them."""

    def append(self, batch: EventBatch, keep_seconds: float, most: int) -> bool:
        """Put a batch at the end of the log, and hint at `log`. False: it is there already, or was, and nothing was done.

        A batch is there when its writer has appended one with this sequence or a later one: so an append whose answer was lost
        may be repeated. A writer that was quiet for `WRITER_SECONDS` may be forgotten. Events get the numbers that follow, also
        after all before them were dropped.

        Batches that are older than *keep_seconds*, or whose events are all older than the newest *most*, are dropped, the
        oldest first and a bounded number in each call. What was appended need not be on the disk when this returns.
        """
        ...

    def read(self, after: int, limit: int) -> LogPage:
        """Return at most *limit* batches that hold events numbered above *after*.

        The oldest first; a batch comes whole, also where only its last events are above *after*. What the page says of the log
        is not older than its batches.
        """
        ...


@runtime_checkable
class Ends(Protocol):
    """Jobs that end without a worker: cancelled while they waited, expired, dead with their worker, ended with their owner.

    They end in somebody's call, and that program is told: so of each end one program in the whole system hears. What a worker
    has settled as `Finished` is not among them, nor is a record, nor what `purge` deletes.
    """

    def hear(self, on_ended: OnEnded) -> Listener:
        """Call *on_ended* with the jobs that calls of this broker object end, until the listener is closed.

        It is called in the thread that makes the call, after its step and at most once for each end; of several who hear, only
        the last is called. It is quick and does not raise. An end is not told when the call's answer was lost.
        """
        ...


@runtime_checkable
class Facts(Protocol):
    """Facts for a person who looks for what is wrong."""

    def describe(self) -> dict[str, str]:
        """Return facts about where the jobs are kept: a version, a mode, a size."""
        ...
