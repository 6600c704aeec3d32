"""The transitions of jobs in a file. Each method is a transaction, made of the steps of one module beside this one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

from ...errors import BrokerFull, InvalidBrokerUrl, InvalidOptions
from ...model.delivery import (
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
from ..common.hints import Hints
from ..protocol import Broker, Emit, Feature, Listener, receipts_of
from .admin import SqliteAdmin
from .cancelling import cancel_jobs
from .checks import check_driver, check_place
from .claiming import claim_jobs, look, renew_leases
from .connection import BUSY_SECONDS, Synchronous
from .database import Database
from .describing import SqliteFacts
from .event_log import SqliteEventLog
from .inbox import SqlitePostbox, inbox_has_mail, read_inbox, store_inbox
from .limiting import claim_in_order
from .listing import SqliteLimits, find_outcomes
from .locking import SqliteLocks
from .maintenance import Maintenance
from .outbox import SqliteReplies
from .outgoing import SqliteOutbox
from .owning import hold_leases
from .parking import SqliteParking, claim_with_parked, is_any_parked
from .pausing import SqlitePauses
from .schedules import SqliteSchedules
from .settling import check_settlements, needs_disk, settle_jobs
from .states import SqliteStates
from .submitting import check_room, submit_jobs
from .sweeping import add_what_is_next, is_anything_to_do, sweep_jobs
from .wakeup import Audience

_OPTIONS: Final = ("synchronous", "busy_timeout")


class SqliteBroker(Broker):
    """A broker in one SQLite file, for any number of processes on one machine.

    Args:
        path: The file; it is made where it is missing, its directory is not.
        synchronous: `full`: what was accepted survives a power failure; `normal`: the last moments before one may be lost.
        clock: Tells the time in epoch seconds; a test passes its own.
        name: How the broker is called in errors.
        busy_seconds: How long a call waits for other processes that write.

    Raises:
        BrokerUnreachable: The file cannot be used; the text says why and what to do.

    Resources:
        `close` gives back the file, the sockets and the threads.
    """

    blocking = True
    features: frozenset[Feature] = frozenset(Feature)

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous = "full",
        clock: Callable[[], float] = time.time,
        name: str | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        if synchronous not in ("full", "normal"):
            raise InvalidOptions("synchronous", synchronous, "full or normal")
        self.name = f"sqlite:///{path}" if name is None else name
        place = Path(path).resolve()  # SQLite puts its log beside the real file, too
        check_driver(self.name)
        check_place(self.name, place)
        self._database = database = Database(self.name, place, clock, synchronous, busy_seconds)
        self._audience = Audience(database)
        self.place = str(place)
        self.admin = SqliteAdmin(database, self._audience)
        self.limits = SqliteLimits(database)
        self.locks = SqliteLocks(database, self._audience)
        self.replies = SqliteReplies(database)
        self.parking = SqliteParking(database)
        self.pauses = SqlitePauses(database, self._audience)
        self.facts = SqliteFacts(database)
        self.postbox = SqlitePostbox(database)
        self.event_log = SqliteEventLog(database, self._audience)
        self.ends = self._audience.ends
        self._maintenance = Maintenance(database)
        self.schedules = SqliteSchedules(database, self._audience, self._maintenance.after_write)
        self.outbox = SqliteOutbox(database, self._audience, self._maintenance.after_write)
        self.states = SqliteStates(database, self._audience, self._maintenance.after_write)
        self._backlog = False  # whether the last claim got all it wanted; any thread writes it, a wrong value costs a look

    @classmethod
    def from_options(cls, path: str, options: Mapping[str, str], url: str) -> SqliteBroker:
        """Open the broker that a URL describes.

        Raises:
            InvalidBrokerUrl: An option is not known, or cannot have this value.
            BrokerUnreachable: The file cannot be used.
        """
        for option in options:
            if option not in _OPTIONS:
                raise InvalidBrokerUrl(url, f"sqlite: has no option {option!r}, only {' and '.join(_OPTIONS)}")
        busy = options.get("busy_timeout", str(BUSY_SECONDS))
        try:
            busy_seconds = float(busy)
        except ValueError:
            busy_seconds = -1.0
        if not 0 <= busy_seconds < 3600:
            raise InvalidBrokerUrl(url, f"busy_timeout={busy!r} is no number of seconds from 0 to 3600")
        match options.get("synchronous", "full"):
            case "full":
                return cls(path, synchronous="full", name=url, busy_seconds=busy_seconds)
            case "normal":
                return cls(path, synchronous="normal", name=url, busy_seconds=busy_seconds)
            case other:
                raise InvalidBrokerUrl(url, f"synchronous={other!r} is neither full nor normal")

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        if not jobs:
            return self._nothing()
        check_room(self._database)
        answers, hints = self._database.write(lambda cursor, now: submit_jobs(cursor, now, jobs), durable=True, essential=False)
        self._audience.tell(hints)
        self._maintenance.after_write(len(jobs))
        return receipts_of(answers)

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        if limit <= 0 or not queues:
            return self._nothing()
        found = self._look(queues)
        if found >= 4:
            found -= 4
            if self._database.read(lambda cursor: is_any_parked(cursor, queues, names)):
                found = 3
        if not found:
            return []
        if found == 3:
            deliveries, hints = self._database.write(
                lambda cursor, now: claim_with_parked(cursor, now, queues, limit, worker, lease_seconds, names)
            )
            self._audience.tell(hints)
        elif found == 2:
            deliveries, hints = self._database.write(
                lambda cursor, now: claim_in_order(cursor, now, queues, limit, worker, lease_seconds)
            )
            self._audience.tell(hints)
        else:
            deliveries = self._database.write_alone(
                lambda cursor, now: claim_jobs(cursor, now, queues, limit, worker, lease_seconds)
            )
        self._backlog = len(deliveries) == limit
        return deliveries

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        if not settlements:
            return self._nothing()
        check_settlements(settlements)
        answers, hints = self._database.write(
            lambda cursor, now: settle_jobs(cursor, now, settlements), durable=needs_disk(settlements)
        )
        self._audience.tell(hints)
        self._maintenance.after_write(len(settlements))
        return answers

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        if not deliveries:
            return self._nothing()
        return self._database.write(lambda cursor, now: renew_leases(cursor, now, deliveries, lease_seconds))

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        if not ids:
            return self._nothing()

        def work(cursor: apsw.Cursor, now: float) -> tuple[list[CancelAnswer], Hints]:
            hints = Hints()
            return cancel_jobs(cursor, now, ids, reason, hints, owner), hints

        answers, hints = self._database.write(work, durable=True)
        self._audience.tell(hints)
        return answers

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        if not owners:
            return self._nothing()
        answers, hints = self._database.write(
            lambda cursor, now: hold_leases(cursor, now, owners, lease_seconds), durable=lease_seconds <= 0
        )
        self._audience.tell(hints)
        return answers

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        if not ids:
            return self._nothing()
        self._database.check_place()  # who waits for an outcome may make no other call
        found = self._database.read(lambda cursor: find_outcomes(cursor, ids))
        return [found.get(job_id) for job_id in ids]

    def sweep(self, limit: int) -> Swept:
        database = self._database
        self._maintenance.run()
        if database.read(inbox_has_mail):
            self._take_in()
        swept = Swept()
        if database.read(lambda cursor: is_anything_to_do(cursor, database.clock())):
            swept, hints = database.write(
                lambda cursor, now: sweep_jobs(cursor, now, limit, trust_leases=database.trusts_leases)
            )
            self._audience.tell(hints)
        return database.read(lambda cursor: add_what_is_next(cursor, database.clock(), swept))

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        self._database.check_usable()
        self._database.check_place()  # a listener opens the file once more
        return self._audience.join(topics, emit)

    def close(self) -> None:
        self._audience.close()
        self._database.close()

    def _look(self, queues: Sequence[str]) -> int:
        """Look, without a lock, what a claim would find; most claims of an idle worker would find nothing. See `look`."""
        database = self._database
        if not self._backlog and database.read(inbox_has_mail):
            self._take_in()
        return database.read(lambda cursor: look(cursor, queues, database.clock()))

    def _take_in(self) -> None:
        """Make jobs of what is in the inbox. While the disk is full it stays there, and the call at hand goes on."""
        messages = self._database.read(read_inbox)
        with suppress(BrokerFull):
            hints = self._database.write(lambda cursor, now: store_inbox(cursor, now, messages), essential=False)
            self._audience.tell(hints)

    def _nothing(self) -> list[Any]:
        """Answer a call that asks for nothing; SQLite has no empty lists."""
        self._database.check_usable()
        return []
