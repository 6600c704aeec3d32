"""The threads in which a gateway makes its calls.

AnyIO's `to_thread.run_sync` is made for anything and takes 90 microseconds there and back when the program is at rest; handing
a call to a thread that does nothing else takes 50. A round trip between two processes waits for four such calls.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from anyio import Event

from .posting import loop_poster

T = TypeVar("T")

_Calls = SimpleQueue["Call[Any] | None"]  # None: end


class Call(Generic[T]):
    """One call. Its thread sets `began`, the answer or the error, and `ended`; the loop reads them, and waits for `done`."""

    __slots__ = ("_args", "_method", "answer", "began", "done", "ended", "error")

    answer: T

    def __init__(self, method: Callable[..., T], args: tuple[Any, ...]) -> None:
        self._method = method
        self._args = args
        self.began = self.ended = False
        self.error: BaseException | None = None
        self.done = Event()

    @property
    def is_busy(self) -> bool:
        """Whether it is under way; one that never got a thread is not."""
        return self.began and not self.ended

    def make(self) -> None:
        """Make the call; in the thread."""
        self.began = True
        try:
            self.answer = self._method(*self._args)
        except BaseException as error:  # whoever waits for the call gets it
            self.error = error
        finally:
            self.ended = True

    def result(self) -> T:
        """Return the answer, or raise what the call has raised."""
        error, self.error = self.error, None  # a traceback refers to the call, and the call must not refer to it
        if error is None:
            return self.answer
        try:
            raise error
        finally:
            del error


class Threads:
    """A few threads for blocking calls, started when they are needed. Make it inside the event loop that uses it.

    Everything but `_serve` happens on the loop, so nothing is locked. The threads end with `close`, or when this object is let
    go; they are daemons, because a broker that does not answer must not keep a program from ending.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._idle: list[_Calls] = []
        self._waiting: deque[Event] = deque()  # calls that wait for a thread, in their order
        self._post: Final = loop_poster()
        self._end = weakref.finalize(self, _end_all, self._idle)
        self._end.atexit = False

    async def make(self, call: Call[T]) -> T:
        """Make a call in a thread, and wait for it.

        Cancellation:
            The call goes on in its thread, which does not count any more; what it returns is dropped.
        """
        calls = await self._take()
        calls.put(call)
        try:
            await call.done.wait()
        finally:
            self._put_back(calls, call)
        return call.result()

    def close(self) -> None:
        """End the threads, those that are in a call after it."""
        self._end()

    async def _take(self) -> _Calls:
        while not self._idle:
            if self._count < self._most:
                self._count += 1
                return self._start()
            free = Event()
            self._waiting.append(free)
            try:
                await free.wait()
            except BaseException:
                if free in self._waiting:
                    self._waiting.remove(free)
                else:  # it was our turn
                    self._wake_next()
                raise
        return self._idle.pop()

    def _start(self) -> _Calls:
        calls: _Calls = SimpleQueue()
        threading.Thread(target=_serve, args=(calls, self._post), name="nursery-tasks broker call", daemon=True).start()
        return calls

    def _put_back(self, calls: _Calls, call: Call[Any]) -> None:
        if call.ended and self._end.alive:
            self._idle.append(calls)
        else:
            calls.put(None)
            self._count -= 1
        self._wake_next()

    def _wake_next(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()


def _serve(calls: _Calls, post: Callable[[Callable[[], object]], None]) -> None:
    while (call := calls.get()) is not None:
        call.make()
        post(call.done.set)
        del call  # or else its answer would be kept until the next call


def _end_all(idle: list[_Calls]) -> None:
    while idle:
        idle.pop().put(None)
