"""A Hypothesis machine that drives a broker beside the memory broker, with the same calls in every order.

    class MyMachine(BrokerMachine):
        def new_harness(self) -> ContractHarness:
            clock = ManualClock()
            return ContractHarness(lambda: MyBroker(clock=clock), clock=clock)

    TestMyBroker = MyMachine.TestCase

Ids, keys, queues and durations come from small sets, so that repetitions and coincidences are the rule. After each step
the machine compares all that can be seen of the two brokers and checks what must always hold: only legal moves, no job in
two hands, no job that counts as held and has no holder.

Needs the package `hypothesis`; the package around this module does not import it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from ...brokers.needed import admin_of
from ...brokers.protocol import Feature
from ...model.delivery import LeaseState, Receipt, Submission
from ...model.limits import Limit
from ...model.listing import JobFilter, WorkerRecord
from ...model.outgoing import Outgoing
from ...model.pauses import PauseRecord
from ...model.schedule import ScheduleChange
from ...model.states import ENDED, HELD, MOVES, WAITING, JobState
from .harness import ContractHarness, Part
from .samples import (
    OUTGOING,
    OWNERS,
    QUEUES,
    Plan,
    Wish,
    Word,
    filters,
    leases,
    limits,
    lock_calls,
    names,
    orders,
    owner_leases,
    picks,
    plans,
    sweep_limits,
    times,
    which_ids,
    which_owners,
    wishes,
    words,
    worker_records,
)
from .steps import expect
from .twins import Pair, Twins

BY_HAND = ["pause", "resume", "resume", "purge", "requeue", "requeue", "pause task", "resume task"]


class BrokerMachine(RuleBasedStateMachine):
    """Derive from it, say how the broker is opened, and run the class's `TestCase`.

    Attributes:
        exact_sweeps: Whether a sweep does exactly as much as its limit says, in the order of time; False compares only what
            many sweeps do together.
        pairs: All deliveries so far, also those that are stale.
        ids: All job ids so far.
        holders: Job id -> the delivery that holds it.
        states: Job id -> where the job was after the last step.
        submitted: Job id -> what was said of it when it was stored, or took the place of what was.
        said: Payload -> the submission that it is of.
        versions: Schedule -> all versions that the oracle has given it; None at the end: it was removed.
        turns: Ordering key -> the job of it that was claimed last, until it has ended.
    """

    exact_sweeps = True

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins(self.new_harness())
        self.pairs: list[Pair] = []
        self.ids: list[str] = []
        self.holders: dict[str, Pair] = {}
        self.states: dict[str, JobState] = {}
        self.submitted: dict[str, Submission] = {}
        self.said: dict[bytes, Submission] = {}
        self.versions: dict[str, list[int | None]] = {}
        self.turns: dict[str, str] = {}

    def new_harness(self) -> ContractHarness:
        """Return a harness with an empty broker on a clock of its own."""
        raise NotImplementedError

    def teardown(self) -> None:
        self.twins.close()

    # Hypothesis leaves some of the rules out of each run, and takes the others as often as it likes. With one rule per call
    # most runs had no claim at all, or no sweep. So two rules do a round of everything, of which each part may be empty.

    @initialize(batch=st.lists(wishes, min_size=2, max_size=6))
    def begin(self, batch: list[Wish]) -> None:
        self.submit(batch)

    @rule(
        batch=st.lists(wishes, max_size=4),
        queues=orders,
        limit=limits,
        lease_seconds=leases,
        known=names,
        said=st.lists(st.lists(words, max_size=3), max_size=4),
    )
    def work(
        self,
        batch: list[Wish],
        queues: list[str],
        limit: int,
        lease_seconds: float,
        known: list[str],
        said: list[list[Word]],
    ) -> None:
        """Submit some, claim some, and say something of the first of these."""
        self.submit(batch)
        pairs = self.claim(queues, limit, lease_seconds, known)
        self.settle([(word, pair) for pair, each in zip(pairs, said, strict=False) for word in each])

    @rule(batch=st.lists(wishes, min_size=1, max_size=3), pick=picks, lease_seconds=leases)
    def await_some(self, batch: list[Wish], pick: tuple[bool, int], lease_seconds: float) -> None:
        """Let a job submit some that it owns, and claim what there is."""
        self.submit([replace(wish, awaited_by=pick) for wish in batch])
        self.claim(QUEUES, 100, lease_seconds)

    @rule(seconds=times, limit=sweep_limits, queues=orders, word=words, pick=picks, known=names)
    def pass_time(
        self, seconds: float, limit: int, queues: list[str], word: Word, pick: tuple[bool, int], known: list[str]
    ) -> None:
        """Let time pass, sweep, say something of an old delivery, and claim what there is."""
        self.twins.advance(seconds)
        self.sweep(limit)
        self.settle([(word, pair) for pair in self._pick(pick)])
        self.claim(queues, 100, 15.0, known)

    @rule(batch=st.lists(st.tuples(words, picks), min_size=1, max_size=4))
    def settle_some(self, batch: list[tuple[Word, tuple[bool, int]]]) -> None:
        self.settle([(word, pair) for word, pick in batch for pair in self._pick(pick)])

    @rule(which=st.lists(picks, min_size=1, max_size=4), lease_seconds=leases)
    def renew_some(self, which: list[tuple[bool, int]], lease_seconds: float) -> None:
        self.renew([pair for pick in which for pair in self._pick(pick)], lease_seconds)

    @rule(which=which_ids, reason=st.sampled_from([None, "", "first", "second"]))
    def cancel_some(self, which: list[int], reason: str | None) -> None:
        self.cancel(self._name(which), reason)

    @rule(which=which_ids, owner=st.one_of(st.sampled_from(OWNERS), picks))
    def cancel_some_of_an_owner(self, which: list[int], owner: bytes | tuple[bool, int]) -> None:
        """Cancel some jobs if they belong to a lease, or to a delivery."""
        for each in [owner] if isinstance(owner, bytes) else self._pick(owner):
            self.cancel(self._name(which), "of an owner", each)

    @rule(owners=which_owners, lease_seconds=owner_leases)
    def hold_some(self, owners: list[bytes], lease_seconds: float) -> None:
        self.renew_owners(owners, lease_seconds)

    @rule(seconds=times, limit=sweep_limits)
    def only_pass_time(self, seconds: float, limit: int) -> None:
        self.twins.advance(seconds)
        self.sweep(limit)

    @rule(what=st.sampled_from(BY_HAND), data=st.data())
    def change_by_hand(self, what: str, data: st.DataObject) -> None:
        """Do what people do, as far as the broker has it."""
        if Part.ADMIN not in self.twins.abilities:
            return
        if what in ("pause task", "resume task"):
            if Part.PAUSES in self.twins.abilities:
                pause = PauseRecord(task="t1", where=data.draw(st.sampled_from([{}, {"x": "1"}])), note="by hand")
                self.twins.pause_task(pause) if what == "pause task" else self.twins.resume_task(pause.name)
        elif what in ("pause", "resume"):
            queue = data.draw(st.sampled_from(QUEUES))
            self.twins.pause(queue) if what == "pause" else self.twins.resume(queue)
        elif what == "purge":
            states = data.draw(st.frozensets(st.sampled_from(sorted(WAITING | ENDED)), min_size=1, max_size=3))
            self.purge(data.draw(st.sampled_from(QUEUES)), states, data.draw(limits))
        else:
            self.requeue(self._name(data.draw(which_ids)))

    @rule(calls=st.lists(lock_calls, min_size=1, max_size=4))
    def use_locks(self, calls: list[tuple[str, str, bytes, float, bool]]) -> None:
        """Take locks, keep them and give them back."""
        if Part.LOCKS in self.twins.abilities:
            for call, name, holder, lease_seconds, wait in calls:
                if call == "lock":
                    self.twins.lock(name, holder, lease_seconds, wait)
                elif call == "relock":
                    self.twins.relock([(name, holder)], lease_seconds)
                else:
                    self.twins.unlock([(name, holder)])

    @rule(plan=plans, batch=st.lists(wishes, max_size=3), limit=limits, queues=orders)
    def use_schedules(self, plan: Plan, batch: list[Wish], limit: int, queues: list[str]) -> None:
        """Change a schedule, with jobs or without, look which are due, and claim some."""
        if Part.SCHEDULES in self.twins.abilities:
            self.fire(plan, batch)
            self.twins.look_at_schedules(limit)
            self.claim(queues, limit, 15.0)

    @rule(items=st.sampled_from(OUTGOING), destination=st.sampled_from(["o1", "o2"]), limit=limits)
    def use_the_outbox(self, items: tuple[Outgoing, ...], destination: str, limit: int) -> None:
        """Put messages into the outbox, and take some out as if they were sent."""
        if Part.OUTBOX in self.twins.abilities:
            self.twins.put_outgoing(items)
            self.twins.send_outgoing(destination, limit)

    @rule(wanted=filters, limit=limits, after=which_ids, newest_first=st.booleans(), worker=worker_records, ttl=leases)
    def look_around(
        self, wanted: JobFilter, limit: int, after: list[int], newest_first: bool, worker: WorkerRecord, ttl: float
    ) -> None:
        """List some jobs; a worker says that it lives, or that it goes; open the broker again."""
        if Part.ADMIN in self.twins.abilities:
            self.twins.jobs(wanted, limit, self._name(after)[0], newest_first)
            self.twins.beat(worker, ttl if worker.slots else 0.0)
        if Feature.DURABLE in self.twins.abilities and limit == 1:
            self.twins.reopen()

    # --- calls, and what must be true of their answers --------------------------------------------

    def submit(self, batch: list[Wish]) -> None:
        jobs = [self._fulfil(wish) for wish in batch]
        self._note([job for job, _ in jobs], self.twins.submit(jobs))

    def fire(self, plan: Plan, batch: list[Wish]) -> None:
        jobs = [(structs.replace(job, max_length=0), owner) for job, owner in map(self._fulfil, batch)]
        version = self._version_of(plan)
        versions = self.versions.setdefault(plan.name, [])
        current = versions[-1] if versions else None
        look_at = None if plan.look_after is None else self.twins.now() + plan.look_after
        receipts = self.twins.fire(ScheduleChange(plan.name, version, look_at, plan.body), jobs)
        expect((receipts is not None) == (version == (current or 0)), f"{plan} from {version} of {versions} got {receipts}")
        if receipts is None:
            self._look()  # nothing new
            return
        rows = {row.name: row for row in self.twins.schedules()}
        expect((plan.name in rows) == (plan.body is not None), f"after {plan} there is {rows.get(plan.name)}")
        if plan.body is None:
            versions.append(None)
        else:
            versions.append(rows[plan.name].version)
        self._note([job for job, _ in jobs], receipts)

    def _version_of(self, plan: Plan) -> int:
        versions = self.versions.get(plan.name, [])
        if plan.version == "current":
            return (versions[-1] if versions else None) or 0
        old = [version for version in versions[:-1] if version is not None]
        return old[-1] if plan.version == "old" and old else 0

    def _note(self, jobs: Sequence[Submission], receipts: Sequence[Receipt | None]) -> None:
        """Note which jobs there are by now."""
        known = set(self.states)
        for job, receipt in zip(jobs, receipts, strict=True):
            if receipt is None:
                expect(job.max_length > 0 and job.id not in known, f"{job} was refused")
                continue
            is_new = receipt.id == job.id and job.id not in known
            gone = is_new and not receipt.created and job.window is not None  # a throttle names what it does not know any more
            expect(receipt.created == is_new or gone, f"{job} got {receipt}")
            if receipt.created:
                known.add(receipt.id)
            found = admin_of(self.twins.oracle).job(receipt.id)
            if found is not None:
                if self.submitted.get(receipt.id) is not self.said[found.payload]:  # what is replaced has no turn
                    self.turns = {name: holder for name, holder in self.turns.items() if holder != receipt.id}
                self.submitted[receipt.id] = self.said[found.payload]
        self._look("cancel", new=True)

    def claim(self, queues: list[str], limit: int, lease_seconds: float, known: Sequence[str] = ()) -> list[Pair]:
        pairs = self.twins.claim(queues, limit, f"worker-{limit}", lease_seconds, known)
        for pair in pairs:
            job_id, token = pair[1].id, pair[1].token
            expect(job_id not in self.holders, f"{job_id} was given to a second worker")
            expect(all(token != old[1].token for old in self.pairs if old[1].id == job_id), f"{job_id} has an old token")
            self.holders[job_id] = pair
            self.pairs.append(pair)
        self._look("claim", "cancel")
        self._expect_turns(pairs)
        self._expect_room_is_used(queues, full=len(pairs) == limit)
        return pairs

    def _expect_turns(self, pairs: Sequence[Pair]) -> None:
        """After a claim: who had the turn of a key has ended, or is the one that has it."""
        for pair in pairs:
            job_id = pair[1].id
            for limit in self.submitted[job_id].limits:
                if limit.ordered:
                    holder = self.turns.setdefault(limit.name, job_id)
                    expect(holder == job_id, f"{job_id} was claimed in the turn of {holder}")

    def _expect_room_is_used(self, queues: list[str], full: bool) -> None:
        """After a claim: no limit holds too many, and who was passed over has no room."""
        held = Counter(limit.name for job_id in self.holders for limit in self.submitted[job_id].limits)
        for job_id in self.holders:
            limits = self.submitted[job_id].limits
            allowed = {
                limit.name: max(
                    other.most for each in self.holders for other in self.submitted[each].limits if other.name == limit.name
                )
                for limit in limits
                if limit.most
            }
            expect(all(held[name] <= most for name, most in allowed.items()), f"{job_id} is beyond its limits: {held}")
        if full or Part.LIMITS not in self.twins.abilities:
            return
        paused = {queue.name for queue in admin_of(self.twins.oracle).list_queues() if queue.paused}
        for record in admin_of(self.twins.oracle).list_jobs(JobFilter(states=frozenset({JobState.READY})), 10_000):
            job = self.submitted[record.id]
            if record.queue in queues and record.queue not in paused and job.expires_seconds is None:
                rates = [limit for limit in job.limits if not limit.most]
                blocked = any(
                    limit.most and (held[limit.name] >= limit.most or (limit.ordered and self._others_live(record.id, limit)))
                    for limit in job.limits
                )
                expect(bool(rates) or blocked, f"{record.id} has room in its limits and was passed over: {held}")

    def _others_live(self, job_id: str, limit: Limit) -> bool:
        """Whether another job of an ordering key has not ended: the turn may be its."""
        others = (each for each, state in self.states.items() if each != job_id and state not in ENDED)
        return any(limit in self.submitted[each].limits for each in others)

    def settle(self, batch: list[tuple[Word, Pair]]) -> None:
        items = [(self._possible(word), pair) for word, pair in batch]
        for (word, pair), done in zip(items, self.twins.settle(items), strict=True):
            held = self.holders.get(pair[1].id) is pair
            expect(done == held, f"{word} of a delivery that is {'held' if held else 'stale'} was answered {done}")
            if held and word.kind in ("finish", "retry", "release"):
                del self.holders[pair[1].id]
        self._look("start", "finish", "retry", "release", "cancel")

    def renew(self, pairs: list[Pair], lease_seconds: float) -> None:
        for pair, renewal in zip(pairs, self.twins.renew(pairs, lease_seconds), strict=True):
            held = self.holders.get(pair[1].id) is pair
            expect(held == (renewal.state is not LeaseState.LOST), f"a delivery that is held: {held} got {renewal}")
        self._look()

    def cancel(self, ids: list[str], reason: str | None, owner: bytes | Pair | None = None) -> None:
        self.twins.cancel(ids, reason, owner)
        self._look("cancel")

    def renew_owners(self, owners: list[bytes], lease_seconds: float) -> None:
        self.twins.renew_owners(owners, lease_seconds)
        self._look(*(() if lease_seconds else ("cancel",)))

    def sweep(self, limit: int) -> None:
        """Sweep; a limit of 0: do nothing."""
        if not limit:
            return
        if self.exact_sweeps:
            self.twins.sweep(limit)
        else:
            self.twins.sweep_until_idle(1_000)  # what is left by a small limit may expire before it is cancelled
        self._look("due", "expire", "lease over", "cancel", drops=ENDED)
        self.holders = {job_id: pair for job_id, pair in self.holders.items() if self.states.get(job_id) in HELD}

    def purge(self, queue: str, states: frozenset[JobState], limit: int) -> None:
        self.twins.purge(queue, states, limit)
        self._look(drops=states)

    def requeue(self, ids: list[str]) -> None:
        self.twins.requeue(ids)
        self._look("requeue")

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def both_show_the_same(self) -> None:
        self.twins.compare_all(self.ids)

    @invariant()
    def held_jobs_have_one_holder(self) -> None:
        held = sorted(job_id for job_id, state in self.states.items() if state in HELD)
        expect(held == sorted(self.holders), f"held are {held}, and deliveries that count there are of {sorted(self.holders)}")

    @invariant()
    def ended_jobs_have_an_outcome(self) -> None:
        for job_id, found in zip(self.ids, self.twins.subject.outcomes(self.ids), strict=True):
            ended = found is not None and found.state in ENDED
            expect(ended == (found is not None and found.outcome is not None), f"{job_id} is {found}")

    @invariant()
    def counts_are_those_of_the_listing(self) -> None:
        if Part.ADMIN not in self.twins.abilities:
            return
        counts: dict[tuple[str, JobState], int] = {}
        for record in self.twins.jobs():
            counts[record.queue, record.state] = counts.get((record.queue, record.state), 0) + 1
        listed = {(queue.name, state): n for queue in self.twins.queues() for state, n in queue.counts.items()}
        expect(listed == counts, f"queues() counts {listed}, and jobs() has {counts}")

    def _look(self, *moves: str, new: bool = False, drops: Iterable[JobState] = ()) -> None:
        """Look where all jobs are; they may have got there only by *moves*."""
        found = dict(zip(self.ids, self.twins.subject.outcomes(self.ids), strict=True))
        states = {job_id: each.state for job_id, each in found.items() if each is not None}
        for job_id in self.states.keys() | states.keys():
            before, after = self.states.get(job_id), states.get(job_id)
            if before is None:
                expect(new, f"{job_id} came from nowhere")
                expect(after in WAITING | {JobState.CANCELLED}, f"{job_id} is new and {after}")
                continue
            reachable = _reachable(before, moves)
            if after is None:
                expect(bool(reachable & set(drops)), f"{job_id} was {before} and is gone")
            else:
                expect(after in reachable, f"no move of {moves} leads {job_id} from {before} to {after}")
        self.states = states
        self.turns = {name: job_id for name, job_id in self.turns.items() if states.get(job_id) not in (*ENDED, None)}

    def _fulfil(self, wish: Wish) -> tuple[Submission, Pair | None]:
        job, abilities = wish.job, self.twins.abilities
        delays = Feature.DELAYS in abilities
        window = job.window if Feature.WINDOWS in abilities else None
        awaited_by = self._pick(wish.awaited_by)[0] if wish.awaited_by is not None and self.pairs else None
        submission = Submission(
            id=self._name([wish.again])[0] if wish.again is not None and self.ids else self._new_id(),
            queue=job.queue,
            task=job.task,
            payload=b"%d:%s" % (len(self.said), job.payload),
            priority=job.priority if Feature.PRIORITIES in abilities else 0,
            delay_seconds=job.delay_seconds if delays else 0.0,
            start_at=self.twins.now() + wish.start_after if delays and wish.start_after is not None else None,
            expires_seconds=job.expires_seconds,
            key=job.key if Feature.KEYS in abilities and window is None else None,
            parent=job.parent,
            keep_seconds=job.keep_seconds,
            max_crashes=job.max_crashes,
            owner=job.owner,
            owner_seconds=job.owner_seconds,
            tags=job.tags,
            limits=job.limits if Part.LIMITS in abilities else (),
            once=job.once and Feature.ONCE in abilities,
            raw=job.raw,
            window=window,
            max_length=job.max_length if Feature.BOUNDS in abilities else 0,
            share=job.share if Feature.SHARES in abilities else None,
            weight=job.weight,
        )
        self.said[submission.payload] = submission
        return submission, awaited_by

    def _new_id(self) -> str:
        self.ids.append(f"job-{len(self.ids)}")
        return self.ids[-1]

    def _name(self, which: list[int]) -> list[str]:
        return [self.ids[-1 - number % len(self.ids)] if number >= 0 and self.ids else "ghost" for number in which]

    def _possible(self, word: Word) -> Word:
        abilities = self.twins.abilities
        park = word.park if Part.PARKING in abilities else None
        sends = word.sends if Part.OUTBOX in abilities else ()
        return Word(word.kind, word.delay_seconds if Feature.DELAYS in abilities else 0.0, word.state, park, sends)

    def _pick(self, pick: tuple[bool, int]) -> list[Pair]:
        """Return one delivery, if there is any."""
        held, number = pick
        pairs = (list(self.holders.values()) or self.pairs) if held else self.pairs
        return pairs[-1 - number % len(pairs) :][:1] if pairs else []


def _reachable(before: JobState, moves: Iterable[str]) -> set[JobState]:
    found: set[JobState] = set()
    fresh = {before}
    while fresh:
        found |= fresh
        fresh = {after for move in moves for state in fresh for after in MOVES[move].get(state, ())} - found
    return found
