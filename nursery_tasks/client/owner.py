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
from collections.abc import Callable, Generator
from contextlib import contextmanager
from secrets import token_bytes
from typing import Final

from ..brokers.protocol import Broker, Feature
from ..errors import BrokerClosed, BrokerError

OWNER_LEASE_SECONDS: Final = 15.0

_log = logging.getLogger("nursery_tasks.client")


class OwnerLease:
    """One program's lease. Thread-safe.

    Args:
        broker: Called for the broker when it is first needed.
        lease_seconds: How long the broker believes that the program lives.
    """

    def __init__(self, broker: Callable[[], Broker], lease_seconds: float = OWNER_LEASE_SECONDS) -> None:
        self.id = token_bytes(16)
        self.lease_seconds = lease_seconds
        self._broker = broker
        self._awaited = 0
        self._abandoned: dict[str, str] = {}  # id -> reason: cancels that the broker has not heard of
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def awaiting(self) -> Generator[float, None, None]:
        """Keep the lease while the context is open; gives the length that a submission in it makes the lease anew with.

        A broker that is not shared between processes dies with its owners: there the lease never runs out.
        """
        if Feature.SHARED not in self._broker().features:
            yield math.inf
            return
        with self._changed:
            self._awaited += 1
            if self._awaited == 1:
                self._start()
        try:
            yield self.lease_seconds
        finally:
            with self._changed:
                self._awaited -= 1

    def abandon(self, job_id: str, reason: str) -> None:
        """Have a job cancelled, now or when the broker is back: nobody awaits it any more, and others keep the lease alive."""
        with self._changed:
            self._abandoned[job_id] = reason
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
            try:
                self._keep_once()
            except BrokerClosed:
                return
            except BrokerError as error:
                _log.warning("cannot keep the lease on awaited jobs, trying again: %s", error)
            except Exception:  # a broker's mistake, and nobody to raise it to; without a lease the jobs end
                _log.exception("cannot keep the lease on awaited jobs, trying again")

    def _keep_once(self) -> None:
        broker = self._broker()
        if self._awaited:
            [held] = broker.hold([self.id], self.lease_seconds)
            if not held and self._awaited:
                _log.warning("the lease on awaited jobs had run out: they were cancelled")
        for job_id, reason in list(self._abandoned.items()):
            broker.cancel([job_id], reason)
            self._abandoned.pop(job_id, None)

    def _wait(self) -> bool:
        """Wait for the next renewal; False: the thread is not needed any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, self.lease_seconds / 3)
            while not self._awaited and not self._abandoned and not self._closed:
                self._changed.wait()
            return not self._closed
