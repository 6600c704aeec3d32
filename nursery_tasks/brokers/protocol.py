"""What a broker is: a state machine of plain, blocking, batch-shaped calls.

Each call is one atomic transition of the table in `model/states.py`: it happens completely, durably at the level that the
broker states, or not at all. No call waits for work to appear; every call may be made from any thread, and a broker makes
sure itself that two at a time do no harm. The async world calls in one place only, `brokers/gateway.py`.

A broker knows nothing of tasks, apps and event loops, and never looks into a payload.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ..errors import BrokerError, QueueFull
from ..model.delivery import (
    CancelAnswer,
    Delivery,
    Receipt,
    Renewal,
    Settlement,
    Stored,
    Submission,
    Swept,
    Topic,
)
from .common.subscription import Emit as Emit
from .common.subscription import Listener as Listener
from .parts import Admin, Ends, EventLog, Facts, Limits, Locks, Outbox, Parking, Pauses, Prefetch, Replies, Schedules, States
from .server import Postbox, Queues
from .steps import Steps

REPLIES_KEPT = 10_000  # for each name; then the oldest goes
REPLY_SECONDS = 86_400.0  # after the last one of a name; then all of them go
OWNED_GRACE_SECONDS = 10.0  # how long a job of a worker that died waits for the jobs that it owned to end
CLAIM_LOOKS = 500  # jobs without room in a limit that one claim looks at in each queue
CRASH_STEP = 1000  # submissions that a job stands further back for each worker that died while it ran it
SHARE_STEP = 1000.0  # the distance between two jobs of a share of weight 1: as far as a crash costs
PARKED_LOOKS = 100  # parked jobs of each queue and name that one claim looks at, the first of them


class Feature(StrEnum):
    """How a broker's calls may behave beyond the least; the contract suite leaves out, by name, what is not declared.

    What a broker can do beside these calls is no feature: it has a part for it.
    """

    DELAYS = "delays"
    PRIORITIES = "priorities"
    KEYS = "unique keys"
    PROGRESS = "progress"
    DURABLE = "durable storage"
    WORKFLOWS = "durable workflows"  # records, jobs as owners, and outcomes that are kept for them
    SHARED = "sharing between processes"
    ONCE = "delivery at most once"  # the start of such a job is its last, see `Submission.once`
    WINDOWS = "debounce and throttle"  # submissions that belong together in time
    PLACES = "places in line"  # a job that came back stands where it stood before
    BOUNDS = "bounded queues"  # `Submission.max_length`
    SHARES = "fair queues"  # `Submission.share`


@runtime_checkable
class Broker(Protocol):
    """The transitions of jobs, and the parts that a broker has beside them. Brokers inherit it, for the parts that they lack.

    Every method may raise `BrokerUnavailable` (unknown whether it took effect; repeating it is safe), `BrokerFull` (it did
    not) and `BrokerClosed`.
    """

    name: str  # for people and errors: the URL without secrets
    blocking: bool  # False: calls are so short that the gateway makes them on the loop
    features: frozenset[Feature]
    place: str = ""  # where the jobs are kept, in full, when the name may mean another place elsewhere: a path that is relative
    step: str = ""  # the next step of somebody who needs what another setting would give this broker
    look_seconds: float | None = None  # how often a worker at rest claims, to find what came without a hint; None: the usual

    admin: Admin | None = None
    limits: Limits | None = None
    locks: Locks | None = None
    replies: Replies | None = None
    outbox: Outbox | None = None
    states: States | None = None
    parking: Parking | None = None
    pauses: Pauses | None = None
    prefetch: Prefetch | None = None
    schedules: Schedules | None = None
    event_log: EventLog | None = None
    ends: Ends | None = None
    facts: Facts | None = None
    queues: Queues | None = None
    postbox: Postbox | None = None
    steps: Steps | None = None  # an event loop can carry its calls without a thread

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        """Store jobs, all in one step; durable when it returns.

        A job whose id is known, or whose task and key belong to a job that has not ended, is not stored; its receipt names the
        job that stands for it. Two equal ids in one batch count as a repetition.

        A job with an *owner* belongs to it until it ends: see `renew_owners`, and `settle` for owners that are deliveries. When
        a detached submission is a repetition, the job that stands for it becomes detached too, in the same step, unless it has
        ended: it was promised to somebody who is not its owner. An owned repetition leaves the job whose it is.

        With `Feature.WINDOWS` a submission with a `window` whose name is open is a repetition of the window's job, unless its
        id is known. Of a throttle it changes nothing, and its receipt names that job also when it has ended or is not known any
        more. A debounce is open while its job is scheduled and has not been due, and nothing else has moved it: then all of
        the submission takes the place of what was stored, but for the id, the owner, the moment when it was first submitted
        and the place in the order of submission; it is hinted at as `due`. What a submission with an owner that is gone says
        is nothing: it takes no place, and opens no window.

        With `Feature.BOUNDS`, a job whose `max_length` is reached by those that wait in its queue is refused, in the same step
        that stores the others of the batch: `QueueFull` by `refusal`. A repetition is not, whatever stands there, nor is a job
        that comes back.

        With `Feature.SHARES`, a job with a `share` takes a rank, which stands in place of its number in the order of
        submission, for good; `brokers/rules/shares.py` says which.

        With `Feature.WORKFLOWS` a submission with `ended` is stored as a job that has ended, and its outcome is hinted at.
        """
        ...

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        """Lease up to *limit* ready jobs: queue by queue in the order given; within one by priority, then by submission.

        Paused queues and jobs past their `expires` give nothing. A job that came back (retried, released, taken from a
        worker that died) keeps its place in the order of submission, where the broker has `Feature.PLACES`. Scheduled jobs wait
        for `sweep`, also when they are due.

        A job with *limits* is passed over while one of them has no room. It takes room in all of them, or in none: a place in
        each that counts what is held, until it is held no more; and one start in each that is a rate, which nothing gives
        back. A limit that rejects is looked at in the same way; the first without room, in the job's own order, makes the job
        `cancelled` for `no_room(name)`. One call looks at a bounded number of jobs without room, and hints at `work`
        when there are more.

        *names* are what the worker knows: in a broker with `parking`, jobs that are parked under one of them (`Released.park`)
        stand among the ready ones for this claim, in their places; of each queue and name the first `PARKED_LOOKS`. Only a
        broker with that part is given any.
        """
        ...

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Record what happened to deliveries. False: the token is stale, and nothing was changed.

        A retry or a release of a job that somebody asked to cancel makes it `cancelled`; an outcome wins over the cancel.

        An attempt counts from its `Started`, or from its `Finished` or `Retried` when no `Started` came before; `Released`
        takes it back. A second `Started` changes nothing and is True.

        Of a job that is delivered at most once (`Submission.once`, with `Feature.ONCE`) a start is final. What would bring it
        back from there makes it `dead`: a lost lease, a `Retried`, a `Released` after its `Started`. A cancel still wins.

        The reply of a `Finished` goes to its list in the same step: never without the outcome, and never twice. A list keeps
        the newest `REPLIES_KEPT`, each for `REPLY_SECONDS`, or as long as its last one. A broker without `replies` drops them.
        Its outgoing messages are put at the ends of their lines in the outbox, in the same way, and stay until they are dropped
        there.

        In the same step as a `Finished`, `Retried` or `Released`, the jobs that have not ended and whose owner is this
        delivery's token are cancelled, as by `cancel(ids, OWNER_ENDED)`. In that of a `Finished` so are those whose owner is
        the job itself (`job_owner`), and its lease is let go. Where they are thousands, a broker may leave some of them to
        `sweep`, as it may in `renew_owners`: no call takes longer than its callers can wait.

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

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
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

        With `pauses`, after the due jobs those become ready that are parked for a pause that is over.

        Rates that have room again for jobs that wait are hinted at as `work`. Locks whose lease is over are free. Windows
        that are over are forgotten.
        """
        ...

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        """Call *emit* for what happens, from any thread, in any process, until the listener is closed. Hints may get lost.

        *emit* is quick and does not raise. It may look at the broker: what a hint is about can be read when the hint comes.
        A hint may say what is stored of jobs that have ended, as `outcomes` would; who listens need not ask then.
        """
        ...

    def close(self) -> None:
        """Give back files, sockets and threads. Later calls raise `BrokerClosed`; closing again does nothing."""
        ...


def refusal(answers: Sequence[object]) -> BrokerError:
    """Return what to raise for a batch of which some items were refused, and the rest done: the first error, with all answers.

    `submit` and `settle` may do so instead of refusing all.
    """
    first = next(answer for answer in answers if isinstance(answer, BrokerError))
    first.answers = tuple(answers) if len(answers) > 1 else None
    return first


def receipts_of(answers: Sequence[Receipt | QueueFull]) -> list[Receipt]:
    """Return the receipts of a batch, or raise the `refusal` where some of its jobs found no room."""
    receipts = [answer for answer in answers if isinstance(answer, Receipt)]
    if len(receipts) < len(answers):
        raise refusal(answers)
    return receipts


def is_of_an_item(error: Exception) -> bool:
    """Say whether a batch was refused for something in it, so that others' items may go through; False: it is the broker.

    Nor is it that where the error says itself which items it is about.
    """
    return error.refused and error.answers is None if isinstance(error, BrokerError) else True
