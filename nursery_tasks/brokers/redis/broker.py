"""The transitions of jobs in a Redis server: each method is one call of one script. `layout` lists what stands there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

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
from ..protocol import Broker, Emit, Feature, Listener
from .address import HIREDIS_AVAILABLE, Address, read_address
from .admin import RedisAdmin, RedisLimits
from .checks import check_server
from .event_log import RedisEventLog
from .facts import RedisFacts
from .hints import Audience
from .link import Link
from .locks import RedisLocks
from .mail import RedisPostbox, RedisReplies
from .outgoing import RedisOutbox, RedisStates
from .parking import RedisParking
from .pausing import RedisPauses
from .running import Scripts
from .schedules import RedisSchedules
from .scripts import read_scripts
from .steps import LOOK_UP, JobSteps
from .taking_over import take_over

LOOK_SECONDS: Final = 0.28  # with a sweep each second and the heartbeat this stays below five calls


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
            take_over(scripts)
        except BaseException:
            link.close()
            raise
        self._audience = Audience(link)
        self._take = scripts.take
        self.admin = RedisAdmin(scripts)
        self.limits = RedisLimits(scripts)
        self.locks = locks = RedisLocks(scripts)
        self.replies = RedisReplies(link)
        self.outbox = outbox = RedisOutbox(scripts)
        self.states = states = RedisStates(scripts)
        self.parking = parking = RedisParking(scripts)
        self._steps = steps = JobSteps(scripts, parking)
        self.pauses = RedisPauses(scripts)
        self.facts = RedisFacts(link)
        self.postbox = RedisPostbox(link)
        self.schedules = RedisSchedules(scripts)
        self.event_log = RedisEventLog(scripts)
        self.ends = scripts.ends
        if HIREDIS_AVAILABLE:
            from .carrying import RedisSteps, job_makers

            makers = job_makers(self, steps) | outbox.makers() | states.makers() | locks.makers()
            self.steps = RedisSteps(link, makers)

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
        return self._take(self._steps.submit(jobs)) if jobs else self._nothing()

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        if limit <= 0 or not queues:
            return self._nothing()
        return self._take(self._steps.claim(queues, limit, worker, lease_seconds, names))

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return self._take(self._steps.settle(settlements)) if settlements else self._nothing()

    def renew(self, deliveries: Sequence[Delivery], lease_seconds: float) -> list[Renewal]:
        return self._take(self._steps.renew(deliveries, lease_seconds)) if deliveries else self._nothing()

    def cancel(self, ids: Sequence[str], reason: str | None, owner: bytes | None = None) -> list[CancelAnswer]:
        return self._take(self._steps.cancel(ids, reason, owner)) if ids else self._nothing()

    def renew_owners(self, owners: Sequence[bytes], lease_seconds: float) -> list[bool]:
        return self._take(self._steps.renew_owners(owners, lease_seconds)) if owners else self._nothing()

    def outcomes(self, ids: Sequence[str]) -> list[Stored | None]:
        if not ids:
            return self._nothing()
        found: list[Stored | None] = []
        for begin in range(0, len(ids), LOOK_UP):
            found += self._take(self._steps.outcomes(ids[begin : begin + LOOK_UP]))
        return found

    def sweep(self, limit: int) -> Swept:
        return self._take(self._steps.sweep(limit))

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
