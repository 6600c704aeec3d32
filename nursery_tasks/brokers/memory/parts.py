"""The parts of the memory broker that are one rule each: locks, limits, schedules, states, events, what is parked, or sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

from ...model.delivery import Receipt
from ...model.event_log import EventBatch, LogPage
from ...model.listing import LimitRecord, LockRecord
from ...model.outgoing import OutboxRecord, Outgoing, StateRecord, StateRow, check_outgoing, check_state
from ...model.pauses import PauseList, PauseRecord
from ...model.schedule import ScheduleChange, ScheduleLook, ScheduleRow
from ..common.atomic_calls import AtomicCall, AtomicCalls
from ..protocol import receipts_of
from ..rules.claims import Claims
from ..rules.event_log import EventLogTable
from ..rules.gates import Gates
from ..rules.locks import LockTable
from ..rules.machine import StateMachine
from ..rules.outbox import OutboxLines
from ..rules.parked import Parked
from ..rules.pauses import PauseTable
from ..rules.replies import ReplyLists
from ..rules.schedules import ScheduleTable
from ..rules.states import StateTable


class MemoryLocks:
    """The calls of `Locks`."""

    def __init__(self, calls: AtomicCalls, locks: LockTable) -> None:
        self._calls, self._locks = calls, locks

    def lock(self, name: str, holder: bytes, lease_seconds: float, wait: bool) -> int:
        with AtomicCall(self._calls) as call:
            return self._locks.lock(name, holder, call.now, lease_seconds, wait)

    def relock(self, holds: Sequence[tuple[str, bytes]], lease_seconds: float) -> list[bool]:
        with AtomicCall(self._calls) as call:
            until = call.now + lease_seconds
            return [self._locks.relock(name, holder, until) for name, holder in holds]

    def unlock(self, holds: Sequence[tuple[str, bytes]]) -> list[bool]:
        with AtomicCall(self._calls) as call:
            answers = [self._locks.unlock(name, holder) for name, holder in holds]
            for (name, _), done in zip(holds, answers, strict=True):
                if done:
                    call.hints.add("lock", name)
            return answers

    def list_locks(self, limit: int) -> list[LockRecord]:
        with AtomicCall(self._calls):
            return list(self._locks.records())[: max(limit, 0)]


class MemoryLimits:
    """The calls of `Limits`."""

    def __init__(self, calls: AtomicCalls, gates: Gates) -> None:
        self._calls, self._gates = calls, gates

    def list_limits(self, limit: int) -> list[LimitRecord]:
        with AtomicCall(self._calls):
            return list(islice(self._gates.records(), max(limit, 0)))


class MemoryReplies:
    """The calls of `Replies`."""

    def __init__(self, calls: AtomicCalls, replies: ReplyLists) -> None:
        self._calls, self._replies = calls, replies

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        with AtomicCall(self._calls) as call:
            return self._replies.take(name, limit, call.now)


class MemoryOutbox:
    """The calls of `Outbox`."""

    def __init__(self, calls: AtomicCalls, outbox: OutboxLines) -> None:
        self._calls, self._outbox = calls, outbox

    def put_outgoing(self, items: Sequence[Outgoing]) -> None:
        check_outgoing(items)
        with AtomicCall(self._calls) as call:
            self._outbox.add(items, call.now, call.hints)

    def next_outgoing(self, destination: str, limit: int) -> list[tuple[int, bytes]]:
        with AtomicCall(self._calls):
            return self._outbox.first(destination, limit)

    def drop_outgoing(self, destination: str, up_to_position: int) -> int:
        with AtomicCall(self._calls):
            return self._outbox.drop(destination, up_to_position)

    def list_outboxes(self, limit: int, after: str = "") -> list[OutboxRecord]:
        with AtomicCall(self._calls) as call:
            return self._outbox.records(limit, after, call.now)


class MemoryStates:
    """The calls of `States`."""

    def __init__(self, calls: AtomicCalls, states: StateTable, outbox: OutboxLines) -> None:
        self._calls, self._states, self._outbox = calls, states, outbox

    def get_state(self, name: str) -> StateRow | None:
        with AtomicCall(self._calls):
            return self._states.get(name)

    def put_state(self, name: str, version: int, body: bytes, outgoing: Sequence[Outgoing] = ()) -> int:
        check_state(name, body)
        check_outgoing(outgoing)
        with AtomicCall(self._calls) as call:
            new = self._states.put(name, version, body)
            if new:
                self._outbox.add(outgoing, call.now, call.hints)
            return new

    def delete_state(self, name: str, version: int) -> bool:
        with AtomicCall(self._calls):
            return self._states.delete(name, version)

    def list_states(self, prefix: str, limit: int, after: str = "") -> list[StateRecord]:
        with AtomicCall(self._calls):
            return self._states.records(prefix, limit, after)


class MemoryParking:
    """The calls of `Parking`."""

    def __init__(self, calls: AtomicCalls, claims: Claims) -> None:
        self._calls, self._claims = calls, claims

    def is_parked(self, queues: Sequence[str], names: Collection[str]) -> bool:
        with AtomicCall(self._calls):
            return self._claims.is_parked(queues, names)


class MemoryEventLog:
    """The calls of `EventLog`."""

    def __init__(self, calls: AtomicCalls, log: EventLogTable) -> None:
        self._calls, self._log = calls, log

    def append(self, batch: EventBatch, keep_seconds: float, most: int) -> bool:
        with AtomicCall(self._calls) as call:
            return self._log.append(batch, keep_seconds, most, call.now, call.hints)

    def read(self, after: int, limit: int) -> LogPage:
        with AtomicCall(self._calls):
            return self._log.read(after, max(limit, 0))


class MemoryPauses:
    """The calls of `Pauses`."""

    def __init__(self, calls: AtomicCalls, pauses: PauseTable, parked: Parked) -> None:
        self._calls, self._pauses, self._parked = calls, pauses, parked

    def pause_task(self, pause: PauseRecord) -> None:
        with AtomicCall(self._calls) as call:
            self._pauses.put(pause, call.now, call.hints)

    def resume_task(self, name: str) -> bool:
        with AtomicCall(self._calls) as call:
            return self._pauses.remove(name, call.hints)

    def list_pauses(self) -> PauseList:
        with AtomicCall(self._calls):
            return self._pauses.list_all(self._parked)


class MemorySchedules:
    """The calls of `Schedules`."""

    def __init__(self, calls: AtomicCalls, schedules: ScheduleTable, machine: StateMachine) -> None:
        self._calls, self._schedules, self._machine = calls, schedules, machine

    def list_schedules(self, limit: int, after: str = "") -> list[ScheduleRow]:
        with AtomicCall(self._calls):
            return self._schedules.list_after(after, limit)

    def find_schedules(self, names: Sequence[str]) -> list[ScheduleRow | None]:
        with AtomicCall(self._calls):
            return self._schedules.find(names)

    def look_at_schedules(self, limit: int) -> ScheduleLook:
        with AtomicCall(self._calls) as call:
            return self._schedules.look(limit, call.now)

    def fire(self, change: ScheduleChange) -> list[Receipt] | None:
        with AtomicCall(self._calls) as call:
            if not self._schedules.change(change, call.hints):
                return None
            answers = self._machine.submit(change.jobs, call.now, call.hints)
        return receipts_of(answers)

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        with AtomicCall(self._calls) as call:
            return [self._schedules.change(change, call.hints) for change in changes]
