"""What a broker is: a state machine of plain, blocking, batch-shaped calls.

Each call is one atomic transition of the table in `model/states.py`: it happens completely, durably at the level that the
broker states, or not at all. No call waits for work to appear; every call may be made from any thread, and a broker makes
sure itself that two at a time do no harm. The async world calls in one place only, `brokers/gateway.py`.

A broker knows nothing of tasks, apps and event loops, and never looks into a payload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ..model.delivery import (
    CancelAnswer,
    Delivery,
    Hint,
    Receipt,
    Renewal,
    Settlement,
    Stored,
    Submission,
    Swept,
    Topic,
)
from ..model.listing import (
    JobFilter,
    JobRecord,
    LimitRecord,
    LockRecord,
    PermissionRecord,
    QueueRecord,
    ServerMessage,
    TransportQueue,
    UserRecord,
    WorkerRecord,
)
from ..model.states import JobState

REPLIES_KEPT = 10_000  # for each name; then the oldest goes
REPLY_SECONDS = 86_400.0  # after the last one of a name; then all of them go
OWNED_GRACE_SECONDS = 10.0  # how long a job of a worker that died waits for the jobs that it owned to end
CLAIM_LOOKS = 500  # jobs without room in a limit that one claim looks at in each queue


class Feature(StrEnum):
    """What a broker may or may not be able to do; the contract suite skips what is not declared, by name."""

    DELAYS = "delays"
    PRIORITIES = "priorities"
    KEYS = "unique keys"
    PROGRESS = "progress"
    PAUSE = "pausing queues"
    LISTING = "listing jobs"  # also by its id, queues and their counts, purge, requeue
    WORKERS = "listing workers"
    DURABLE = "durable storage"
    WORKFLOWS = "durable workflows"  # records, jobs as owners, and outcomes that are kept for them
    SHARED = "sharing between processes"
    LIMITS = "limits of jobs"
    LOCKS = "locks"
    REPLIES = "replies to other programs"
    PLACES = "places in line"  # a job that came back stands where it stood before


class Listener(Protocol):
    """A subscription to hints."""

    def close(self) -> None:
        """End it: when this returns, `emit` is not called any more."""
        ...


Emit = Callable[[Hint], None]


@runtime_checkable
class Broker(Protocol):
    """The transitions of jobs.

    Every method may raise `BrokerUnavailable` (unknown whether it took effect; repeating it is safe), `BrokerFull` (it did
    not) and `BrokerClosed`.
    """

    name: str  # for people and errors: the URL without secrets
    blocking: bool  # False: calls are so short that the gateway makes them on the loop
    features: frozenset[Feature]

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        """Store jobs, all in one step; durable when it returns.

        A job whose id is known, or whose task and key belong to a job that has not ended, is not stored; its receipt names the
        job that stands for it. Two equal ids in one batch count as a repetition.

        A job with an *owner* belongs to it until it ends: see `hold`, and `settle` for owners that are deliveries. When a
        detached submission is a repetition, the job that stands for it becomes detached too, in the same step, unless it has
        ended: it was promised to somebody who is not its owner. An owned repetition leaves the job whose it is.

        With `Feature.WORKFLOWS` a submission with `ended` is stored as a job that has ended, and its outcome is hinted at.
        """
        ...

    def claim(self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float) -> list[Delivery]:
        """Lease up to *limit* ready jobs: queue by queue in the order given; within one by priority, then by submission.

        Paused queues and jobs past their `expires` give nothing. A job that came back (retried, released, taken from a
        worker that died) keeps its place in the order of submission, where the broker has `Feature.PLACES`. Scheduled jobs wait
        for `sweep`, also when they are due.

        A job with *limits* is passed over while one of them has no room. It takes room in all of them, or in none: a place in
        each that counts what is held, until it is held no more; and one start in each that is a rate, which nothing gives
        back. A limit that rejects is looked at in the same way; the first without room, in the job's own order, makes the job
        `cancelled` for `no_room(name)`. One call looks at a bounded number of jobs without room, and hints at `work`
        when there are more.
        """
        ...

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Record what happened to deliveries. False: the token is stale, and nothing was changed.

        A retry or a release of a job that somebody asked to cancel makes it `cancelled`; an outcome wins over the cancel.

        An attempt counts from its `Started`, or from its `Finished` or `Retried` when no `Started` came before; `Released`
        takes it back. A second `Started` changes nothing and is True.

        The reply of a `Finished` goes to its list in the same step: never without the outcome, and never twice. A list keeps
        the newest `REPLIES_KEPT`, each for `REPLY_SECONDS`, or as long as its last one. A broker without `REPLIES` drops them.

        In the same step as a `Finished`, `Retried` or `Released`, the jobs that have not ended and whose owner is this
        delivery's token are cancelled, as by `cancel(ids, OWNER_ENDED)`. In that of a `Finished` so are those whose owner is
        the job itself (`job_owner`), and its lease is let go. Where they are thousands, a broker may leave some of them to
        `sweep`, as it may in `hold`: no call takes longer than its callers can wait.

        Raises:
            ValueError: A `Finished` names a state that is no end; nothing of the whole batch was done.
        """
        ...

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        """Prolong leases to *lease_seconds* from now. A lease that ran out and that nobody swept is still held."""
        ...

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        """Cancel jobs that wait, at once and for good; mark those that a worker holds.

        The first reason stays; an empty one is the same as None.

        With an *owner*, only its jobs that have not ended are cancelled; the others are left alone, and their answer is
        `UNKNOWN`. So whoever does not know whether its own submission was stored does not cancel what others have submitted.
        """
        ...

    def hold(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        """Prolong owners' leases to *lease_seconds* from now. 0 lets them go: their jobs are cancelled for `OWNER_GONE`.

        False: there is no such lease (any more): it ran out and was swept, and its jobs were cancelled. A lease that ran out
        and that nobody swept is still held.
        """
        ...

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        """Look jobs up; None for an id that is not known (any more)."""
        ...

    def sweep(self, limit: int) -> Swept:
        """Do what time has made necessary, at most about *limit* jobs of each kind.

        In this order: due jobs become ready; jobs past their `expires` expire, unless an attempt or a crash counts; jobs whose
        lease is over return to ready, or are cancelled when that was asked for, or are dead after their last crash (only a
        started job is blamed with one); outcomes kept long enough are dropped.

        Before that, the jobs of owners whose lease is over are cancelled (`OWNER_GONE`). So are those that a delivery owns
        whose lease is over (`OWNER_ENDED`), and the job itself is only taken back when they have ended, or
        `OWNED_GRACE_SECONDS` after its lease ran out: it is not tried again beside what its last attempt has started.

        The lease of an owner that is a job (`job_owner`) is prolonged here to `JOB_OWNER_SECONDS` from now instead, for as long
        as that job has not ended; and until then the outcomes of what it owns are not dropped, however short they should be
        kept, nor purged.

        Rates that have room again for jobs that wait are hinted at as `work`. Locks whose lease is over are free.
        """
        ...

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        """Call *emit* for what happens, from any thread, in any process, until the listener is closed. Hints may get lost.

        *emit* is quick and does not raise. It may look at the broker: what a hint is about can be read when the hint comes.
        """
        ...

    def close(self) -> None:
        """Give back files, sockets and threads. Later calls raise `BrokerClosed`; closing again does nothing."""
        ...


@runtime_checkable
class BrokerLimits(Protocol):
    """What people see of limits. Implemented by the same object as `Broker`, where it has `Feature.LIMITS`."""

    def limits(self, limit: int) -> list[LimitRecord]:
        """List at most *limit* of the limits that hold jobs, or that jobs wait for, by name."""
        ...


@runtime_checkable
class BrokerLocks(Protocol):
    """Locks with a lease. Implemented by the same object as `Broker`, where it has `Feature.LOCKS`.

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

    def locks(self, limit: int) -> list[LockRecord]:
        """List at most *limit* locks that somebody holds or waits for, by name."""
        ...


@runtime_checkable
class Pushes(Protocol):
    """What a broker may have beside: it brings work to the workers before they claim it."""

    def feed(self, queues: Sequence[str], slots: int) -> Listener:
        """Take note that a worker claims from *queues* from now on, and can run *slots* jobs, until the listener is closed.

        Claims may then be answered from what has come here by itself, and `work` hints tell of what comes. What has come and
        was not claimed when the listener is closed goes back to where others can have it.
        """
        ...


@runtime_checkable
class HasTransport(Protocol):
    """What a broker has beside whose messages are moved by a server of their own."""

    def transport_queue(self, queue: str) -> TransportQueue | None:
        """Return what that server knows of a queue; None: there is no such queue there."""
        ...


@runtime_checkable
class ManagesQueues(Protocol):
    """What a broker has beside whose queues are things at a server, which are made and deleted.

    Every method may also raise `BrokerRefused`: the server does not do it, or this broker was told not to.
    """

    def queue_names(self) -> list[str]:
        """List the queues at the server that are this broker's, by name.

        Raises:
            BrokerUnreachable: The server does not say; a queue whose name is known can be asked about all the same.
        """
        ...

    def create_queue(self, queue: str) -> bool:
        """Make a queue, with all that leads to it, as the broker's URL wants it. False: it was there already.

        Raises:
            BrokerUnavailable: One is there and is different.
        """
        ...

    def delete_queue(self, queue: str, force: bool) -> bool:
        """Delete a queue, and with *force* also the messages and waiting jobs in it. False: there was none.

        What workers hold of it goes on. A worker that serves it makes it again.

        Raises:
            BrokerRefused: Without *force*: somebody serves it, or there is something in it.
        """
        ...

    def drop_messages(self, queue: str) -> int:
        """Delete the messages of a queue that wait, and say how many; jobs that are stored elsewhere stay there."""
        ...

    def peek(self, queue: str, limit: int) -> list[ServerMessage]:
        """Look at up to *limit* messages that wait, the next one first, and leave them there.

        While somebody looks nobody else gets them, and the server counts it as a delivery.

        Raises:
            BrokerRefused: There is no such queue.
        """
        ...


@runtime_checkable
class TakesMessages(Protocol):
    """What a broker has beside that can send a message as a program would that knows nothing of this package."""

    def send_message(self, queue: str, message: ServerMessage) -> str:
        """Send a message to where a queue's messages go; returns its id. The server has it on return."""
        ...


@runtime_checkable
class ManagesUsers(Protocol):
    """The users of a server and what they may do; `brokers/url.py` makes one from a URL, without opening a broker.

    Every method may raise `BrokerUnreachable`, and `BrokerRefused`: this user may not do that, or a name is unknown.
    """

    def users(self) -> list[UserRecord]:
        """List the users, by name."""
        ...

    def add_user(self, user: str, password: str, tags: Sequence[str]) -> None:
        """Make a user, who may do nothing yet. It is an error that there is one of that name."""
        ...

    def set_password(self, user: str, password: str) -> None:
        """Give a user another password."""
        ...

    def delete_user(self, user: str) -> None:
        """Delete a user and its permissions."""
        ...

    def permissions(self, user: str | None) -> list[PermissionRecord]:
        """List what one user may do, or all of them."""
        ...

    def set_permissions(self, user: str, vhost: str | None, configure: str, write: str, read: str) -> str:
        """Set all that a user may do in a virtual host (None: that of the URL); returns its name."""
        ...

    def clear_permissions(self, user: str, vhost: str | None) -> str:
        """Take all of that away; returns the virtual host."""
        ...


@runtime_checkable
class Describes(Protocol):
    """What a broker may have beside: facts for a person who looks for what is wrong."""

    def describe(self) -> dict[str, str]:
        """Return facts about where the jobs are kept: a version, a mode, a size."""
        ...


@runtime_checkable
class SaysWhatToDo(Protocol):
    """What a broker may have that lacks features which another setting would give it."""

    step: str  # the next step of somebody who needs one of them


def step_of(broker: object) -> str:
    """Return what to do about what a broker cannot do; an empty text: nothing."""
    return broker.step if isinstance(broker, SaysWhatToDo) else ""


@runtime_checkable
class HasInbox(Protocol):
    """What a broker has where other programs put jobs in without a word to anybody."""

    look_seconds: float  # how often a worker at rest claims, to find them


@runtime_checkable
class HasReplies(Protocol):
    """What a broker with `Feature.REPLIES` has beside."""

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        """Take up to *limit* replies out of a list, the oldest first, as other programs do."""
        ...


@runtime_checkable
class BrokerAdmin(Protocol):
    """What people and programs look at and change. Implemented by the same object as `Broker`."""

    def job(self, job_id: str) -> JobRecord | None:
        """Return all that is known of one job."""
        ...

    def jobs(self, wanted: JobFilter, limit: int, after: int = 0, newest_first: bool = False) -> list[JobRecord]:
        """List jobs in the order of submission, at most *limit*, those with a cursor greater than *after*.

        With *newest_first* in the reverse order, those with a cursor smaller than *after*; 0: from the newest.
        """
        ...

    def queues(self) -> list[QueueRecord]:
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

    def workers(self) -> list[WorkerRecord]:
        """List the workers whose last heartbeat still counts, by name."""
        ...
