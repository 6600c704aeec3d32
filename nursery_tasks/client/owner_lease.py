"""What makes the jobs that a program awaits end with it: a lease, held at the broker for as long as one of them is awaited.

The lease is made by the submission of an owned job itself, in one step, and prolonged from a thread of its own, so that a
program that holds up its event loop (a debugger, a long computation) does not lose its jobs. A program that is killed prolongs
nothing; one lease later the broker cancels what it owned. Jobs that a handler awaits need none of this: their owner is the
delivery that the handler runs for, whose lease the worker keeps.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from secrets import token_bytes
from typing import Final

import msgspec

from ..brokers.protocol import Broker, Feature
from ..errors import BrokerClosed, BrokerError
from ..forks import renew_in_children
from ..log_throttle import LogThrottle
from ..model.delivery import CancelAnswer, Submission

OWNER_LEASE_SECONDS: Final = 15.0
NESTED_PRIORITY: Final = 10  # of what a handler awaits: above all that users can give
ABANDONED: Final = "its caller went away"
ARRIVAL_SECONDS: Final = 15.0  # a call to the broker is given up after 10
RETRY_SECONDS: Final = 0.5  # between two tries to cancel what was abandoned, or to prolong a lease that could not be prolonged

_log = logging.getLogger("nursery_tasks.client")


class OwnerLease:
    """One program's lease. Thread-safe.

    Args:
        broker: Called for the broker when it is first needed.
        lease_seconds: How long the broker believes that the program lives.
    """

    def __init__(self, broker: Callable[[], Broker], lease_seconds: float = OWNER_LEASE_SECONDS) -> None:
        self.lease_seconds = lease_seconds
        self.awaited = 0  # how many jobs are awaited now
        self._broker = broker
        self._closed = False
        self._not_kept = LogThrottle(_log)
        self.begin_again()
        renew_in_children(self, OwnerLease.begin_again)

    def begin_again(self) -> None:
        """Become an owner of its own: the jobs of a forked child must not live as long as its parent."""
        self.id = token_bytes(16)
        self.awaited = 0
        # id -> reason, and until when it is tried: cancels that the broker has not heard of
        self._abandoned: dict[str, tuple[str, float]] = {}
        self._failed = False  # the last call; only the thread uses it
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def awaiting(self) -> Generator[float, None, None]:
        """Keep the lease while the context is open; gives the length that a submission in it makes the lease anew with.

        A broker that is not shared between processes dies with its owners: there the lease never runs out.
        """
        is_shared = Feature.SHARED in self._broker().features
        changed = self._changed
        with changed:
            self.awaited += 1
            if self.awaited == 1 and is_shared:
                self._start()
        try:
            yield self.lease_seconds if is_shared else math.inf
        finally:
            with changed:
                self.awaited -= 1

    def abandon(self, job_id: str, reason: str) -> None:
        """Have a job of this owner cancelled, now or when the broker is back: nobody awaits it any more.

        Others may keep the lease alive, so it would not end by itself. Its submission may still be under way: while the job is
        not known it is looked for again.
        """
        with self._changed:
            self._abandoned[job_id] = reason, time.monotonic() + ARRIVAL_SECONDS
            self._start()

    def close(self) -> None:
        """End the thread; the lease runs out by itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _start(self) -> None:
        self._closed = False
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._keep, name="nursery-tasks owner lease", daemon=True)
            self._thread.start()
        else:
            self._changed.notify_all()

    def _keep(self) -> None:
        while self._wait():
            self._failed = True
            try:
                self._keep_once()
                self._failed = False
            except BrokerClosed:
                return
            except BrokerError as error:
                self._not_kept.log("cannot keep the lease on awaited jobs, trying again: %s", error)
            except Exception:  # a broker's mistake, and nobody to raise it to; without a lease the jobs end
                self._not_kept.log("cannot keep the lease on awaited jobs, trying again", traceback=True)

    def _keep_once(self) -> None:
        broker = self._broker()
        if self.awaited and Feature.SHARED in broker.features:
            [held] = broker.renew_owners([self.id], self.lease_seconds)
            if not held and self.awaited:
                _log.warning("the lease on awaited jobs had run out: they were cancelled")
        for job_id, (reason, until) in list(self._abandoned.items()):
            [answer] = broker.cancel([job_id], reason, self.id)
            if answer is not CancelAnswer.UNKNOWN or time.monotonic() >= until:
                self._abandoned.pop(job_id, None)

    def _wait(self) -> bool:
        """Wait for the next renewal; False: the thread is not needed any more.

        A wait that begins anew lasts its time, too: the lease is made by the submission that follows.
        """
        changed = self._changed  # a fork replaces it, for itself
        with changed:
            while not self.awaited and not self._abandoned and not self._closed:
                changed.wait()
            if self._abandoned or self._failed:
                changed.wait_for(lambda: self._closed, RETRY_SECONDS)
            else:
                changed.wait_for(lambda: self._closed or self._abandoned, self.lease_seconds / 3)
            return not self._closed


def own(submission: Submission, owner: bytes, lease_seconds: float, *, nested: bool) -> Submission:
    """Give a submission an owner.

    Args:
        lease_seconds: For how long the submission makes the owner's lease anew; 0: somebody else keeps it.
        nested: A handler waits for it.
    """
    # What a handler waits for goes before what has not begun: a handler that waits holds memory, or a thread.
    priority = submission.priority + NESTED_PRIORITY if nested else submission.priority
    return msgspec.structs.replace(submission, owner=owner, owner_seconds=lease_seconds, priority=priority)
