"""The transitions of jobs in a Redis server: each method is one call of one script. `layout` lists what stands there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from secrets import token_bytes
from typing import Any, Final

from ...model.delivery import (
    CancelAnswer,
    Delivery,
    Finished,
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
from ...model.states import ENDED
from ..common.states import NUMBERS
from ..protocol import Broker, Emit, Feature, Listener
from .address import Address, read_address
from .admin import RedisAdmin, RedisLimits
from .checks import check_server
from .event_log import RedisEventLog
from .facts import RedisFacts
from .hints import Audience
from .layout import TOKEN_BYTES, decode_any, encode, pack_jobs
from .link import Link
from .locks import RedisLocks
from .mail import RedisPostbox, RedisReplies
from .outgoing import RedisOutbox, RedisStates
from .parking import RedisParking
from .pausing import RedisPauses
from .records import to_deliveries, to_receipts, to_seconds, to_stored
from .running import Scripts
from .schedules import RedisSchedules
from .scripts import read_scripts

LOOK_SECONDS: Final = 0.28  # with a sweep each second and the heartbeat this stays below five calls
_LOOK_UP: Final = 2_000  # ids in one call, which changes nothing and may be several
_CANCELS: Final = {
    -1: CancelAnswer.UNKNOWN,
    0: CancelAnswer.FINISHED,
    1: CancelAnswer.CANCELLED,
    2: CancelAnswer.REQUESTED,
}
_HELD: Final = Renewal(LeaseState.HELD)
_LOST: Final = Renewal(LeaseState.LOST)
_EMPTY: Final = encode({})
_UNANSWERED: Final = 2  # stored, but not its reply
_log = logging.getLogger("nursery_tasks.worker")


class RedisBroker(Broker):
    """A broker on a Redis or Valkey server, for any number of processes on any number of machines.

    Args:
        address: Where the server is; `from_options` reads it from a URL.
        name: How the broker is called in errors: the URL without its password.
        clock: Tells the time in epoch seconds, for tests; None: the server does.

    Raises:
        BrokerUnreachable: The server does not answer or cannot be used; the text says why and what to do.

    Resources:
        `close` gives back the connections and the thread that listens.
    """

    blocking = True
    look_seconds = LOOK_SECONDS
    features: frozenset[Feature] = frozenset(Feature)

    def __init__(self, address: Address, *, name: str, clock: Callable[[], float] | None = None) -> None:
        self.name = name
        self._link = link = Link(name, address)
        try:
            scripts = Scripts(link, read_scripts(check_server(link)), clock)
        except BaseException:
            link.close()
            raise
        self._audience = Audience(link)
        self._run = scripts.run
        self.admin = RedisAdmin(scripts)
        self.limits = RedisLimits(scripts)
        self.locks = RedisLocks(scripts)
        self.replies = RedisReplies(link)
        self.outbox = RedisOutbox(scripts)
        self.states = RedisStates(scripts)
        self.parking = parking = RedisParking(scripts)
        self._pack = parking.pack
        self.pauses = RedisPauses(scripts)
        self.facts = RedisFacts(link)
        self.postbox = RedisPostbox(link)
        self.schedules = RedisSchedules(scripts)
        self.event_log = RedisEventLog(scripts)

    @classmethod
    def from_options(
        cls, url: str, options: Mapping[str, str], name: str, *, clock: Callable[[], float] | None = None
    ) -> RedisBroker:
        """Open the broker that a URL describes; *options* are its query, *name* is the URL without the password.

        Raises:
            InvalidBrokerUrl: An option is not known, or cannot have this value.
            BrokerUnreachable: The server cannot be used.
        """
        return cls(read_address(url, options, name), name=name, clock=clock)

    def submit(self, jobs: Sequence[Submission]) -> list[Receipt]:
        if not jobs:
            return self._nothing()
        return to_receipts(jobs, self._run("submit", *pack_jobs(jobs)))

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        if limit <= 0 or not queues:
            return self._nothing()
        random = token_bytes(TOKEN_BYTES)
        return to_deliveries(self._run("claim", limit, worker, lease_seconds, random, self._pack(names), *queues), random)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        if not settlements:
            return self._nothing()
        kinds: list[str] = []
        delays: dict[int, float] = {}
        values: list[bytes] = []
        sent: list[Any] = []
        for place, item in enumerate(settlements, 1):
            kind, body, delay = _say(item)
            kinds.append(kind)
            values.append(_token(item.delivery))
            values.append(body)
            if delay:
                delays[place] = delay
            if isinstance(item, Finished) and item.reply is not None:
                sent += (place, item.reply.to, item.reply.body)
            if isinstance(item, Finished) and item.outgoing:
                sent += [part for each in item.outgoing for part in (-place, each.destination, each.body)]
        answers = self._run("settle", "".join(kinds), encode(delays) if delays else _EMPTY, *values, *sent)
        for item, answer in zip(settlements, answers, strict=True):
            if answer == _UNANSWERED and isinstance(item, Finished) and item.reply is not None:
                _log.warning("no answer is put into %r: that key is no list", item.reply.to)
        return [answer >= 1 for answer in answers]

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        if not deliveries:
            return self._nothing()
        answers = self._run("renew", lease_seconds, *[_token(delivery) for delivery in deliveries])
        return [_to_renewal(answer) for answer in answers]

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        if not ids:
            return self._nothing()
        answers = self._run("cancel", reason or "", 0 if owner is None else 1, owner or b"", *ids)
        return [_CANCELS[answer] for answer in answers]

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        if not owners:
            return self._nothing()
        return [answer == 1 for answer in self._run("hold", lease_seconds, *owners)]

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        if not ids:
            return self._nothing()
        found: list[Stored | None] = []
        for begin in range(0, len(ids), _LOOK_UP):
            rows, *outcomes = self._run("outcomes", *ids[begin : begin + _LOOK_UP])
            found += [to_stored(row, outcome) for row, outcome in zip(decode_any(rows), outcomes, strict=True)]
        return found

    def sweep(self, limit: int) -> Swept:
        *counts, next_due, next_room, next_look, pauses = decode_any(self._run("sweep", limit))
        due, returned, died, expired, orphaned, dropped = counts
        return Swept(
            due=due,
            returned=returned,
            died=died,
            expired=expired,
            orphaned=orphaned,
            dropped=dropped,
            more=max(orphaned, due, expired, returned + died, dropped) >= limit,
            next_due_seconds=to_seconds(next_due),
            next_room_seconds=to_seconds(next_room),
            next_schedule_seconds=to_seconds(next_look),
            pauses=pauses,
        )

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        self._link.check_usable()
        return self._audience.join(topics, emit)

    def close(self) -> None:
        self._audience.close()
        self._link.close()

    def _nothing(self) -> list[Any]:
        """Answer a call that asks for nothing."""
        self._link.check_usable()
        return []


def _token(delivery: Delivery) -> bytes:
    """Return the token, with which scripts find the job; one that is not this job's leads nowhere."""
    address = delivery.address
    return delivery.token if type(address) is bytes and delivery.token.endswith(address) else b""


def _say(item: Settlement) -> tuple[str, bytes, float]:
    """Return what `settle.lua` wants to know: the kind, a body, a delay.

    Raises:
        ValueError: A job is said to end in a state that is no end.
    """
    if isinstance(item, Finished):
        if item.state not in ENDED:
            raise ValueError(f"{item.delivery.id}: no job ends in the state {item.state}")
        return str(NUMBERS[item.state]), item.outcome, 0.0
    if isinstance(item, Started):
        return "S", b"", 0.0
    if isinstance(item, Progressed):
        return "P", item.progress, 0.0
    if isinstance(item, Unresponsive):
        return "U", b"", 0.0
    if isinstance(item, Retried):
        return ("r", b"", item.delay_seconds) if item.failure is None else ("R", item.failure, item.delay_seconds)
    if isinstance(item, Released):
        return "L", b"" if item.park is None else item.park.encode(), item.delay_seconds
    raise TypeError(f"{type(item).__name__} is no settlement")


def _to_renewal(answer: Any) -> Renewal:
    if answer == 1:
        return _HELD
    return _LOST if answer == 0 else Renewal(LeaseState.CANCEL, answer.decode() or None)
