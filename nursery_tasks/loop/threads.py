"""The threads in which a gateway makes its calls.

AnyIO's `to_thread.run_sync` is made for anything and takes 90 microseconds there and back when the program is at rest; handing
a call to a thread that does nothing else takes 50. A round trip between two processes waits for four such calls. And a call
here belongs to nobody: whoever waits for it may be cancelled, even by asyncio's own `Task.cancel()`, and the call still goes to
its end and tells everybody else who waits.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from .threadsafe import RunSoon, loop_run_soon

T = TypeVar("T")

_Calls = SimpleQueue["Call[Any] | None"]  # None: end


class Call(Generic[T]):
    """One call. Its thread, or what carries it on the loop, sets `began`, the answer or the error, and `ended`.

    The loop reads them when it is told.

    Args:
        on_end: Called on the loop when the call has ended. It is not in the context of any of the loop's tasks, so it can make
            nothing that AnyIO would have to find the loop for: no event, no clock.
    """

    __slots__ = ("_on_end", "answer", "args", "began", "ended", "error", "given_up", "method")

    answer: T

    def __init__(self, method: Callable[..., T], args: tuple[Any, ...], on_end: Callable[[Call[T]], object]) -> None:
        self.method = method
        self.args = args
        self._on_end = on_end
        self.began = self.ended = self.given_up = False
        self.error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it is under way; one that never got a thread is not."""
        return self.began and not self.ended

    def make(self) -> None:
        """Make the call; in the thread."""
        self.began = True
        try:
            self.answer = self.method(*self.args)
        except BaseException as error:  # whoever waits for the call gets it
            self.error = error
        finally:
            self.ended = True

    def tell(self) -> None:
        """Tell that it has ended; on the loop."""
        self._on_end(self)

    def end(self, answer: Any, error: BaseException | None) -> None:
        """End with this answer, or with an error, and tell; on the loop, of a call that it has carried without a thread."""
        if error is None:
            self.answer = answer
        else:
            self.error = error
        self.ended = True
        self._on_end(self)

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
        self._waiting: deque[Call[Any]] = deque()  # calls that wait for a thread, in their order
        self._run_soon: Final = loop_run_soon()
        self._end = weakref.finalize(self, _end_all, self._idle)
        self._end.atexit = False

    def start(self, call: Call[Any]) -> None:
        """Have a call made as soon as there is a thread for it."""
        if self._idle:
            self._idle.pop().put(call)
        elif self._count < self._most:
            self._count += 1
            calls: _Calls = SimpleQueue()
            calls.put(call)
            arguments = (calls, self._run_soon, weakref.ref(self))
            threading.Thread(target=_serve, args=arguments, name="nursery-tasks broker call", daemon=True).start()
        else:
            self._waiting.append(call)

    def give_up(self, call: Call[Any]) -> bool:
        """Forget a call. One that has begun goes on in its thread, which does not count any more and ends after it.

        Returns:
            Whether it never got a thread: it will not be made, and nobody will tell of its end.
        """
        if call in self._waiting:
            self._waiting.remove(call)
            return True
        if not (call.ended or call.given_up):
            call.given_up = True
            self._count -= 1
            if self._waiting:
                self.start(self._waiting.popleft())
        return False

    def close(self) -> None:
        """End the threads, those that are in a call after it."""
        self._end()

    def next_for(self, calls: _Calls, ended: Call[Any]) -> None:
        """Give a thread that has ended a call the next one."""
        if ended.given_up or not self._end.alive:
            calls.put(None)
        elif self._waiting:
            calls.put(self._waiting.popleft())
        else:
            self._idle.append(calls)


def _serve(calls: _Calls, run_soon: RunSoon, threads: weakref.ref[Threads]) -> None:
    while (call := calls.get()) is not None:
        call.make()
        run_soon(_Ended(call, calls, threads))
        del call  # or else its answer would be kept until the next call


class _Ended:
    """What a thread has the loop run after a call."""

    __slots__ = ("_call", "_calls", "_threads")

    def __init__(self, call: Call[Any], calls: _Calls, threads: weakref.ref[Threads]) -> None:
        self._call, self._calls, self._threads = call, calls, threads

    def __call__(self) -> None:
        threads = self._threads()
        if threads is None:
            self._calls.put(None)
        else:
            threads.next_for(self._calls, self._call)
        self._call.tell()


def _end_all(idle: list[_Calls]) -> None:
    while idle:
        idle.pop().put(None)
