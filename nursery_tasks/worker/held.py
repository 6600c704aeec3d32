"""The jobs that this worker holds: claimed, running, or ended with an outcome that is not stored yet."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from anyio import CancelScope

from ..current import Hold
from ..model.delivery import Delivery
from ..model.outcome import GIVEN_BACK, LEASE_LOST
from ..model.reply import Address
from .prepare import Call


def boot_time() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as a broker's leases do."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS: its monotonic clock goes on by itself


class Held:
    """One held job.

    Attributes:
        lease_from: When the last successful claim or renewal was *sent*, by `boot_time()`; written by the lease keeper.
        expires_deadline: On the loop's clock; past it the job must not be started any more.
        since: When it was claimed, on the loop's clock.
        scope: The attempt's scope while it runs.
        cancelled: It is to be cancelled, by somebody or because its lease is lost; `cancel_reason` says why.
        lost: The lease is lost, or cannot be kept: whatever becomes of the job here does not count.
        given_back: It waits, the worker stops, and another one can go on with it.
        ended: The attempt is over and its settlement is on its way.
        told_at: When the watchdog saw that it was told to end, on the loop's clock.
        time_limit: When its timeout or its caller's deadline is over, likewise; `timeout_at` is the timeout alone.
        began_at, call: When the attempt began, in epoch seconds, and what it calls.
        over: The handler has returned; until then it may still do something.
        hold: What the running handler holds of its worker.
        address: Where the answer goes, once that is known.
        watched: How often the watchdog has acted on it: 1 warned, 2 given up.
    """

    __slots__ = (
        "address",
        "began_at",
        "call",
        "cancel_reason",
        "cancelled",
        "delivery",
        "ended",
        "expires_deadline",
        "given_back",
        "hold",
        "lease_from",
        "lost",
        "over",
        "scope",
        "since",
        "time_limit",
        "timeout_at",
        "told_at",
        "watched",
    )

    def __init__(self, delivery: Delivery, lease_from: float, now: float) -> None:
        self.delivery = delivery
        self.lease_from = lease_from
        self.since = now
        waits = delivery.expires_in_seconds
        self.expires_deadline = None if waits is None else now + waits
        self.scope: CancelScope | None = None
        self.cancelled = False
        self.cancel_reason: str | None = None
        self.lost = False
        self.given_back = False
        self.ended = False
        self.over = False
        self.told_at = self.time_limit = self.timeout_at = math.inf
        self.began_at = 0.0
        self.call: Call | None = None
        self.hold: Hold | None = None
        self.address: Address | None = None
        self.watched = 0

    def cancel(self, reason: str | None) -> None:
        """Cancel the attempt, or keep it from starting. The first reason stays, but a lost lease beats all others."""
        if not self.cancelled:
            self._cancel(reason)

    def lose(self) -> None:
        """Do the same because somebody else has the job by now, or soon will."""
        if not self.lost:
            self.lost = True
            self._cancel(LEASE_LOST)

    def give_back(self) -> None:
        """End the attempt because another worker can go on with it, at no loss; not once somebody wants the job to end."""
        if not self.cancelled:
            self.given_back = True
            self._cancel(GIVEN_BACK)

    def _cancel(self, reason: str | None) -> None:
        self.cancelled = True
        self.cancel_reason = reason
        if self.scope is not None:
            self.scope.cancel(reason)


class HeldJobs:
    """The table of held jobs, by id. The loop writes it; the lease keeper's thread takes snapshots."""

    def __init__(self) -> None:
        self._jobs: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, deliveries: Iterable[Delivery], lease_from: float, now: float) -> list[Held]:
        """Enter what was claimed."""
        held = [Held(delivery, lease_from, now) for delivery in deliveries]
        for item in held:
            before = self._jobs.get(item.delivery.id)
            if before is not None:  # its lease was over, and this worker is the next one, too
                before.lose()
            self._jobs[item.delivery.id] = item
        return held

    def remove(self, held: Held) -> None:
        """Take one out: settled, released or lost. Another delivery of the same job stays."""
        if self._jobs.get(held.delivery.id) is held:
            del self._jobs[held.delivery.id]

    def find(self, ids: Iterable[str] | None) -> list[Held]:
        """Return those of *ids* that are held here; None: all."""
        if ids is None:
            return self.snapshot()
        return [held for job_id in ids if (held := self._jobs.get(job_id)) is not None]

    def snapshot(self) -> list[Held]:
        """Return all, from any thread: one step of the interpreter, so nothing can change under it."""
        return list(self._jobs.values())

    def running(self) -> list[str]:
        """Return the ids of the jobs whose attempts run."""
        return [held.delivery.id for held in self.snapshot() if held.scope is not None and not held.ended]
