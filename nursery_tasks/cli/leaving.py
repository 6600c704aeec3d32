"""Ways out of the process that need no event loop: for a loop that is held, a thread that does not end, a third signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from .output import plural
from .trouble import BY_SIGNAL, WEDGED

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
        os.close(self._write)
        self._thread.join()
        os.close(self._ours)

    def _listen(self) -> None:
        while came := os.read(self._ours, 512):  # one byte for each signal: its number
            for number in came:
                if number in SIGNALS:
                    self._count_signal(number)
            if self._loop_fd != -1:
                with suppress(BlockingIOError):  # full: it has enough to wake up from
                    os.write(self._loop_fd, came)

    def _count_signal(self, number: int) -> None:
        now = time.monotonic()
        if not self._count or now - self._counted_at >= self._apart_seconds:
            self._count, self._counted_at = self._count + 1, now
        if self._count == 3:
            leave_at_once(number)


class Watchdog:
    """Ends the process when the worker does not: an OS thread, because the loop may be what hangs.

    Args:
        running: Says which jobs run, as (id, task).
    """

    def __init__(self, running: Callable[[], dict[str, str]]) -> None:
        self._running = running
        self._timer: threading.Timer | None = None

    def set(self, seconds: float) -> None:
        """End the process in this time, and not when it was set to before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True  # it must not keep alive what it waits for
        self._timer.start()

    def _end(self) -> None:
        jobs = [f"{task} {job_id}" for job_id, task in self._running().items()]
        what = f"{plural(len(jobs), 'job')} did not end after being cancelled: {', '.join(jobs)}" if jobs else "it does not end"
        leave(
            WEDGED, f"giving up: {what}\n  a def handler ends early when it calls check_cancelled(); its job comes back later"
        )


def leave_at_once(number: int) -> None:
    """End the process because of a third signal."""
    leave(BY_SIGNAL + number, "left at once: jobs that ran come back when their leases run out")


def leave(code: int, text: str) -> None:
    """End the process now, from any thread or signal handler, without waiting for other threads."""
    try:
        with suppress(Exception):  # a signal handler may have interrupted another print, and two at once are refused
            print(f"error: {text}", file=sys.stderr, flush=True)
            sys.stdout.flush()
    finally:
        os._exit(code)
