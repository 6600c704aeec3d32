"""Two brokers that get the same calls and must give the same answers: the memory broker, and the one under test.

Tokens, addresses and cursors are each broker's own; everything else is compared, after each call and as a whole. A broker
that can do less is compared by what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import msgspec

from ...brokers.memory import MemoryBroker
from ...brokers.needed import admin_of, limits_of, locks_of, outbox_of, pauses_of, schedules_of
from ...brokers.parts import Admin
from ...brokers.protocol import Broker
from ...errors import QueueFull
from ...model.delivery import CancelAnswer, Delivery, Receipt, Renewal, Settlement, Stored, Submission, Swept
from ...model.listing import JobFilter, JobRecord, LimitRecord, LockRecord, QueueRecord, WorkerRecord
from ...model.outgoing import OutboxRecord, Outgoing
from ...model.pauses import PauseRecord
from ...model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from ...model.states import JobState
from .harness import ContractHarness, Part

T = TypeVar("T")

Pair = tuple[Delivery, Delivery]  # the same job, leased by the oracle and by the subject
Settle = Callable[[Delivery], Settlement]
EVERYTHING = JobFilter()


class Twins:
    """Makes each call twice and compares.

    Args:
        harness: Opens the broker under test; its clock moves both.
    """

    def __init__(self, harness: ContractHarness) -> None:
        self._harness = harness
        self._subject = harness.open()
        self.oracle = MemoryBroker(clock=harness.now)
        self.abilities = harness.abilities
        self._tokens: dict[int, int] = {}  # of locks: the oracle's -> the subject's
        self._versions: dict[str, dict[int, int]] = {}  # of schedules: name -> the oracle's -> the subject's

    @property
    def subject(self) -> Broker:
        return self._subject

    def close(self) -> None:
        self.oracle.close()
        self._harness.close()

    def reopen(self) -> None:
        """Close the subject and open it again on what it has stored."""
        self._subject = self._harness.reopen()

    def now(self) -> float:
        return self._harness.now()

    def advance(self, seconds: float) -> None:
        self._harness.advance(seconds)

    # --- calls ------------------------------------------------------------------------------------

    def submit(self, jobs: Sequence[tuple[Submission, Pair | None]]) -> list[Receipt | None]:
        """Submit jobs, each with the delivery that owns it, if one does. None: there is no room for it."""
        ours, theirs = ([_owned_by(job, pair and pair[side]) for job, pair in jobs] for side in (0, 1))
        return _compare("submit", _submit(self.oracle, ours), _submit(self._subject, theirs))

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Pair]:
        known: dict[str, Any] = {"names": names} if Part.PARKING in self.abilities else {}
        ours = self.oracle.claim(queues, limit, worker, lease_seconds, **known)
        theirs = self._subject.claim(queues, limit, worker, lease_seconds, **known)
        _compare("claim", [_public(delivery) for delivery in ours], [_public(delivery) for delivery in theirs])
        return list(zip(ours, theirs, strict=True))

    def settle(self, items: Sequence[tuple[Settle, Pair]]) -> list[bool]:
        ours = self.oracle.settle([settlement(pair[0]) for settlement, pair in items])
        theirs = self._subject.settle([settlement(pair[1]) for settlement, pair in items])
        return _compare("settle", ours, theirs)

    def renew(self, pairs: Sequence[Pair], lease_seconds: float) -> list[Renewal]:
        ours = self.oracle.renew([pair[0] for pair in pairs], lease_seconds)
        theirs = self._subject.renew([pair[1] for pair in pairs], lease_seconds)
        return _compare("renew", ours, theirs)

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | Pair | None = None) -> list[CancelAnswer]:
        ours, theirs = (each.token for each in owner) if isinstance(owner, tuple) else (owner, owner)
        return _compare("cancel", self.oracle.cancel(ids, reason, ours), self._subject.cancel(ids, reason, theirs))

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        return self._same("renew_owners", lambda broker: broker.renew_owners(owners, lease_seconds))

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        return self._same("outcomes", lambda broker: broker.outcomes(ids))

    def sweep(self, limit: int) -> Swept:
        """Sweep each; the versions of what is paused are their own, and those of the lists."""

        def sweep(broker: Broker) -> Swept:
            swept = broker.sweep(limit)
            version = 0 if broker.pauses is None else broker.pauses.list_pauses().version
            if swept.pauses != version:
                raise AssertionError(f"a sweep must tell of version {version} of what is paused, not {swept.pauses}")
            return msgspec.structs.replace(swept, pauses=0)

        return self._same("sweep", sweep)

    def sweep_until_idle(self, limit: int) -> None:
        """Sweep each until it finds nothing more to do: for brokers that keep a limit only about."""
        totals = [_sweep_until_idle(broker, limit) for broker in (self.oracle, self._subject)]
        _compare("sweeping until nothing is left", *totals)

    def purge(self, queue: str, states: frozenset[JobState], limit: int) -> int:
        return self._same_for_people("purge", lambda people: people.purge(queue, states, limit))

    def pause(self, queue: str) -> None:
        self._same_for_people("pause", lambda people: people.pause(queue))

    def resume(self, queue: str) -> None:
        self._same_for_people("resume", lambda people: people.resume(queue))

    def pause_task(self, pause: PauseRecord) -> None:
        self._same("pause_task", lambda broker: pauses_of(broker).pause_task(pause))

    def resume_task(self, name: str) -> bool:
        return self._same("resume_task", lambda broker: pauses_of(broker).resume_task(name))

    def requeue(self, ids: Sequence[str]) -> list[bool]:
        return self._same_for_people("requeue", lambda people: people.requeue(ids))

    def beat(self, worker: WorkerRecord, ttl_seconds: float) -> None:
        self._same_for_people("beat", lambda people: people.beat(worker, ttl_seconds))

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        """Take a lock; returns the subject's token."""
        ours = locks_of(self.oracle).lock(name, holder, lease_seconds, wait)
        theirs = locks_of(self._subject).lock(name, holder, lease_seconds, wait)
        _compare("lock", ours > 0, theirs > 0)
        if ours:
            before = self._tokens.setdefault(ours, theirs)
            if before != theirs or (theirs < max(self._tokens.values()) and ours == max(self._tokens)):
                raise AssertionError(f"lock: the token of a holder stays, and each new one is the greatest; {theirs} is not")
        return theirs

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        return self._same("relock", lambda broker: locks_of(broker).relock(holds, lease_seconds))

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        return self._same("unlock", lambda broker: locks_of(broker).unlock(holds))

    def fire(self, change: ScheduleChange, jobs: Sequence[tuple[Submission, Pair | None]]) -> list[Receipt] | None:
        """Change a schedule and submit jobs, each with the delivery that owns it, if one does.

        Args:
            change: With the oracle's version.
        """
        versions = change.version, self._versions.get(change.name, {}).get(change.version, change.version)
        changes = [
            msgspec.structs.replace(
                change, version=versions[side], jobs=tuple(_owned_by(job, pair and pair[side]) for job, pair in jobs)
            )
            for side in (0, 1)
        ]
        ours, subject = schedules_of(self.oracle).fire(changes[0]), schedules_of(self._subject)
        if jobs or not change.body:
            return _compare("fire", ours, subject.fire(changes[1]))
        [made] = subject.change_schedules(changes[1:])  # the same, among several
        return _compare("change_schedules", ours, [] if made else None)

    def put_outgoing(self, items: Sequence[Outgoing]) -> None:
        self._same("put_outgoing", lambda broker: outbox_of(broker).put_outgoing(items))

    def send_outgoing(self, destination: str, limit: int) -> list[bytes]:
        """Take what is to be sent, as a forwarder does: look, and then drop what was seen."""

        def send(broker: Broker) -> list[bytes]:
            found = outbox_of(broker).next_outgoing(destination, limit)
            dropped = outbox_of(broker).drop_outgoing(destination, found[-1][0] if found else 0)
            if dropped != len(found):
                raise AssertionError(f"{dropped} were dropped up to the last of {found}")
            return [body for _, body in found]

        return self._same("next_outgoing", send)

    # --- looks ------------------------------------------------------------------------------------

    def jobs(
        self, wanted: JobFilter = EVERYTHING, limit: int = 10_000, after: str | None = None, newest_first: bool = False
    ) -> list[JobRecord]:
        """List jobs, those after the job *after*; return the subject's records."""
        found = [_list_after(broker, wanted, limit, after, newest_first) for broker in (self.oracle, self._subject)]
        _compare("jobs", *([_without_cursor(record) for record in records] for records in found))
        return found[1]

    def queues(self) -> list[QueueRecord]:
        return self._same_for_people("queues", lambda people: [_without_zeros(queue) for queue in people.list_queues()])

    def workers(self) -> list[WorkerRecord]:
        return self._same_for_people("workers", lambda people: people.list_workers())

    def limits(self) -> list[LimitRecord]:
        return self._same("limits", lambda broker: limits_of(broker).list_limits(100))

    def locks(self) -> list[LockRecord]:
        """Compare the locks; the subject's tokens are its own."""
        ours = locks_of(self.oracle).list_locks(100)
        known = [msgspec.structs.replace(each, token=self._tokens.get(each.token, 0)) for each in ours]
        return _compare("locks", known, locks_of(self._subject).list_locks(100))

    def pauses(self) -> list[PauseRecord]:
        return self._same("list_pauses", lambda broker: list(pauses_of(broker).list_pauses().records))

    def schedules(self) -> list[ScheduleRow]:
        """Compare the schedules, as they are listed and found; return the oracle's, whose versions are its own."""
        ours, theirs = (schedules_of(broker).list_schedules(100) for broker in (self.oracle, self._subject))
        _compare("list_schedules", *([_without_version(row) for row in rows] for rows in (ours, theirs)))
        for row, other in zip(ours, theirs, strict=True):
            known = self._versions.setdefault(row.name, {})
            if known.setdefault(row.version, other.version) != other.version or len({*known.values()}) < len(known):
                raise AssertionError(f"the versions of {row.name!r} must change with each change and never come back: {known}")
        found = schedules_of(self._subject).find_schedules([*(row.name for row in theirs), "nobody"])
        _compare("find_schedules", [*theirs, None], found)
        return ours

    def look_at_schedules(self, limit: int) -> ScheduleLook:
        def look(broker: Broker) -> ScheduleLook:
            found = schedules_of(broker).look_at_schedules(limit)
            return msgspec.structs.replace(found, rows=[_without_version(row) for row in found.rows])

        return self._same("look_at_schedules", look)

    def outboxes(self) -> list[OutboxRecord]:
        return self._same("list_outboxes", lambda broker: outbox_of(broker).list_outboxes(100))

    def compare_all(self, ids: Sequence[str]) -> None:
        """Compare everything that can be seen of the two; *ids* are those that were ever submitted."""
        self.outcomes(ids)
        if Part.ADMIN in self.abilities:
            cursors = [record.cursor for record in self.jobs()]
            if cursors != sorted(set(cursors)) or min(cursors, default=1) < 1:
                raise AssertionError(f"cursors must grow from above 0, not {cursors}")
            self.queues()
            self.workers()
        if Part.LIMITS in self.abilities:
            self.limits()
        if Part.LOCKS in self.abilities:
            self.locks()
        if Part.PAUSES in self.abilities:
            self.pauses()
        if Part.SCHEDULES in self.abilities:
            self.schedules()
        if Part.OUTBOX in self.abilities:
            self.outboxes()

    def _same(self, call: str, make: Callable[[Broker], T]) -> T:
        return _compare(call, make(self.oracle), make(self._subject))

    def _same_for_people(self, call: str, make: Callable[[Admin], T]) -> T:
        return self._same(call, lambda broker: make(admin_of(broker)))


def _compare(call: str, ours: T, theirs: T) -> T:
    if ours != theirs:
        raise AssertionError(f"{call}: the memory broker says\n  {ours!r}\nand the broker under test\n  {theirs!r}")
    return theirs


def _submit(broker: Broker, jobs: Sequence[Submission]) -> list[Receipt | None]:
    try:
        return list[Receipt | None](broker.submit(jobs))
    except QueueFull as full:
        return [answer if isinstance(answer, Receipt) else None for answer in full.answers or [full]]


def _public(delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, token=b"", address=None)


def _without_cursor(record: JobRecord) -> JobRecord:
    return msgspec.structs.replace(record, cursor=0)


def _without_version(row: ScheduleRow) -> ScheduleRow:
    return msgspec.structs.replace(row, version=0)


def _without_zeros(queue: QueueRecord) -> QueueRecord:
    return msgspec.structs.replace(queue, counts={state: count for state, count in queue.counts.items() if count})


def _owned_by(job: Submission, delivery: Delivery | None) -> Submission:
    return job if delivery is None else msgspec.structs.replace(job, owner=delivery.token, owner_seconds=0.0)


def _list_after(broker: Broker, wanted: JobFilter, limit: int, after: str | None, newest_first: bool) -> list[JobRecord]:
    people = admin_of(broker)
    found = people.job(after) if after is not None else None
    return people.list_jobs(wanted, limit, found.cursor if found else 0, newest_first)


def _sweep_until_idle(broker: Broker, limit: int) -> dict[str, int]:
    totals = {"due": 0, "returned": 0, "died": 0, "expired": 0, "orphaned": 0, "dropped": 0}
    while True:
        swept = broker.sweep(limit)
        done = {kind: getattr(swept, kind) for kind in totals}
        if not any(done.values()):
            return totals
        for kind, count in done.items():
            totals[kind] += count
