"""Waiting for outcomes: pushed by hints, and polled in case that one is lost.

Some hints bring the outcome with them, and then nobody asks. A job that has failed may have been requeued before its hint is
here, and is waited for again: so of one that was there before the wait only a success is believed, which nobody can requeue.

A waiter registers first and looks second, so an outcome that comes in between is seen by one of the two. One child of the app's
nursery looks things up for all waiters together. Who submits a job registers even before it is sent; until then it is no news
that the broker does not know it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from anyio import CancelScope, Event, current_time, sleep

from ..brokers.gateway import Gateway
from ..brokers.protocol import Feature
from ..errors import BrokerError, BrokerReplaced, NotSupported, UnknownJob
from ..log_throttle import LogThrottle
from ..model.delivery import Hint, Stored, Topic
from ..model.states import JobState
from .unserved import AGAIN_SECONDS, LOOK_SECONDS, Unserved

POLL_SECONDS: Final = 2.0  # how late an outcome is seen when its hint was lost
LOOK_UP_LIMIT: Final = 500  # ids in one call
APART_SECONDS: Final = 1.0  # between two looks into why jobs have not begun, at least
PAUSE_SECONDS: Final = 0.5  # after a broker error

_log = logging.getLogger("nursery_tasks.client")


class Ticket:
    """One waiter. `stored` is set, and then `event`, by the service; `error` when there is nothing to wait for.

    `sent` is set by the waiter: the broker has been given the job. `takes_unresponsive`, too: it also wants to know that the
    job's handler was cancelled and does not end. `look_at`: when it is looked into why the job has not begun.
    """

    __slots__ = ("_was_there", "error", "event", "look_at", "sent", "stored", "takes_unresponsive")

    def __init__(self, sent: bool, look_at: float) -> None:
        self.look_at = look_at
        self.event = Event()
        self.sent = self._was_there = sent
        self.takes_unresponsive = False
        self.stored: Stored | None = None
        self.error: Exception | None = None

    def wants(self, stored: Stored) -> bool:
        """Say whether this is what it waits for."""
        return (stored.state.ended and stored.outcome is not None) or (stored.unresponsive and self.takes_unresponsive)

    def believes(self, told: Stored) -> bool:
        """Say whether what a hint has told is what it waits for."""
        return self.wants(told) and (not self._was_there or told.state is JobState.SUCCEEDED)

    def give(self, stored: Stored) -> None:
        self.stored = stored
        self.event.set()

    async def wait(self) -> Stored:
        """Wait until the job has ended.

        Raises:
            UnknownJob: The broker does not know it.
        """
        await self.event.wait()
        if self.error is not None:
            raise self.error
        assert self.stored is not None
        return self.stored


class OutcomeWaiter:
    """All waiters of one connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.poll_seconds = POLL_SECONDS
        self.unserved = Unserved()
        self._look_into_at = math.inf  # when the next wait has lasted for long; on the loop's clock
        self._gateway = gateway
        self._not_looked = LogThrottle(_log)
        self._tickets: dict[str, list[Ticket]] = {}
        self._look_at: set[str] = set()  # ids that may have ended
        self._told: dict[str, Stored] = {}  # id -> what a hint has said of it; written in any thread
        self._wake = Event()

    @contextmanager
    def expecting(self, job_id: str, *, look: bool) -> Generator[Ticket, None, None]:
        """Register for one job.

        Args:
            look: Look it up at once, because it may have ended already. False: it is not sent yet; set the ticket's `sent`.
        """
        ticket = Ticket(sent=look, look_at=current_time() + LOOK_SECONDS)
        self._look_into_at = min(self._look_into_at, ticket.look_at)
        if job_id not in self._tickets:
            self._told.pop(job_id, None)  # it was about an earlier wait
        if not self._tickets:
            self._wake.set()  # the service has slept without a limit; from now on it polls
        self._tickets.setdefault(job_id, []).append(ticket)
        if look:
            self.look(job_id)
        try:
            yield ticket
        finally:
            waiting = self._tickets.get(job_id, [])
            if ticket in waiting:
                waiting.remove(ticket)
            if not waiting:
                self._tickets.pop(job_id, None)
                self._told.pop(job_id, None)

    def is_wanted(self, hint: Hint) -> bool:
        """Say, in any thread, whether somebody waits for what a hint is about.

        A worker tells of every job that has ended, also its own program, where mostly nobody waits. Who begins to wait in this
        moment has registered before he looks, or before he sends the job, so he needs no hint of what has happened before.
        """
        if not hint.names:
            return bool(self._tickets)
        if self._tickets.keys().isdisjoint(hint.names):
            return False
        self._told.update((job_id, stored) for job_id, stored in hint.stored.items() if job_id in self._tickets)
        return True

    def on_hint(self, topic: Topic, names: set[str] | None) -> None:
        """Take a hint that jobs have ended."""
        hit = self._tickets.keys() if names is None else self._tickets.keys() & names
        if hit:
            self._look_at.update(hit)
            self._wake.set()

    async def serve(self) -> None:
        """Look up what waiters wait for, until cancelled."""
        next_poll = current_time() + self.poll_seconds
        while True:
            was_idle = not self._tickets
            # A deadline, and not a pause that is computed from it: that may be too short to move the clock past it.
            with CancelScope(deadline=math.inf if was_idle else min(next_poll, self._look_into_at)):
                await self._wake.wait()
            self._wake = Event()
            if was_idle:
                next_poll = current_time() + self.poll_seconds
            elif current_time() >= next_poll:
                next_poll = current_time() + self.poll_seconds
                self._look_at.update(self._tickets)
                self._told.clear()
            while self._look_at:
                await self._look_up(self._take())
            if current_time() >= self._look_into_at:
                await self._look_into()

    def close(self, error: Exception) -> None:
        """Fail everybody who still waits: nobody will look for them any more."""
        for tickets in self._tickets.values():
            for ticket in tickets:
                ticket.error = ticket.error or error
                ticket.event.set()

    async def _look_into(self) -> None:
        """Say why jobs have not begun that are waited for since some time; a few, where they are many."""
        now, late, next_at = current_time(), list[str](), math.inf
        # In one program nobody comes or goes without its doing, and on a virtual clock waiting costs nothing.
        again = now + AGAIN_SECONDS if Feature.SHARED in self._gateway.broker.features else math.inf
        for job_id, tickets in self._tickets.items():
            for ticket in tickets:
                if ticket.look_at <= now and ticket.sent and not ticket.takes_unresponsive and not ticket.event.is_set():
                    ticket.look_at = again
                    late.append(job_id)
                next_at = min(next_at, ticket.look_at)
        self._look_into_at = max(next_at, now + APART_SECONDS)
        if late:
            with suppress(BrokerError):
                await self._gateway.call(self.unserved.look, self._gateway.broker, late)

    async def _look_up_alone(self, ids: list[str], error: Exception) -> None:
        if len(ids) > 1:
            for job_id in ids:
                await self._look_up([job_id])
            return
        self._fail(ids[0], error)

    def _fail(self, job_id: str, error: Exception) -> None:
        for ticket in self._tickets.get(job_id, ()):
            ticket.error = error
            ticket.event.set()

    def look(self, job_id: str) -> None:
        """Look a job up now: it may have ended already."""
        self._look_at.add(job_id)
        self._wake.set()

    def _take(self) -> list[str]:
        taken = [self._look_at.pop() for _ in range(min(LOOK_UP_LIMIT, len(self._look_at)))]
        return [job_id for job_id in taken if job_id in self._tickets]

    def _believe(self, job_id: str) -> bool:
        """Give those who wait for a job what a hint has told; return whether that was all they want to know."""
        told = self._told.pop(job_id, None)
        tickets = self._tickets[job_id]
        if told is not None:
            for ticket in tuple(tickets):
                if ticket.believes(told):
                    ticket.give(told)
        return all(ticket.event.is_set() for ticket in tickets)

    async def _look_up(self, ids: list[str]) -> None:
        ids = [job_id for job_id in ids if not self._believe(job_id)]
        if not ids:
            return
        sent = {ticket for job_id in ids for ticket in self._tickets[job_id] if ticket.sent}  # before the look, not after it
        try:
            found = await self._gateway.outcomes(ids)
        except BrokerReplaced as error:  # nobody will ever know
            for job_id in ids:
                self._fail(job_id, error)
            return
        except BrokerError as error:  # a link that is down: the waiters' own deadlines go on
            self._not_looked.log("cannot look up the jobs that are awaited, trying again: %s", error)
            self._look_at.update(ids)
            await sleep(PAUSE_SECONDS)
            return
        except Exception as error:  # an id that no broker can look up: it is its waiter's error, and nobody else's
            await self._look_up_alone(ids, error)
            return
        for job_id, stored in zip(ids, found, strict=True):
            for ticket in tuple(self._tickets.get(job_id, ())):
                if stored is None and ticket in sent:
                    ticket.error = UnknownJob(job_id, self._gateway.broker.step)
                    ticket.event.set()
                elif stored is not None and ticket.wants(stored):
                    ticket.give(stored)


async def count_workers(gateway: Gateway) -> int | None:
    """Count the live workers; None where the broker cannot tell."""
    try:
        return len(await gateway.call(gateway.admin.list_workers))
    except NotSupported:
        return None
