"""A list that is read from.

What asks the server for messages belongs to the source and not to who waits for them: a `receive` that is cut leaves the
question under way, and what it brings is kept for the next one.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from anyio import Event, current_time, move_on_after, sleep

from ...errors import ChannelError, ChannelUnavailable
from ...loop.clocks import boot_time
from ...loop.threads import Call
from ..backoff import Backoff
from ..calls import BlockingCalls
from ..message import ChannelMessage
from ..protocol import Received
from .lists import BEAT_SECONDS, LEASE_SECONDS, RedisList, Waiter

WAIT_SECONDS: Final = 10.0  # for a server that is away, in one call
CLOSE_SECONDS: Final = 3.0


class RedisSource:
    """One reader of a list.

    Args:
        prefetch: How many may be here and not settled.
    """

    def __init__(self, name: str, where: RedisList, calls: BlockingCalls, waiter: Waiter, prefetch: int) -> None:
        self._name, self._list, self._calls, self._waiter, self._prefetch = name, where, calls, waiter, prefetch
        self._id = uuid4().hex
        self._came: deque[bytes] = deque()  # and was not received yet
        self._came_under = 0  # the lease of what came, by its number
        self._held: set[object] = set()  # the tags of what was received and is not settled
        self._owed: list[bytes] = []  # whose settling has failed: it is given back with the next question
        self._question: Call[tuple[int, list[bytes]]] | None = None  # the one that is under way
        self._answered: Event | None = None  # for the call that waits for it
        self._problem: ChannelError | None = None  # of the last one
        self._backoff = Backoff()
        self._beat_at = -math.inf  # on the clock that goes on while the machine sleeps
        self._lease = 0  # the number of the last one; a beat that comes too late begins another
        self._over = threading.Event()

    async def receive(self, limit: int) -> list[Received]:
        end = current_time() + WAIT_SECONDS
        while True:
            if self._came and not self._has_lease(self._came_under):
                self._owed += self._came  # others may have it by now; what they have not is given back, and comes again
                self._came.clear()
            if self._came:
                return [self._hand_over() for _ in range(min(limit, len(self._came)))]
            was_away = self._problem is not None
            if self._question is None and len(self._held) < self._prefetch:
                if was_away:
                    await sleep(self._backoff.next_seconds())
                self._ask(min(limit, self._prefetch - len(self._held)))
            self._answered = Event()
            await self._answered.wait()
            problem = self._problem
            if problem is None:
                self._backoff.worked()
            elif self._question is None and (not was_away or current_time() >= end or _is_final(problem)):
                raise problem

    async def accept(self, received: Sequence[Received]) -> None:
        bodies = self._let_go(received)
        try:
            count = await self._calls.settle(self._list.accept, self._id, bodies)
        except BaseException:
            self._owed += bodies
            raise
        finally:
            self._wake()
        if count < len(bodies):
            raise ChannelUnavailable(self._name, "it was away for so long that others have these messages now")

    async def release(self, received: Sequence[Received]) -> None:
        bodies = self._let_go(received)
        try:
            await self._calls.settle(self._list.release, self._id, bodies)
        except BaseException:
            self._owed += bodies
            raise
        finally:
            self._wake()

    def keep_lease(self) -> None:
        """Renew the lease until the source is closed; in a thread of its own, which a blocked loop does not hold up."""
        while not self._over.wait(BEAT_SECONDS):
            try:
                self._beat()
            except ChannelError:
                continue  # the receiver hears of it

    async def close(self) -> None:
        """End the question that is under way, and give back what is not settled."""
        self._over.set()
        self._waiter.break_off()
        with move_on_after(CLOSE_SECONDS, shield=True):
            while self._question is not None:
                self._answered = Event()
                await self._answered.wait()
            has_left = self._beat_at == -math.inf  # it has never had anything
            while not has_left:
                try:
                    await self._calls.call(self._list.leave, self._id)
                    has_left = True
                except ChannelError:  # where all is in vain its lease runs out
                    await sleep(self._backoff.next_seconds())

    def _hand_over(self) -> Received:
        received = Received(ChannelMessage(body=self._came.popleft()), came_again=True, tag=object())
        self._held.add(received.tag)
        return received

    def _let_go(self, received: Sequence[Received]) -> list[bytes]:
        """Return the bodies of what is about to be settled."""
        if any(each.tag not in self._held for each in received):
            raise ChannelUnavailable(self._name, "it was away since these were received; they come again")
        self._held.difference_update(each.tag for each in received)
        return [each.message.body for each in received]

    def _ask(self, most: int) -> None:
        owed, self._owed = self._owed, []
        self._question = self._calls.start(self._fetch, (most, owed), self._on_answer)

    def _fetch(self, most: int, owed: list[bytes]) -> tuple[int, list[bytes]]:
        """Bring up to *most* messages, or none after a moment, and the lease that they are under; in a thread."""
        try:
            if boot_time() - self._beat_at > LEASE_SECONDS / 2:  # what is brought now must not be without a lease
                self._beat()
            if owed:
                self._list.release(self._id, owed)
                owed.clear()
            lease = self._lease  # before they come: in doubt they come again
            came = self._list.take(self._id, most) or ([] if self._over.is_set() else self._list.wait(self._id, self._waiter))
            return lease, came
        finally:
            self._owed += owed

    def _beat(self) -> None:
        now = boot_time()
        self._list.beat(self._id)
        if now - self._beat_at > LEASE_SECONDS:
            self._lease += 1
        self._beat_at = now

    def _has_lease(self, number: int) -> bool:
        return number == self._lease and boot_time() - self._beat_at <= LEASE_SECONDS

    def _on_answer(self, question: Call[tuple[int, list[bytes]]]) -> None:
        self._question = None
        try:
            lease, came = question.result()
            self._problem = None
            if came:
                self._came_under = min(lease, self._came_under) if self._came else lease
                self._came += came
        except ChannelError as error:
            self._problem = error
        self._wake()

    def _wake(self) -> None:
        if self._answered is not None:
            self._answered.set()


def _is_final(problem: ChannelError) -> bool:
    return not isinstance(problem, ChannelUnavailable)
