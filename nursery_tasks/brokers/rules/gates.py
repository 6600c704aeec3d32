"""Where ready jobs with limits stand in line: a *gate* for each limit, rule and queue.

A job with limits is never among the ready jobs of its queue; it stands at the gate of one of them, the first one to begin
with. A gate is *open* until a claim finds that its limit has no room; then it is *closed* with all that stand there, so that
100 000 of them cost the next claims nothing. It opens when a held job gives its place back, or when the rate has room again.
So a closed gate has no room, and an open one may have some. A claim takes the first of what is ready and of what stands
at the open gates of the queue. When a job has room at its own gate and none in another of its limits, it moves there.

What is held is a set of jobs, kept by the moves of the table, and no counter: nothing can drift.

The turn of an ordering key is a limit, too, for one job at a time, and the first limit of each job that has it. Three things
are different there. Its line is in the order of submission; among other gates it stands where its first would. Who is at the
front takes the turn also when it has no room in another of its limits, and waits for that one with it. And the turn is given
back when the job has ended, or is gone, and not before: who has it stands in that line no more, however often it comes back.

Heaps are cleaned late, as a `timeline` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from ...model.limits import Limit, gate_of
from ...model.listing import LimitRecord
from ...model.states import ENDED, HELD, JobState
from ..common.hints import Hints
from .job import Entry, Gate, Job, Place

NEVER = float("-inf")


class Gates:
    """All gates of a broker, what is held, and how far the rates are used up.

    Attributes:
        opened: Queues that a listener should hear of: a gate of theirs has opened. `tell_opened` clears it.
        closed: Queues where a gate was closed that will open by itself; likewise.
    """

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.closed: set[str] = set()
        self.held: dict[str, dict[str, Job]] = {}  # limit -> id -> job that a worker holds
        self._gates: dict[str, Gate] = {}
        self._of: dict[str, dict[str, Gate]] = {}  # limit -> its gates
        self._open: dict[str, list[tuple[Place, str]]] = {}  # queue -> heap of (place of the first, id of an open gate)
        self._opening: list[tuple[float, str]] = []  # heap of (when it opens, id)
        self._full_at: dict[str, float] = {}  # rate -> see `model.limits`

    # --- jobs that come and go ----------------------------------------------------------------------------------------

    def enter(self, job: Job) -> None:
        """Let a job that became ready stand in line."""
        limit = self.next_of(job)
        assert limit is not None
        queue = job.submitted.queue
        gate = self._gates.get(gate_of(limit, queue))
        if gate is None:
            gate = Gate(gate_of(limit, queue), limit, queue)
            self._gates[gate.id] = gate
            self._of.setdefault(limit.name, {})[gate.id] = gate
        job.waits_at, job.gate = limit, gate
        gate.count += 1
        heappush(gate.line, job.place_at(limit))
        if gate.is_open:
            self._note_open(gate)

    def leave(self, job: Job) -> None:
        """Let it go from there."""
        gate = job.gate
        assert gate is not None
        job.gate = None
        gate.count -= 1
        if not gate.count:
            del self._gates[gate.id]
            del self._of[gate.limit.name][gate.id]
            if not self._of[gate.limit.name]:
                del self._of[gate.limit.name]

    def next_of(self, job: Job) -> Limit | None:
        """Return the limit in whose line a job stands when it is ready; None: it needs to stand in none."""
        if job.waits_at is not None:
            return job.waits_at
        limits = job.submitted.limits[1:] if job.has_turn else job.submitted.limits
        return limits[0] if limits else None

    def follow(self, job: Job, before: JobState, after: JobState) -> None:
        """Count what a move changes of a job with limits."""
        if after in HELD and before not in HELD:
            self.take_room(job)
        elif before in HELD and after not in HELD:
            self.give_room_back(job)
        if after in ENDED:
            self.give_turn_back(job)

    def take_room(self, job: Job) -> None:
        """Count a job that a worker holds from now on."""
        for limit in job.submitted.limits:
            if limit.most and not limit.ordered:
                self.held.setdefault(limit.name, {})[job.submitted.id] = job

    def give_room_back(self, job: Job) -> None:
        """Count it no more, and open the gates of its limits."""
        for limit in job.submitted.limits:
            if limit.most and not limit.ordered:
                self._give_back(job, limit)

    def take_turn(self, job: Job) -> None:
        """Let a job have the turn of its ordering key, if it has one."""
        limit = job.submitted.limits[0]
        if limit.ordered:
            self.held.setdefault(limit.name, {})[job.submitted.id] = job
            job.has_turn = True
            if job.waits_at == limit:
                job.waits_at = None

    def give_turn_back(self, job: Job) -> None:
        """Let the next one have it; the job has ended, or is gone."""
        if job.has_turn:
            job.has_turn, job.waits_at = False, None
            self._give_back(job, job.submitted.limits[0])

    def _give_back(self, job: Job, limit: Limit) -> None:
        held = self.held[limit.name]
        del held[job.submitted.id]
        if not held:
            del self.held[limit.name]
        for gate in self._of.get(limit.name, {}).values():
            if not gate.is_open:
                self._do_open(gate)

    # --- claims -------------------------------------------------------------------------------------------------------

    def first_open(self, queue: str) -> tuple[Place, Gate] | None:
        """Return the open gate of a queue whose first comes before those of the others."""
        heap = self._open.get(queue)
        while heap:
            place, gate_id = heap[0]
            gate = self._gates.get(gate_id)
            first = gate.first() if gate is not None and gate.is_open else None
            if gate is not None and first == place:
                return place, gate
            heappop(heap)
            if first is not None:
                heappush(heap, (first, gate_id))
        self._open.pop(queue, None)
        return None

    def has_room(self, limit: Limit, now: float) -> bool:
        if limit.most:
            return len(self.held.get(limit.name, ())) < limit.most
        return now >= limit.opens_at(self._full_at.get(limit.name, NEVER))

    def blocker(self, job: Job, now: float) -> Limit | None:
        """Return the first limit of a job that has no room."""
        limits = job.submitted.limits[1:] if job.has_turn else job.submitted.limits
        return next((limit for limit in limits if not self.has_room(limit, now)), None)

    def close(self, gate: Gate) -> None:
        """Close a gate without room."""
        gate.is_open = False
        if not gate.limit.most:
            gate.opens_at = gate.limit.opens_at(self._full_at[gate.limit.name])
            heappush(self._opening, (gate.opens_at, gate.id))
            self.closed.add(gate.queue)

    def move(self, job: Job, limit: Limit) -> None:
        """Let a job stand in line for another of its limits, which has no room."""
        self.leave(job)
        job.waits_at = limit
        self.enter(job)
        assert job.gate is not None
        if job.gate.is_open:
            self.close(job.gate)

    def count_start(self, job: Job, now: float) -> None:
        """Count a claim in the job's rates."""
        for limit in job.submitted.limits:
            if not limit.most:
                self._full_at[limit.name] = limit.full_after(self._full_at.get(limit.name, NEVER), now)

    def put_back(self, gate: Gate, late: list[Entry]) -> None:
        """Take back what a claim has passed over."""
        for entry in late:
            heappush(gate.line, entry)
        if gate.is_open and self._gates.get(gate.id) is gate:
            self._note_open(gate)

    # --- time and people ----------------------------------------------------------------------------------------------

    def open_due(self, now: float) -> set[str]:
        """Open gates whose rates have room again; return their queues."""
        queues: set[str] = set()
        while self._opening and self._opening[0][0] <= now:
            opens_at, gate_id = heappop(self._opening)
            gate = self._gates.get(gate_id)
            if gate is not None and not gate.is_open and gate.opens_at == opens_at:
                self._do_open(gate)
                queues.add(gate.queue)
        return queues

    def tell_opened(self, hints: Hints) -> None:
        """Tell of queues where a limit has room for some who waited for it, or will have some at a known time."""
        for queue in self.opened:
            hints.add("work", queue)
        for queue in self.closed:
            hints.add("due", queue)
        self.opened.clear()
        self.closed.clear()

    def forget(self, now: float) -> None:
        """Forget rates that are as good as new."""
        self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}

    def next_room_at(self) -> float | None:
        """Return when the next gate opens by itself."""
        while self._opening:
            opens_at, gate_id = self._opening[0]
            gate = self._gates.get(gate_id)
            if gate is not None and gate.opens_at == opens_at:
                return opens_at
            heappop(self._opening)
        return None

    def records(self) -> Iterator[LimitRecord]:
        """Describe the limits that are in use, by name."""
        for name in sorted(self.held.keys() | self._of.keys()):
            gates = self._of.get(name, {}).values()
            openings = [gate.opens_at for gate in gates]
            yield LimitRecord(
                name=name,
                running=len(self.held.get(name, ())),
                waiting=sum(gate.count for gate in gates),
                opens_at=min((moment for moment in openings if moment is not None), default=None),
            )

    def _do_open(self, gate: Gate) -> None:
        gate.is_open, gate.opens_at = True, None
        self.opened.add(gate.queue)
        self._note_open(gate)

    def _note_open(self, gate: Gate) -> None:
        first = gate.first()
        if first is not None:
            heap = self._open.setdefault(gate.queue, [])
            heappush(heap, (first, gate.id))
            if len(heap) > 2 * len(self._gates) + 100:
                heap[:] = {entry for entry in heap if entry[1] in self._gates}
                heapify(heap)
