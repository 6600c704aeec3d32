"""The smallest broker that keeps the contract: one list of jobs in memory, looked through from the start at each call.

It declares no features and has no parts, so it has no delays, priorities, keys, listings or locks, and whoever needs one is
told. Run this file to see what the contract suite says of it: what it keeps, and by name what it leaves out.

A package that brings it says so in its pyproject.toml; then `toy:` is a broker's URL, on the command line, too:

    [project.entry-points."nursery_tasks.brokers"]
    toy = "toy_broker:open_toy"
"""

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import RLock

from nursery_tasks.brokers.protocol import CRASH_STEP, OWNED_GRACE_SECONDS, Broker, Emit, Feature, Listener
from nursery_tasks.errors import BrokerClosed
from nursery_tasks.model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
    Hint,
    LeaseState,
    Progressed,
    Receipt,
    Released,
    Renewal,
    Retried,
    Settlement,
    Started,
    Stored,
    Submission,
    Swept,
    Topic,
    Unresponsive,
)
from nursery_tasks.model.reasons import OWNER_ENDED, OWNER_GONE, pack_cancelled, pack_dead, pack_expired
from nursery_tasks.model.states import JobState


@dataclass
class Entry:
    job: Submission
    expires_at: float
    submitted_at: float
    ready_at: float
    owner: bytes | None
    state: JobState = JobState.READY
    attempts: int = 0
    crashes: int = 0
    lapses: int = 0
    token: bytes = b""
    worker: str = ""
    lease_until: float = 0.0
    cancelled: bool = False
    reason: str | None = None
    unresponsive: bool = False
    failure: bytes | None = None
    outcome: bytes | None = None
    drop_at: float = 0.0

    def is_late(self, now: float) -> bool:
        return self.state is JobState.READY and not self.attempts and not self.crashes and now >= self.expires_at


class Ear:
    def __init__(self, ears: list["Ear"], topics: Sequence[Topic], emit: Emit) -> None:
        self.ears, self.topics, self.emit = ears, topics, emit
        ears.append(self)

    def close(self) -> None:
        if self in self.ears:
            self.ears.remove(self)


class ToyBroker(Broker):
    name = "toy:"
    blocking = False
    features: frozenset[Feature] = frozenset()

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock, self.lock, self.closed = clock, RLock(), False
        self.entries: dict[str, Entry] = {}  # in the order of submission
        self.owners: dict[bytes, float] = {}  # owner -> when its lease is over
        self.ears: list[Ear] = []

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        with self.lock:
            now, receipts = self.now(), []
            for job in jobs:
                if job.owner is not None and job.owner_seconds > 0:
                    self.owners[job.owner] = max(self.owners.get(job.owner, 0.0), now + job.owner_seconds)
                receipts.append(Receipt(job.id, job.id not in self.entries))
                if receipts[-1].created:
                    self.store(job, now)
                elif job.owner is None:
                    self.entries[job.id].owner = None
            return receipts

    def store(self, job: Submission, now: float) -> None:
        until = float("inf") if job.expires_seconds is None else now + job.expires_seconds
        self.entries[job.id] = Entry(job, until, now, now, job.owner)
        holders = [entry.token for entry in self.entries.values() if entry.token]
        if job.owner is not None and job.owner_seconds <= 0 and job.owner not in holders:
            self.cancel_one(self.entries[job.id], OWNER_GONE, now)
        else:
            self.tell("work", job.queue)

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        with self.lock:
            now = self.now()
            line = [
                (place + CRASH_STEP * entry.crashes, entry)
                for place, entry in enumerate(self.entries.values())
                if entry.state is JobState.READY and not entry.is_late(now)
            ]
            ready = [entry for _, entry in sorted(line, key=lambda standing: standing[0])]
            taken = [entry for queue in queues for entry in ready if entry.job.queue == queue][:limit]
            return [self.lease(entry, worker, now, lease_seconds) for entry in taken]

    def lease(self, entry: Entry, worker: str, now: float, lease_seconds: float) -> Delivery:
        entry.state, entry.token, entry.worker = JobState.CLAIMED, os.urandom(16), worker
        entry.lease_until = now + lease_seconds
        job, first = entry.job, entry.job.expires_seconds is not None and not entry.attempts and not entry.crashes
        return Delivery(
            job.id,
            job.queue,
            job.task,
            job.payload,
            entry.token,
            attempt=entry.attempts + 1,
            crashes=entry.crashes,
            lapses=entry.lapses,
            expires_in_seconds=entry.expires_at - now if first else None,
            age_seconds=now - entry.submitted_at,
            owned=entry.owner is not None,
            waited_seconds=now - entry.ready_at,
            raw=job.raw,
        )

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        if any(isinstance(settlement, Finished) and not settlement.state.ended for settlement in settlements):
            raise ValueError("a job cannot end in a state that is no end")
        with self.lock:
            now = self.now()
            answers = [self.settle_one(settlement, now) for settlement in settlements]
            for settlement, done in zip(settlements, answers, strict=True):
                if done and isinstance(settlement, Finished | Retried | Released):
                    self.cancel_owned([settlement.delivery.token], OWNER_ENDED, now)
            return answers

    def settle_one(self, settlement: Settlement, now: float) -> bool:
        entry = self.held(settlement.delivery)
        if entry is None:
            return False
        if isinstance(settlement, Unresponsive):
            entry.unresponsive = True
            self.tell("outcome", entry.job.id)
        elif isinstance(settlement, Released):
            entry.attempts -= entry.state is JobState.STARTED
            self.give_back(entry, now)
        elif not isinstance(settlement, Progressed):
            entry.attempts += entry.state is JobState.CLAIMED
            entry.state = JobState.STARTED
            if isinstance(settlement, Finished):
                self.end(entry, settlement.state, settlement.outcome, now)
            elif isinstance(settlement, Retried):
                entry.failure = settlement.failure
                self.give_back(entry, now)
            else:
                assert isinstance(settlement, Started)
        return True

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        with self.lock:
            now, renewals = self.now(), []
            for delivery in deliveries:
                entry = self.held(delivery)
                if entry is None:
                    renewals.append(Renewal(LeaseState.LOST))
                    continue
                entry.lease_until = now + lease_seconds
                state = LeaseState.CANCEL if entry.cancelled else LeaseState.HELD
                renewals.append(Renewal(state, entry.reason))
            return renewals

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        with self.lock:
            return [self.cancel_one(self.find(job_id, owner), reason or None, self.now()) for job_id in ids]

    def find(self, job_id: str, owner: bytes | None) -> Entry | None:
        entry = self.entries.get(job_id)
        return entry if owner is None or entry in self.owned(owner) else None

    def cancel_one(self, entry: Entry | None, reason: str | None, now: float) -> CancelAnswer:
        if entry is None:
            return CancelAnswer.UNKNOWN
        if entry.state.ended:
            return CancelAnswer.FINISHED
        if not entry.cancelled:
            entry.cancelled, entry.reason = True, reason
        if entry.token:
            self.tell("cancel", entry.job.id)
            return CancelAnswer.REQUESTED
        self.give_back(entry, now)
        return CancelAnswer.CANCELLED

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        with self.lock:
            now = self.now()
            answers = [owner in self.owners for owner in owners]
            held = [owner for owner in owners if owner in self.owners]
            if lease_seconds > 0:
                self.owners.update(dict.fromkeys(held, now + lease_seconds))
            else:
                self.cancel_owned(held, OWNER_GONE, now)
                self.owners = {owner: until for owner, until in self.owners.items() if owner not in held}
            return answers

    def owned(self, owner: bytes) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.owner == owner and not entry.state.ended]

    def cancel_owned(self, owners: Sequence[bytes], reason: str, now: float) -> int:
        left = [entry for owner in owners for entry in self.owned(owner) if not entry.cancelled]
        for entry in left:
            self.cancel_one(entry, reason, now)
        return len(left)

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        with self.lock:
            self.now()
            found = [self.entries.get(job_id) for job_id in ids]
            return [Stored(entry.state, entry.outcome, entry.unresponsive) if entry else None for entry in found]

    def sweep(self, limit: int) -> Swept:
        with self.lock:
            now = self.now()
            gone = [owner for owner, until in self.owners.items() if now >= until]
            self.owners = {owner: until for owner, until in self.owners.items() if owner not in gone}
            orphaned = self.cancel_owned(gone, OWNER_GONE, now)
            everything = list(self.entries.values())
            lost = [entry for entry in everything if entry.token and now >= entry.lease_until]
            orphaned += self.cancel_owned([entry.token for entry in lost], OWNER_ENDED, now)
            late = [entry for entry in everything if entry.is_late(now)][:limit]
            lost = [entry for entry in lost if not self.owned(entry.token) or self.has_waited(entry, now)][:limit]
            old = [entry for entry in everything if entry.state.ended and now >= entry.drop_at][:limit]
            for entry in late:
                self.end(entry, JobState.EXPIRED, pack_expired(now), now)
            for entry in lost:
                self.take_back(entry, now)
            for entry in old:
                del self.entries[entry.job.id]
            died = sum(entry.state is JobState.DEAD for entry in lost)
            counts = {"expired": len(late), "orphaned": orphaned, "dropped": len(old)}
            more = max(len(lost), *counts.values()) >= limit
            return Swept(returned=len(lost) - died, died=died, more=more, **counts)

    def has_waited(self, entry: Entry, now: float) -> bool:
        return now >= entry.lease_until + OWNED_GRACE_SECONDS

    def take_back(self, entry: Entry, now: float) -> None:
        started = entry.state is JobState.STARTED
        entry.lapses += 1
        entry.crashes += started
        if started and not entry.cancelled and entry.crashes >= entry.job.max_crashes:
            outcome = pack_dead(entry.crashes, entry.attempts, entry.worker, now, entry.failure)
            self.end(entry, JobState.DEAD, outcome, now)
        else:
            self.give_back(entry, now)

    def give_back(self, entry: Entry, now: float) -> None:
        if entry.cancelled:
            outcome = pack_cancelled(entry.reason, entry.attempts, entry.worker, now)
            self.end(entry, JobState.CANCELLED, outcome, now)
        else:
            entry.state, entry.token, entry.ready_at, entry.unresponsive = JobState.READY, b"", now, False
            self.tell("work", entry.job.queue)

    def end(self, entry: Entry, state: JobState, outcome: bytes, now: float) -> None:
        entry.state, entry.token, entry.outcome, entry.unresponsive = state, b"", outcome, False
        entry.drop_at = now + entry.job.keep_seconds_after(state)
        self.tell("outcome", entry.job.id)

    def held(self, delivery: Delivery) -> Entry | None:
        entry = self.entries.get(delivery.id)
        return entry if entry and entry.token and entry.token == delivery.token else None

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        with self.lock:
            self.now()
            return Ear(self.ears, topics, emit)

    def tell(self, topic: Topic, name: str) -> None:
        for ear in list(self.ears):
            if topic in ear.topics:
                ear.emit(Hint(topic, (name,)))

    def now(self) -> float:
        if self.closed:
            raise BrokerClosed(self.name)
        return self.clock()

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.ears.clear()


def open_toy(url: str) -> Broker:
    return ToyBroker()


def main() -> None:
    from nursery_tasks.testing.contract import ContractHarness, ManualClock, run_contract

    def new_harness() -> ContractHarness:
        clock = ManualClock()

        return ContractHarness(lambda: ToyBroker(clock), clock=clock)

    report = run_contract(new_harness)
    print(report)
    report.raise_if_broken()


if __name__ == "__main__":
    main()
