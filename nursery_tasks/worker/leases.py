"""Keeps the leases of held jobs alive, and cancels the attempts whose lease cannot be kept.

Renewals are made in a thread of their own, so that a handler that blocks the event loop does not cost its neighbours' leases.
The thread never waits for the loop: it posts what it finds. A loop that is blocked for longer than `MAX_STALL_SECONDS` is given
up: the worker is told, prints its stacks and exits, because somebody else should run those jobs.

Self-fencing: when no renewal has been *sent* successfully for a lease minus `FENCE_SECONDS`, the attempt is cancelled before
anybody else can have the job. Counted from the sending and on a clock that goes on while the machine sleeps.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from anyio import sleep

from ..brokers.posting import Post
from ..brokers.protocol import Broker
from ..complaint import Complaint
from ..errors import BrokerClosed, BrokerError
from ..model.delivery import LeaseState, Renewal
from .held import Held, HeldJobs, boot_time

MAX_STALL_SECONDS: Final = 60.0
FENCE_SECONDS: Final = 3.0  # at most; a fifth of a short lease
RETRY_SECONDS: Final = 0.2  # after a renewal that failed: one that hung has cost most of the time that was left

_log = logging.getLogger("nursery_tasks.worker")


class LeaseKeeper:
    """The heart beat of one worker.

    Args:
        clock: `boot_time`, or the loop's (maybe virtual) time for a broker that lives on the loop.
        post: Runs a callable on the loop.
        on_wedged: Called in the keeper's thread when the loop has been blocked for too long; None: only the leases are let go.
    """

    def __init__(
        self,
        broker: Broker,
        held: HeldJobs,
        lease_seconds: float,
        clock: Callable[[], float],
        post: Post,
        on_wedged: Callable[[float], object] | None,
    ) -> None:
        self._broker = broker
        self._held = held
        self._lease_seconds = lease_seconds
        self._fence_seconds = lease_seconds - min(FENCE_SECONDS, lease_seconds / 5)
        self._pause_seconds = lease_seconds / 6
        self._clock = clock
        self._post = post
        self._on_wedged = on_wedged
        self._not_renewed = Complaint(_log)
        self._stop = threading.Event()
        self._answered_at = boot_time()  # the loop writes it, in reaction to a ping; the thread reads it
        self._wedged = False

    async def serve(self) -> None:
        """Keep the leases until cancelled. A broker that never blocks is called from the loop, without a thread."""
        if self._broker.blocking:
            threading.Thread(target=self._run, name="nursery-tasks lease keeper", daemon=True).start()
        try:
            while True:
                await sleep(self._next_pause())
                self.renew_on_loop()
                self._fence()
        finally:
            self._stop.set()

    def is_late(self, held: Held) -> bool:
        """Say whether a lease is too old for a start: this process may have been stopped for long."""
        return self._age(held) >= self._fence_seconds

    def renew_on_loop(self) -> None:
        """Renew what is due, where that is done on the loop; also before a sweep, which may come first after a long block."""
        if not self._broker.blocking:
            self._renew_due()

    def _run(self) -> None:
        while not self._stop.wait(self._next_pause()):
            self._post(self._answer)
            stalled = boot_time() - self._answered_at
            if stalled > MAX_STALL_SECONDS:
                self._give_up(stalled)
                continue
            try:
                self._renew_due()
            except BrokerClosed:
                return
            except Exception:  # a broker's mistake; this thread has nobody to raise to, and the fence does the rest
                _log.exception("cannot renew leases, trying again")

    def _answer(self) -> None:
        self._answered_at = boot_time()

    def _give_up(self, stalled_seconds: float) -> None:
        if not self._wedged:
            self._wedged = True
            _log.error("the event loop has been blocked for %.0f s: its leases are let go", stalled_seconds)
            if self._on_wedged is not None:
                self._on_wedged(stalled_seconds)

    def _next_pause(self) -> float:
        """Return the seconds until the oldest lease is a third over, at most a sixth of a lease."""
        oldest = max((self._age(held) for held in self._held.snapshot() if not held.lost), default=0.0)
        left = self._lease_seconds / 3 - oldest
        return min(self._pause_seconds, left if left > 0 else RETRY_SECONDS)

    def _renew_due(self) -> None:
        """Renew, as soon as one is a third over, all that are a quarter over: so there are a few calls for many leases."""
        ages = [(held, self._age(held)) for held in self._held.snapshot() if not held.lost]
        if any(age >= self._lease_seconds / 3 for _, age in ages):
            self._renew([held for held, age in ages if age >= self._lease_seconds / 4])

    def _fence(self) -> None:
        """Cancel what could not be renewed in time; on the loop, because a renewal that hangs holds up the thread."""
        for held in self._held.snapshot():
            if self._age(held) >= self._fence_seconds:
                held.lose()

    def _age(self, held: Held) -> float:
        return self._clock() - held.lease_from

    def _renew(self, due: list[Held]) -> None:
        sent = self._clock()
        try:
            answers = self._broker.renew([held.delivery for held in due], self._lease_seconds)
        except BrokerClosed:
            raise
        except BrokerError as error:
            self._not_renewed.say("cannot renew %d leases, trying again: %s", len(due), error)
            return
        for held, answer in zip(due, answers, strict=True):
            self.note(held, answer, sent)

    def note(self, held: Held, answer: Renewal, sent: float) -> None:
        """Act on the answer to one renewal; also for renewals that were made because of a cancel hint."""
        if answer.state is LeaseState.LOST:
            self._post(held.lose)
            return
        held.lease_from = sent
        if answer.state is LeaseState.CANCEL:
            self._post(lambda: held.cancel(answer.reason))
