"""The event loop on which the driver lives, in a thread of its own, and the way in for everybody else.

The driver knows only asyncio, and the program around may run on Trio, in threads, or without any loop. So nobody but this
thread ever awaits it. That also keeps the program's cancel scopes away from it: it shields some of its steps, and under a scope
that is cancelled again and again such a step would spin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import Any, Final, TypeVar

T = TypeVar("T")

END_SECONDS: Final = 2.0  # for what still runs when the portal closes


class LinkLost(Exception):
    """The driver has given up on a call in a way of its own: a `CancelledError` that nobody asked for."""


class Portal:
    """A loop in a thread; it starts with the first call."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._closed = False

    def call(self, make: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        """Run a coroutine to its end and return what it returns; from any thread but the portal's own.

        Raises:
            TimeoutError: It did not end within *seconds*; it was told to end.
            LinkLost: It was cancelled by nobody.
        """
        done: Future[T] = asyncio.run_coroutine_threadsafe(guarded(make(), seconds), self._opened())
        return done.result()

    def post(self, function: Callable[..., object], *args: Any) -> bool:
        """Have a plain function called soon, on the loop; say whether it will be: after `close` nothing is called any more."""
        loop = self._loop
        if loop is None or self._closed:
            return False
        with suppress(RuntimeError):  # it was closed at this very moment
            loop.call_soon_threadsafe(function, *args)
            return True
        return False

    def start(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a coroutine that runs until the portal closes."""
        asyncio.run_coroutine_threadsafe(make(), self._opened())

    def close(self) -> None:
        """Cancel what runs and end the thread."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or thread is current_thread():
            return
        try:
            loop.call_soon_threadsafe(loop.stop)
        except RuntimeError:
            return
        thread.join(END_SECONDS + 1.0)

    def _opened(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise RuntimeError("the portal is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = Thread(target=_serve, args=(self._loop,), name="nursery-tasks amqp", daemon=True)
                self._thread.start()
            return self._loop


async def guarded(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Await *work* in a task of its own, with a deadline, and tell a cancel that nobody asked for from one that is ours.

    Raises:
        TimeoutError: It did not end in time.
        LinkLost: It ended as cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if task.cancelled():
        raise LinkLost("the connection went away in the middle of a call")
    return task.result()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        end = loop.time() + END_SECONDS
        while (tasks := asyncio.all_tasks(loop)) and loop.time() < end:  # the end of one may be the beginning of another
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=END_SECONDS / 4))
        for _ in range(3):  # a transport that was closed closes its socket in the next turn
            loop.run_until_complete(asyncio.sleep(0))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
