"""Keeps the leases of the jobs in flight alive, and cancels the attempts whose lease cannot be kept.

Renewals are made in a thread of their own, so that a handler that blocks the event loop does not cost its neighbours' leases.
The thread never waits for the loop: it posts what it finds. A loop that is blocked for longer than `MAX_STALL_SECONDS` is given
up: the worker is told, prints its stacks and exits, because somebody else should run those jobs.

Self-fencing: when no renewal has been *sent* successfully for a lease minus `FENCE_SECONDS`, the attempt is cancelled before
anybody else can have the job. Counted from the sending and on a clock that goes on while the machine sleeps. What has ended has
no handler to cancel, and is no business of the fence: whether its outcome counts is up to the token. So leases are renewed
until the broker says that a token does not hold, also those of outcomes that wait for the broker.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from anyio import sleep

from ..brokers.protocol import Broker
from ..errors import BrokerClosed, BrokerError
from ..log_throttle import LogThrottle
from ..loop.clocks import boot_time
from ..loop.threadsafe import RunSoon
from ..model.delivery import LeaseState, Renewal
from ..model.lease import fence_seconds
from .in_flight import InFlightJob, InFlightJobs

MAX_STALL_SECONDS: Final = 60.0
LATE_SECONDS: Final = 1.0  # a pause that ends so late was one of the whole process: it was stopped, or the machine slept
LEAST_PAUSE_SECONDS: Final = 0.001  # what is left may be too little to move a clock, and a virtual one would stand still
RETRY_SECONDS: Final = 0.2  # after a renewal that failed: one that hung has cost most of the time that was left

_log = logging.getLogger("nursery_tasks.worker")


class LeaseKeeper:
    """Renews the leases of one worker.

    Args:
        clock: `boot_time`, or the loop's (maybe virtual) time for a broker that lives on the loop.
        run_soon: Runs a callable on the loop.
        on_wedged: Called in the keeper's thread when the loop has been blocked for too long; None: only the leases are let go.
    """

    def __init__(
        self,
        broker: Broker,
        in_flight: InFlightJobs,
        lease_seconds: float,
        clock: Callable[[], float],
        run_soon: RunSoon,
        on_wedged: Callable[[float], object] | None,
    ) -> None:
        self._broker = broker
        self._in_flight = in_flight
        self._lease_seconds = lease_seconds
        self._fence_seconds = fence_seconds(lease_seconds)
        self._pause_seconds = lease_seconds / 6
        self._clock = clock
        self._run_soon = run_soon
        self._on_wedged = on_wedged
        self._not_renewed, self._broken = LogThrottle(_log), LogThrottle(_log)
        self._stop = threading.Event()
        self._answered_at = boot_time()  # the loop writes it, in reaction to a ping; the thread reads it
        self._ran_from = self._answered_at  # when this process ran again after it had not
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

    def is_late(self, job: InFlightJob) -> bool:
        """Say whether a lease is too old for a start: this process may have been stopped for long."""
        return self._clock() - job.lease_from >= self._fence_seconds

    def renew_on_loop(self) -> None:
        """Renew what is due, where that is done on the loop; also before a sweep, which may come first after a long block."""
        if not self._broker.blocking:
            self._renew_due()

    def _run(self) -> None:
        while True:
            due_at = boot_time() + (pause := self._next_pause())
            if self._stop.wait(pause):
                return
            self._run_soon(self._answer)
            stalled = self._stalled_seconds(due_at)
            if stalled > MAX_STALL_SECONDS:
                self._give_up(stalled)
                continue
            try:
                self._renew_due()
            except BrokerClosed:
                return
            except Exception:  # a broker's mistake; this thread has nobody to raise to, and the fence does the rest
                self._broken.log("cannot renew leases, trying again", traceback=True)

    def _stalled_seconds(self, due_at: float) -> float:
        """Say for how long the loop has not answered. When nothing here ran, not even this thread, that was not its fault.

        Args:
            due_at: When the pause of this thread, which ends now, was to end.
        """
        now = boot_time()
        if now - due_at > LATE_SECONDS:
            self._ran_from = now
        return now - max(self._answered_at, self._ran_from)

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
        oldest = max((self._age(job) for job in self._in_flight.snapshot() if not job.stale), default=0.0)
        left = self._lease_seconds / 3 - oldest
        return min(self._pause_seconds, max(left, LEAST_PAUSE_SECONDS) if left > 0 else RETRY_SECONDS)

    def _renew_due(self) -> None:
        """Renew, as soon as one is a third over, all that are a quarter over: so there are a few calls for many leases."""
        ages = [(job, self._age(job)) for job in self._in_flight.snapshot() if not job.stale]
        if any(age >= self._lease_seconds / 3 for _, age in ages):
            self._renew([job for job, age in ages if age >= self._lease_seconds / 4])

    def _fence(self) -> None:
        """Cancel what could not be renewed in time; on the loop, because a renewal that hangs holds up the thread."""
        for job in self._in_flight.snapshot():
            if not job.ended and self._age(job) >= self._fence_seconds:
                job.lose()

    def _age(self, job: InFlightJob) -> float:
        return self._clock() - job.lease_from

    def _renew(self, due: list[InFlightJob]) -> None:
        sent = self._clock()
        try:
            answers = self._broker.renew([job.delivery for job in due], self._lease_seconds)
        except BrokerClosed:
            raise
        except BrokerError as error:
            self._not_renewed.log("cannot renew %d leases, trying again: %s", len(due), error)
            return
        for job, answer in zip(due, answers, strict=True):
            self.note(job, answer, sent)

    def note(self, job: InFlightJob, answer: Renewal, sent: float) -> None:
        """Act on the answer to one renewal; also for renewals that were made because of a cancel hint."""
        if answer.state is LeaseState.LOST:
            self._run_soon(job.refuse)
            return
        job.lease_from = sent
        if answer.state is LeaseState.CANCEL:
            self._run_soon(lambda: job.cancel(answer.reason))
