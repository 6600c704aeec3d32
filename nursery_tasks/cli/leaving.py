"""Ways out of the process that need no event loop: for a loop that is held, a thread that does not end, a third signal."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

from ..loop.threadsafe import loop_run_soon
from .output import note, plural, visible
from .trouble import BY_SIGNAL, WEDGED

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
LEFT_SECONDS: Final = 1.0  # between SIGTERM and SIGKILL, for processes that handlers have left behind
_END: Final = b"\0"  # no signal has this number


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that a command ends by in good order. A SIGHUP that is ignored, as under `nohup`, stays so."""
    return SIGNALS if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*SIGNALS, signal.SIGHUP)


@contextmanager
def hangups(on_hangup: Callable[[], object]) -> Generator[None, None, None]:
    """Have a function called on the loop at each SIGHUP, and ignore the signal for the rest of the process afterwards.

    A terminal that closes may send several. The first has drained the worker; one that comes while Python ends would kill it,
    and its exit code would say that the work was cut short. asyncio, when it has received signals, gives them their default
    meaning back, and kills the process by one that comes before anybody can ignore it: so it does not receive this one.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield
        return
    run_soon = loop_run_soon()
    signal.signal(signal.SIGHUP, lambda number, frame: run_soon(on_hangup))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class LastResort:
    """Leaves at the third signal even when the loop cannot, because a handler holds it.

    Python runs a signal's handler in the main thread, between two steps of its code. That is too late when the main thread is
    in a library that does not return, or in a system call that it entered just as the signal came. But the byte that wakes the
    loop is written at once, by the signal itself. So a thread reads these bytes, counts the signals and hands the bytes on.

    Entered in the main thread while the loop receives signals, and left before it ceases to.

    Args:
        apart_seconds: A signal that comes sooner belongs to the one before.
    """

    def __init__(self, apart_seconds: float) -> None:
        self._apart_seconds = apart_seconds
        self._count = 0
        self._counted_at = 0.0

    def __enter__(self) -> None:
        self._ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        self._write = theirs
        self._loop_fd = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        signal.set_wakeup_fd(self._loop_fd, warn_on_full_buffer=False)
        os.set_blocking(self._write, True)
        os.write(self._write, _END)  # not its end: a process that a handler has forked may have a copy of it
        self._thread.join()
        os.close(self._write)
        os.close(self._ours)

    def _listen(self) -> None:
        while True:
            came, end, _ = os.read(self._ours, 512).partition(_END)  # one byte for each signal: its number
            for number in came:
                if number in SIGNALS:
                    self._count_signal(number)
            if came and self._loop_fd != -1:
                with suppress(BlockingIOError):  # full: it has enough to wake up from
                    os.write(self._loop_fd, came)
            if end:
                return

    def _count_signal(self, number: int) -> None:
        now = time.monotonic()
        if not self._count or now - self._counted_at >= self._apart_seconds:
            self._count, self._counted_at = self._count + 1, now
        if self._count == 3:
            leave_at_once(number)


class Watchdog:
    """Ends the process when the worker does not: an OS thread, because the loop may be what hangs.

    Args:
        left: Says which jobs have not ended, as id -> task; where that is none, what else is the matter. Any thread.
    """

    def __init__(self, left: Callable[[], dict[str, str] | str]) -> None:
        self._left = left
        self._timer: threading.Timer | None = None

    def set(self, seconds: float) -> None:
        """End the process in this time, and not when it was set to before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True  # it must not keep alive what it waits for
        self._timer.start()

    def _end(self) -> None:
        left = self._left()
        if isinstance(left, str):
            leave(WEDGED, f"giving up: {visible(left) or 'it does not end'}")
            return
        jobs = [visible(f"{task} {job_id}") for job_id, task in left.items()]
        what = f"{plural(len(jobs), 'job')} did not end after being cancelled: {', '.join(jobs)}"
        leave(WEDGED, f"giving up: {what}\na def handler ends early when it calls check_cancelled(); its job comes back later")


def end_left_processes() -> None:
    """Have what handlers have started with `multiprocessing`, and left behind, end when Python does.

    It waits for them without a limit, and their jobs have ended. Called last of all: so it comes after executors have ended
    their own processes, and before that wait.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        atexit.register(_end_children, process.active_children)


def leave_left_threads(code: int) -> None:
    """End the process now if a thread that nobody waits for is in the way, such as that of a publisher whose generator blocks.

    On asyncio Python would wait for AnyIO's threads without a limit. Those that have nothing to do have ended, or are about to.
    """
    until = time.monotonic() + LEFT_SECONDS
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("AnyIO") and not thread.daemon]
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        note("leaving a function behind that does not return from its thread")
        process = sys.modules.get("multiprocessing.process")
        if process is not None:
            _end_children(process.active_children)
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)


def _end_children(active: Callable[[], list[Any]]) -> None:
    left = [child for child in active() if not child.daemon]  # those are ended anyway
    if left:
        note(f"ending the processes that handlers have left behind: {', '.join(str(child.pid) for child in left)}")
    for child in left:
        child.terminate()
    until = time.monotonic() + LEFT_SECONDS
    for child in left:
        child.join(max(0.0, until - time.monotonic()))
        if child.is_alive():
            child.kill()


def leave_at_once(number: int) -> None:
    """End the process because of a third signal."""
    leave(BY_SIGNAL + number, "left at once: jobs that ran come back when their leases run out")


def leave(code: int, text: str) -> None:
    """End the process now, from any thread or signal handler, without waiting for other threads."""
    try:
        with suppress(Exception):  # a signal handler may have interrupted another print, and two at once are refused
            note(f"error: {text}")
            sys.stdout.flush()
    finally:
        os._exit(code)
