"""What a plain generator yields, on the loop, while the generator runs in a thread of its own.

The thread begins, iterates and closes it, so it may use what belongs to one thread, such as a connection of `sqlite3`. It is a
daemon: a generator that waits for its next item for ever keeps no program from ending. AnyIO's threads are none on asyncio.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

from anyio import Event, move_on_after

from .threads import Call, Threads
from .threadsafe import loop_run_soon

T = TypeVar("T")

CLOSE_SECONDS: Final = 1.0  # for the generator's clean-up


async def feed_from_thread(
    make: Callable[[], Iterable[T]], most: int, on_left: Callable[[], object]
) -> AsyncGenerator[list[T], None]:
    """Yield items in lists, each as soon as it is there.

    Args:
        make: Returns what is to be iterated; called in the thread, as all of it is, in a context of its own.
        most: How many items wait at most; then the generator is not asked for more.
        on_left: Called when the thread does not come back from the user's code, and is left behind there.

    Raises:
        BaseException: What the user's code raised, after the items before it.

    Cancellation:
        The generator is closed in its thread when it yields the next time. Closing this generator does the same; both wait for
        that for a second, and then leave the thread behind.
    """
    feed, threads = _Feed(make, most), Threads(1)
    threads.start(feed.call)
    try:
        while some := await feed.take():
            yield some
        feed.call.result()
    finally:
        feed.leave()
        with move_on_after(CLOSE_SECONDS, shield=True):
            await feed.ended.wait()
        if not feed.call.ended:
            threads.give_up(feed.call)
            on_left()
        threads.close()


class _Feed(Generic[T]):
    """What the thread and the loop share. Only the deque, the semaphore and the flag are touched by both."""

    def __init__(self, make: Callable[[], Iterable[T]], most: int) -> None:
        self.ended = Event()
        self.call: Call[Any] = Call(Context().run, (self._iterate, make), lambda _: self._on_end())
        self._room = threading.Semaphore(most)
        self._waiting: deque[T] = deque()
        self._left = False
        self._news = Event()
        self._run_soon = loop_run_soon()

    async def take(self) -> list[T]:
        """Wait for items, and return those that are there; none: there will be no more."""
        while not self._waiting and not self.ended.is_set():
            await self._news.wait()
            self._news = Event()
        some = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if some:
            self._room.release(len(some))
        return some

    def leave(self) -> None:
        """Let the thread end at the next item."""
        self._left = True
        self._room.release()

    def _on_end(self) -> None:
        self.ended.set()
        self._news.set()

    def _iterate(self, make: Callable[[], Iterable[T]]) -> None:
        """Iterate; in the thread."""
        items = make()
        try:
            for item in items:
                self._room.acquire()
                if self._left:
                    return
                self._waiting.append(item)
                if len(self._waiting) == 1:
                    self._run_soon(lambda: self._news.set())
        finally:
            if inspect.isgenerator(items):
                items.close()
