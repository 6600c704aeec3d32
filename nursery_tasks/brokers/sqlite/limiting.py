"""Claims from queues where jobs with limits stand at open gates: see `brokers/rules/gates.py` for what gates are.

In one transaction: what stands in front is read in few statements (`database.py` says why), what becomes of it is decided
in plain code, in the order of the queue, and written in few statements again. Triggers keep the gates (`schema.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any, Final

import apsw
import msgspec

from ...model.delivery import Delivery
from ...model.limits import Limit, gate_of, no_room
from ..common.hints import Hints
from ..protocol import CLAIM_LOOKS
from .cancelling import cancel_jobs
from .claiming import IN_TIME, mark, read_marked
from .owning import TOKEN_BYTES
from .schema import CLAIMED, PLACE, PLAIN, READY, SCORE, STAND
from .statements import BatchStatement, array, execute, fetch, fetch_value, integers

_GATES: Final = 64  # that are read at once
_JOBS: Final = 512  # of all these together, about
_NEVER: Final = float("-inf")

_OPEN_DUE: Final = "UPDATE gate SET opens = 0 WHERE opens > 0 AND opens <= ? RETURNING queue"
_IS_PAUSED: Final = "SELECT EXISTS (SELECT 1 FROM paused WHERE queue = ?)"
_FIND_GATES: Final = """
    SELECT json_group_array(json_array(id, first)) FROM (
        SELECT id, first FROM gate WHERE queue = ?1 AND opens = 0 AND (first, id) > (?2, ?3) ORDER BY first, id LIMIT ?4
    )
"""
_JOB: Final = f"json_array(gate, {STAND}, {SCORE}, seq, id, NOT {IN_TIME}, json(limits))"
_FIND_FIRST: Final = f"""
    SELECT json_group_array({_JOB}) FROM carray(?1) AS gates CROSS JOIN job WHERE seq IN (
        SELECT other.seq FROM job AS other WHERE other.gate = gates.value AND other.state = {READY}
        ORDER BY {STAND}, seq LIMIT ?3
    )
"""
_FIND_NEXT: Final = f"""
    SELECT json_group_array({_JOB}) FROM (
        SELECT * FROM job WHERE gate = ?1 AND state = {READY} AND ({STAND}, seq) > (?4, ?5) ORDER BY {STAND}, seq LIMIT ?3
    )
"""
_FIND_PLAIN: Final = f"""
    SELECT json_group_array(json_array({SCORE}, seq)) FROM (
        SELECT priority, seq, rank, crashes FROM job WHERE queue = ?1 AND {PLAIN} AND {IN_TIME}
        ORDER BY priority DESC, {PLACE}, seq LIMIT ?3
    )
"""
_USED: Final = """
    SELECT json_group_array(json_array(
        value, (SELECT count(*) FROM held WHERE name = value), (SELECT full_at FROM rate WHERE name = value)
    )) FROM carray(?)
"""
_MARK: Final = f"""
    UPDATE job SET state = {CLAIMED}, token = CAST(?2 || seq AS BLOB), worker = ?3, at = ?4, started = NULL, unresponsive = 0
    WHERE seq IN (SELECT value FROM carray(?1))
"""
_HOLD: Final = BatchStatement("INSERT INTO held (name, seq, stays) SELECT * FROM", "WHERE column1 IS NOT NULL", width=3)
_COUNT: Final = BatchStatement(
    "INSERT INTO rate (name, full_at) SELECT * FROM",
    "WHERE column1 IS NOT NULL ON CONFLICT DO UPDATE SET full_at = excluded.full_at",
    width=2,
)
_MOVE: Final = BatchStatement("UPDATE job NOT INDEXED SET gate = column2 FROM", "AS moved WHERE seq = column1", width=2)
_CLOSE: Final = BatchStatement("UPDATE gate SET opens = column2 FROM", "AS shut WHERE id = column1 AND opens = 0", width=2)


class _Standing(msgspec.Struct, array_like=True, gc=False):
    """A ready job at a gate, where it stands there and in its queue."""

    gate: str
    stand: int
    score: int
    seq: int
    id: str
    is_late: bool | int
    limits: tuple[Limit, ...]

    def has_turn(self, queue: str) -> bool:
        """Whether it has the turn of its ordering key: then it stands at the gate of another limit."""
        return self.limits[0].ordered and gate_of(self.limits[0], queue) != self.gate


_decode_standing = msgspec.json.Decoder(list[_Standing]).decode
_decode_pairs = msgspec.json.Decoder(list[tuple[Any, int]]).decode
_decode_used = msgspec.json.Decoder(list[tuple[str, int, float | None]]).decode


def open_due(cursor: apsw.Cursor, now: float) -> list[str]:
    """Open gates whose rates have room again, in a transaction; return their queues."""
    return [queue for (queue,) in fetch(cursor, _OPEN_DUE, now)]


def claim_in_order(
    cursor: apsw.Cursor, now: float, queues: Sequence[str], limit: int, worker: str, lease_seconds: float
) -> tuple[list[Delivery], Hints]:
    """Lease up to *limit* ready jobs, with and without limits, in a transaction."""
    token, until, hints = token_bytes(TOKEN_BYTES), now + lease_seconds, Hints()
    # Of queues that are not asked for, no sweep will find the gates closed any more.
    hints.add_all("work", set(open_due(cursor, now)).difference(queues))
    order = {queue: place for place, queue in enumerate(dict.fromkeys(queues))}
    used, places = _Used(cursor, now), dict[int, int]()
    left = limit
    for queue in order:
        if left <= 0 or fetch_value(cursor, _IS_PAUSED, queue):
            continue
        plan = _Plan(_Line(cursor, now, queue, left), used, queue)
        if not plan.line.has_gates:
            left -= mark(cursor, now, queue, token, worker, until, left)
            continue
        plan.make(left)
        left -= len(plan.taken)
        places |= {seq: place for place, seq in enumerate(plan.taken)}
        plan.write(cursor, now, token, worker, until, hints)
    used.write(cursor)
    found = read_marked(cursor, now, order, token, until) if left < limit else []
    found.sort(key=lambda delivery: (order[delivery.queue], places.get(delivery.address, 0)))
    return found, hints


class _Used:
    """How far limits are used up, and what this claim takes of them."""

    def __init__(self, cursor: apsw.Cursor, now: float) -> None:
        self._cursor, self._now = cursor, now
        self._held: dict[str, int] = {}
        self._full_at: dict[str, float] = {}
        self._holds: list[tuple[str, int, bool]] = []
        self._counted: set[str] = set()

    def look_up(self, limits: Iterable[Limit]) -> None:
        names = list({limit.name for limit in limits} - self._held.keys())
        if names:
            for name, held, full_at in _decode_used(fetch_value(self._cursor, _USED, array(names))):
                self._held[name] = held
                self._full_at[name] = _NEVER if full_at is None else full_at

    def has_room(self, limit: Limit) -> bool:
        if limit.most:
            return self._held[limit.name] < limit.most
        return self._now >= limit.opens_at(self._full_at[limit.name])

    def opens_at(self, limit: Limit) -> float | None:
        return None if limit.most else limit.opens_at(self._full_at[limit.name])

    def take(self, job: _Standing, limits: Iterable[Limit]) -> None:
        """Let a job have room in some of its limits."""
        for limit in limits:
            if limit.most:
                self._held[limit.name] += 1
                self._holds.append((limit.name, job.seq, limit.ordered))
            else:
                self._full_at[limit.name] = limit.full_after(self._full_at[limit.name], self._now)
                self._counted.add(limit.name)

    def write(self, cursor: apsw.Cursor) -> None:
        _HOLD.run(cursor, self._holds)
        _COUNT.run(cursor, [(name, self._full_at[name]) for name in self._counted])


class _Line:
    """Who comes next in a queue: jobs at open gates and jobs without limits, read in pages."""

    def __init__(self, cursor: apsw.Cursor, now: float, queue: str, limit: int) -> None:
        self._cursor, self._now, self._queue, self._limit = cursor, now, queue, limit
        self._standing: dict[str, list[_Standing]] = {}  # open gate -> who stands there, the first last
        self._full: set[str] = set()  # gates of which only a page was read
        self._horizon: tuple[float, str] | None = _NEVER, ""  # gates whose first comes later were not read; None: all were
        self._plain: list[tuple[int, int]] | None = None
        self._page = 1
        self._read_gates()
        self.has_gates = bool(self._standing)

    def next_plain(self) -> tuple[int, int] | None:
        """Return score and number of the next job without limits."""
        if self._plain is None:
            self._plain = _decode_pairs(fetch_value(self._cursor, _FIND_PLAIN, self._queue, self._now, self._limit))[::-1]
        return self._plain[-1] if self._plain else None

    def take_plain(self) -> int:
        assert self._plain is not None
        return self._plain.pop()[1]

    def next_standing(self) -> _Standing | None:
        """Return the next of those who stand at open gates."""
        while True:
            first = min((line[-1] for line in self._standing.values()), key=lambda job: (job.score, job.gate), default=None)
            if self._horizon is None or (first is not None and (first.score, first.gate) <= self._horizon):
                return first
            self._read_gates()

    def pass_on(self, job: _Standing) -> None:
        """Be done with one of them."""
        line = self._standing[job.gate]
        line.pop()
        if not line and job.gate in self._full:
            text = fetch_value(self._cursor, _FIND_NEXT, job.gate, self._now, self._page, job.stand, job.seq)
            self._keep(_decode_standing(text))
        if not self._standing[job.gate]:
            del self._standing[job.gate]

    def close(self, gate: str) -> None:
        """Look at nobody there any more."""
        self._standing.pop(gate, None)

    def _read_gates(self) -> None:
        found = _decode_pairs(fetch_value(self._cursor, _FIND_GATES, self._queue, *(self._horizon or ()), _GATES))
        self._horizon = (found[-1][1], found[-1][0]) if len(found) == _GATES else None
        if not found:
            return
        self._page = max(1, min(self._limit, _JOBS // len(found)))
        gates = [gate for gate, _ in found]
        self._keep(_decode_standing(fetch_value(self._cursor, _FIND_FIRST, array(gates), self._now, self._page)))

    def _keep(self, jobs: list[_Standing]) -> None:
        lines: dict[str, list[_Standing]] = {}
        for job in jobs:
            lines.setdefault(job.gate, []).append(job)
        for gate, line in lines.items():
            self._standing[gate] = sorted(line, key=lambda job: (-job.stand, -job.seq))
            if len(line) == self._page:
                self._full.add(gate)
            else:
                self._full.discard(gate)


@dataclass(slots=True)
class _Plan:
    """What becomes of those who come next in a queue."""

    line: _Line
    used: _Used
    queue: str
    taken: list[int] = field(default_factory=list[int])
    refused: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])  # limit -> ids
    moves: list[tuple[int, str | None]] = field(default_factory=list["tuple[int, str | None]"])  # seq, gate
    closes: dict[str, float | None] = field(default_factory=dict[str, "float | None"])  # gate -> when it opens
    is_cut_short: bool = False

    def make(self, limit: int) -> None:
        looks = CLAIM_LOOKS
        while len(self.taken) < limit:
            plain, job = self.line.next_plain(), self.line.next_standing()
            if job is not None and (plain is None or job.score < plain[0]):
                if not looks:
                    self.is_cut_short = True  # another claim goes on
                    return
                looks -= not self._look_at(job)
            elif plain is not None:
                self.taken.append(self.line.take_plain())
            else:
                return

    def _look_at(self, job: _Standing) -> bool:
        """Look at one who stands at an open gate; say whether it may go."""
        self.used.look_up(job.limits)
        has_turn = job.has_turn(self.queue)
        wanted = job.limits[1:] if has_turn else job.limits
        blockers = [limit for limit in wanted if not self.used.has_room(limit)]
        for limit in blockers:
            if not limit.rejects and gate_of(limit, self.queue) == job.gate:
                self._close(job.gate, limit)
                self.line.close(job.gate)
                return False
        self.line.pass_on(job)
        if job.is_late:
            return False
        takes_turn = job.limits[0].ordered and not has_turn
        if not blockers:
            self.used.take(job, wanted)
            self.taken.append(job.seq)
            if takes_turn:  # where it stands when it comes back
                self.moves.append((job.seq, gate_of(job.limits[1], self.queue) if len(job.limits) > 1 else None))
            return True
        if blockers[0].rejects:
            self.refused.setdefault(blockers[0].name, []).append(job.id)
        else:
            if takes_turn:
                self.used.take(job, job.limits[:1])
            gate = gate_of(blockers[0], self.queue)
            self.moves.append((job.seq, gate))
            self._close(gate, blockers[0])
            self.line.close(gate)
        return False

    def _close(self, gate: str, limit: Limit) -> None:
        self.closes.setdefault(gate, self.used.opens_at(limit))

    def write(self, cursor: apsw.Cursor, now: float, token: bytes, worker: str, until: float, hints: Hints) -> None:
        if self.taken:
            execute(cursor, _MARK, integers(self.taken), token, worker, until)
        for name, ids in self.refused.items():
            cancel_jobs(cursor, now, ids, no_room(name), hints)
        _MOVE.run(cursor, self.moves)
        _CLOSE.run(cursor, list(self.closes.items()))
        if self.is_cut_short:
            hints.add("work", self.queue)
        if any(opens is not None for opens in self.closes.values()):
            hints.add("due", self.queue)
