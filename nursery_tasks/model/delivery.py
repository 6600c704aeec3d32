"""The records that cross the border between a broker and the rest: jobs going in, deliveries, settlements and answers.

They are plain and immutable. `gc=False` on the small hot ones keeps the cycle collector away from objects that cannot form
cycles; a worker makes several of them per job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from .limits import Limit
from .options import DEAD_TTL_SECONDS, MAX_CRASHES, RESULT_TTL_SECONDS
from .outgoing import Outgoing
from .states import JobState
from .windows import Window


class Submission(msgspec.Struct, frozen=True, gc=False):
    """One job to store.

    Attributes:
        id: Unique; a second submission with the same id stores nothing.
        queue: Where it waits.
        task: The task's name, for listings and for `key`.
        payload: The encoded message; the broker never looks inside.
        priority: Higher first: 0 to 9 as users give it, and 10 more for what a handler waits for.
        delay_seconds: How long from now it may not start.
        start_at: A moment (epoch seconds, broker's clock) that wins over the delay.
        expires_seconds: How long from the moment it may first start it waits at most for its first attempt; None: for ever.
        key: While a job of the same task with the same key has not ended, this one is not stored.
        parent: The id of the job that submitted it.
        keep_seconds: How long the outcome of a success, a cancel or an expiry is kept; failed and dead ones are kept for
            `DEAD_TTL_SECONDS` when that is longer.
        max_crashes: It is dead after so many workers died while they ran it.
        owner: Who owns the job: the id of an owner's lease, or the token of the delivery whose handler awaits it. None: nobody,
            it is detached, and so is then the job whose repetition it is.
        owner_seconds: Above 0, *owner* is a lease of this length, made or prolonged by this very submission. 0: it is a
            delivery's token; when no held job has it, the job is stored as cancelled (`OWNER_GONE`), so it never starts.
        tags: Words to find the job by.
        ended: Set: it is a *record*, stored as a job that has ended in this state, with *outcome* as its packed outcome. Nobody
            runs it; like any id it is stored once.
        limits: What must have room when a worker claims it, all of them at once; each has a name of its own.
        raw: The payload is no message but what another program has put in, as it came: the worker finds the task that takes
            what is raw on this queue.
        once: Its handler is never started twice: once its `Started` is stored, nothing but a requeue makes it ready again.
        window: What it belongs together with in time: while the window of this name is open, its job stands for this one. Where
            that is a debounce, the job's delay is how long it has to be quiet. Nobody says it beside `key` or `ended`.
        share: Whose turn the job takes among those of its priority in a fair queue; None: it stands by its order of submission.
            All jobs of a queue have one, or none has.
        weight: Of the share: how many turns it gets, compared with others.
        max_length: While so many jobs wait in the queue, scheduled and ready ones, this one is refused (`QueueFull`). 0: never,
            as is a record, and a job that is stored as cancelled.
    """

    id: str
    queue: str
    task: str
    payload: bytes
    priority: int = 0
    delay_seconds: float = 0.0
    start_at: float | None = None
    expires_seconds: float | None = None
    key: str | None = None
    parent: str | None = None
    keep_seconds: float = RESULT_TTL_SECONDS
    max_crashes: int = MAX_CRASHES
    owner: bytes | None = None
    owner_seconds: float = 0.0
    tags: tuple[str, ...] = ()
    ended: JobState | None = None
    outcome: bytes = b""
    limits: tuple[Limit, ...] = ()
    raw: bool = False
    once: bool = False
    window: Window | None = None
    max_length: int = 0
    share: str | None = None
    weight: float = 1.0

    def due_at(self, now: float) -> float:
        """Return when the job may start that is submitted *now*."""
        return max(now, now + self.delay_seconds if self.start_at is None else self.start_at)

    def expires_at(self, due_at: float) -> float | None:
        """Return when it has waited for too long; None: never."""
        return None if self.expires_seconds is None else due_at + self.expires_seconds

    def keep_seconds_after(self, state: JobState) -> float:
        """Return how long the outcome is kept when the job ends in *state*."""
        return keep_seconds_after(state, self.keep_seconds)


def keep_seconds_after(state: JobState, keep_seconds: float) -> float:
    """Return how long an outcome is kept: jobs that a person should look at stay longer."""
    return max(keep_seconds, DEAD_TTL_SECONDS) if state in (JobState.FAILED, JobState.DEAD) else keep_seconds


JOB_OWNER: Final = b"job:"  # what an owner begins with that is a job, whichever of its attempts runs
JOB_OWNER_SECONDS: Final = 10.0  # the length of its lease: how often a sweep looks whether the job has ended
KEPT_SECONDS: Final = 600.0  # for how long a sweep spares an outcome that an unfinished job needs, before it looks again


def job_owner(job_id: str) -> bytes:
    """Return the owner of jobs that belong to a job until it has ended, over all its attempts."""
    return JOB_OWNER + job_id.encode()


def owning_job(owner: bytes | None) -> str | None:
    """Return the id of the job that an owner is; None: it is something else."""
    if owner is None or not owner.startswith(JOB_OWNER):
        return None
    return owner[len(JOB_OWNER) :].decode(errors="replace")


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The answer to a submission: the id of the job that now stands for it, and whether it was stored by this call."""

    id: str
    created: bool


class Delivery(msgspec.Struct, frozen=True):
    """A job leased to one worker.

    Attributes:
        id, queue, task, payload: As submitted.
        token: 128 random bits, or a little more, new on each claim and in no other delivery; every later write must show it.
        attempt: The number that this attempt will have, from 1.
        crashes: How many workers have died while they ran it.
        lapses: How many leases on it have run out, started or not; above 0 the start must be stored before the handler
            runs, so that a job that kills its worker at once is found, and its neighbours are not blamed.
        expires_in_seconds: How much longer, from the claim, it may wait for its start; None: for ever.
        age_seconds: How long ago it was submitted, on the broker's clock.
        owned: Whether it has an owner.
        waited_seconds: How long it could have been started before this claim, since its last return if there was one.
        raw, once: As submitted.
        parked: It was parked under this name (see `Released`), and no worker that knows the name has asked for it in time.
        address: The broker's own way to find the job again; nobody else reads it.
    """

    id: str
    queue: str
    task: str
    payload: bytes
    token: bytes
    attempt: int = 1
    crashes: int = 0
    lapses: int = 0
    expires_in_seconds: float | None = None
    age_seconds: float = 0.0
    owned: bool = False
    waited_seconds: float = 0.0
    raw: bool = False
    parked: str | None = None
    address: Any = None
    once: bool = False


class Started(msgspec.Struct, frozen=True, gc=False):
    """The handler is about to run: from now on a lost lease counts as a crash.

    *promised*: it must survive whatever an accepted job survives, because the handler runs only after it is stored.
    """

    delivery: Delivery
    promised: bool = False


class Progressed(msgspec.Struct, frozen=True, gc=False):
    """What the handler says of itself, encoded as JSON; it replaces what it said before."""

    delivery: Delivery
    progress: bytes


class Unresponsive(msgspec.Struct, frozen=True, gc=False):
    """The handler was cancelled and does not end. The delivery stays held; listings and `outcomes` show the mark."""

    delivery: Delivery


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer to another program, in the words of `model/reply.py`: *to* names the list or queue that it reads.

    The other program may never read it, so it is kept for a while only. What has to arrive is `Outgoing`, and a
    worker sends it.
    """

    to: str
    body: bytes


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The job has ended. *outcome* is packed by `codec.pack_outcome`.

    *reply* and *outgoing* are put where they go out from in the same step, or not at all. Only a broker with `outbox` is given
    any *outgoing*.
    """

    delivery: Delivery
    state: JobState
    outcome: bytes
    reply: Reply | None = None
    outgoing: tuple[Outgoing, ...] = ()


class Retried(msgspec.Struct, frozen=True, gc=False):
    """This attempt failed and another one follows after a wait. *failure* is the packed outcome of the attempt, for display."""

    delivery: Delivery
    delay_seconds: float
    failure: bytes | None = None


class Released(msgspec.Struct, frozen=True, gc=False):
    """Given back: it was not the job's fault, so this attempt does not count.

    With a name in *park* the job is *parked*: until the delay is over, only claims that have this name in their `names` get it.
    """

    delivery: Delivery
    delay_seconds: float = 0.0
    park: str | None = None


Settlement = Started | Progressed | Unresponsive | Finished | Retried | Released


class LeaseState(StrEnum):
    """What the broker says when a lease is renewed."""

    HELD = "held"
    CANCEL = "cancel"  # still held; somebody asked for the job to be cancelled
    LOST = "lost"  # the token is stale: the job belongs to somebody else, or has ended


class Renewal(msgspec.Struct, frozen=True, gc=False):
    """The answer to one renewal; *reason* goes with `CANCEL`."""

    state: LeaseState
    reason: str | None = None


class CancelAnswer(StrEnum):
    """What became of a cancel."""

    CANCELLED = "cancelled"  # it had not started, and never will
    REQUESTED = "requested"  # a worker holds it and is told
    UNRESPONSIVE = "unresponsive"  # it was told, and does not end; from a broker the answer is `REQUESTED`
    FINISHED = "finished"  # it had ended before
    UNKNOWN = "unknown"  # no such job


class Stored(msgspec.Struct, frozen=True, gc=False):
    """What the broker knows of a job: its state, and once it has ended the packed outcome.

    *unresponsive*: a worker holds it, and has said that its handler was cancelled and does not end.
    """

    state: JobState
    outcome: bytes | None = None
    unresponsive: bool = False


class Swept(msgspec.Struct, frozen=True, gc=False):
    """What one sweep did.

    Attributes:
        due: Scheduled jobs made ready.
        returned: Jobs taken back from workers that lost their lease: ready again, or cancelled when that was asked for.
        died: Jobs of such workers that are now dead.
        expired: Jobs that nobody started in time.
        orphaned: Jobs that were cancelled, or told to end, because their owner is gone.
        dropped: Ended jobs whose outcome had been kept long enough.
        more: Whether the limit was reached: sweep again soon.
        next_due_seconds: When the next scheduled job is due, from now; None: there is none.
        next_room_seconds: When the next rate has room for jobs that wait for it, from now; None: nobody waits for one.
        next_schedule_seconds: When somebody has to look at a schedule, from now; None: there is none to look at.
        pauses: The version of the list of what is paused.
    """

    due: int = 0
    returned: int = 0
    died: int = 0
    expired: int = 0
    orphaned: int = 0
    dropped: int = 0
    more: bool = False
    next_due_seconds: float | None = None
    next_room_seconds: float | None = None
    next_schedule_seconds: float | None = None
    pauses: int = 0


Topic = Literal["work", "due", "cancel", "change", "outcome", "lock", "schedule", "outgoing", "log", "pause"]


class Hint(msgspec.Struct, frozen=True):
    """Something happened that a listener may want to look at. Hints can be lost; nothing may depend on one.

    Attributes:
        topic: `work`: jobs became ready, or a limit has room for some that wait; `due`: a job was scheduled, or waits for a
            rate; `cancel`: a cancel was asked for; `change`: jobs were started, have said how far they are,
            or wait again; `outcome`: jobs ended; `lock`: it may be free; `schedule`: it was changed; `outgoing`:
            something is to be sent; `log`: events were appended; `pause`: it begins, is another one, or is over.
        names: Queues for work and due, job ids for cancel, change and outcome, locks, schedules, destinations, pauses. Empty:
            look at everything.
        stored: What the broker knows of some of these jobs that have ended, by their ids: who waits for one need not ask.
    """

    topic: Topic
    names: Sequence[str] = ()
    stored: Mapping[str, Stored] = {}
