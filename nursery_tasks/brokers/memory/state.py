"""What the memory broker keeps, and the rules that change it, put together."""

from __future__ import annotations

from functools import partial
from secrets import token_bytes, token_hex

from ...model.delivery import KEPT_SECONDS
from ..rules.claims import Claims
from ..rules.event_log import EventLogTable
from ..rules.gates import Gates
from ..rules.leases import OwnerLeases
from ..rules.locks import LockTable
from ..rules.machine import StateMachine
from ..rules.moves import Moves
from ..rules.order import JobOrder
from ..rules.outbox import OutboxLines
from ..rules.owners import Owners
from ..rules.pauses import PauseTable
from ..rules.replies import ReplyLists
from ..rules.schedules import ScheduleTable
from ..rules.shares import Shares
from ..rules.states import StateTable
from ..rules.sweeping import Sweeps
from ..rules.table import JobTable
from ..rules.windows import Windows

_new_token = partial(token_bytes, 16)


class MemoryState:
    """All jobs, locks, replies, outgoing messages, states and schedules of one broker.

    Args:
        spare_seconds: See `Sweeps`.
        gates, order, ...: For tests, which bend one rule at a time.
    """

    def __init__(
        self,
        *,
        gates: type[Gates] = Gates,
        shares: type[Shares] = Shares,
        order: type[JobOrder] = JobOrder,
        table: type[JobTable] = JobTable,
        moves: type[Moves] = Moves,
        owners: type[Owners] = Owners,
        machine: type[StateMachine] = StateMachine,
        claims: type[Claims] = Claims,
        sweeps: type[Sweeps] = Sweeps,
        locks: type[LockTable] = LockTable,
        schedules: type[ScheduleTable] = ScheduleTable,
        pauses: type[PauseTable] = PauseTable,
        windows: type[Windows] = Windows,
        outbox: type[OutboxLines] = OutboxLines,
        states: type[StateTable] = StateTable,
        event_log: type[EventLogTable] = EventLogTable,
        spare_seconds: float = KEPT_SECONDS,
    ) -> None:
        self.gates = gates()
        self.order = order(self.gates, shares())
        self.table = table(self.gates, self.order)
        self.moves = moves(self.table)
        self.leases = OwnerLeases()
        self.owners = owners(self.moves, self.leases)
        self.replies = ReplyLists()
        self.windows = windows()
        self.outbox = outbox()
        self.states = states()
        self.machine = machine(self.owners, self.replies, self.windows, self.outbox)
        self.claims = claims(self.order, self.moves, _new_token)
        self.pauses = pauses()
        self.sweeps = sweeps(self.order, self.owners, self.pauses, spare_seconds)
        self.locks = locks()
        self.schedules = schedules()
        self.event_log = event_log(token_hex(4))
