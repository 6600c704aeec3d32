"""A worker from its first breath to its last, with the signals that end it.

    signals             received before the first claim and until the process ends
    └─ app, worker      left when a signal has asked for it; leaving drains

The first signal drains, a second one cancels what runs, a third one leaves at once. A second signal counts from half a second
after the first was *handled*: a terminal sends Ctrl-C to the whole process group, so a parent that passes it on makes two of
one, and a loop that was busy sees several at the same moment.

A handler that holds the loop keeps the signals from being received, but not from arriving: `LastResort` counts them, too.
What a worker cannot end by itself, a thread that does not look whether it was cancelled, ends with the process: `Watchdog`.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Final

from anyio import CancelScope, Event, create_task_group, current_time, open_signal_receiver, sleep, wait_readable

from .. import App
from ..observability.logging import duration
from ..supervisor import CANCEL, DRAIN, RECYCLE_CODE, Membership
from ..worker import Worker, WorkerOptions
from .display import Display
from .leaving import SIGNALS, LastResort, Watchdog, leave, leave_at_once
from .output import plural
from .trouble import INTERRUPTED, OK, WEDGED

NEXT_SIGNAL_SECONDS: Final = 0.5  # a signal that comes sooner belongs to the one before
CLEAN_UP_SECONDS: Final = 5.0  # what a cancelled attempt may take to end
STORE_SECONDS: Final = 4.0  # and then the worker, to store outcomes and say goodbye

Announce = Callable[[Worker], None]


class Stages:
    """What the signals have asked for so far.

    Args:
        starting: Left by a signal that comes before the worker works.
    """

    def __init__(self, display: Display, drain_seconds: float, starting: CancelScope) -> None:
        self.stopping = Event()
        self._display = display
        self._drain_seconds = drain_seconds
        self._starting = starting
        self._worker: Worker | None = None
        self._watchdog = Watchdog(lambda: dict(display.tally.running))
        self._stage = 0
        self._handled_at = 0.0

    def working(self, worker: Worker) -> None:
        """Hear that the worker works."""
        self._worker = worker

    async def watch(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Act on signals until cancelled."""
        async for number in signals:
            if self._stage and current_time() - self._handled_at < NEXT_SIGNAL_SECONDS:
                continue
            self.next(number)

    def next(self, number: signal.Signals | None = None) -> None:
        """Go one stage further."""
        self._stage += 1
        if self._stage == 1:
            self._drain()
        elif self._stage == 2:
            self._cancel()
        else:
            leave_at_once(number or signal.SIGTERM)
        self._handled_at = current_time()

    def stop(self) -> None:
        """Drain, unless a signal has asked for it already."""
        if not self._stage:
            self.next()

    def cut_short(self) -> None:
        """Cancel what runs, unless a signal has asked for it already."""
        while self._stage < 2:
            self.next()

    def recycle(self, reason: str, drain_seconds: float) -> None:
        """Hear that the worker wants to be replaced, and drains. See `Worker.recycle`."""
        self._display.say("recycling", f"stopping, to be replaced: {reason}")
        if drain_seconds < math.inf:
            self._watchdog.set(drain_seconds + CLEAN_UP_SECONDS + STORE_SECONDS)

    async def wait_drained(self, worker: Worker) -> None:
        """Wait until the worker has nothing more to do, and see that it leaves."""
        await worker.wait_drained()
        if not self._stage:
            self._watchdog.set(CLEAN_UP_SECONDS + STORE_SECONDS)
        self.stopping.set()

    def _drain(self) -> None:
        self.stopping.set()
        self._watchdog.set(self._drain_seconds + CLEAN_UP_SECONDS + STORE_SECONDS)
        if self._worker is None:
            self._starting.cancel()
            return
        self._worker.stop()
        running = len(self._worker.running)
        if running and self._drain_seconds:
            jobs = f"{plural(running, 'running job')} may go on for {duration(self._drain_seconds)}"
            self._display.say("draining", f"stopping: {jobs}; a second signal (Ctrl-C) cancels")
        else:
            self._display.say("draining", f"stopping: {plural(running, 'running job')} to cancel" if running else "stopping")

    def _cancel(self) -> None:
        self._watchdog.set(CLEAN_UP_SECONDS + STORE_SECONDS)
        self._display.say("cancelling", "cancelling what runs; its jobs go back to their queue; a third signal leaves at once")
        if self._worker is not None:
            self._worker.cancel_running()
        else:
            self._starting.cancel()


async def serve_worker(
    app: App,
    options: WorkerOptions,
    display: Display,
    *,
    drain_seconds: float,
    announce: Announce,
    until_eof: bool = False,
    link: Membership | None = None,
) -> int:
    """Run a worker until a signal ends it; returns the exit code.

    Args:
        announce: Called when the worker works.
        until_eof: Also drain when standard input ends, which it does when a parent process dies.
        link: To the supervisor, if there is one. When that is gone nobody waits any more: what runs is cancelled, and given
            back at once.

    Raises:
        Exception: The broker cannot be opened, a resource of the app failed, or the worker broke.
    """
    began, interrupted, recycling = time.monotonic(), 0, None
    with open_signal_receiver(*SIGNALS) as signals, LastResort(NEXT_SIGNAL_SECONDS), ExitStack() as listening:
        async with create_task_group() as around:
            with CancelScope() as starting:
                stages = Stages(display, drain_seconds, starting)

                def on_recycle(reason: str, seconds: float) -> None:
                    stages.recycle(reason, seconds)
                    if link is not None:
                        link.report("recycling", reason=reason)

                around.start_soon(stages.watch, signals, name="signals")
                around.start_soon(_tick, display, name="display")
                if until_eof:
                    around.start_soon(_stop_at_eof, stages, name="standard input")
                if link is not None:
                    commands = {DRAIN: stages.stop, CANCEL: stages.cut_short}
                    around.start_soon(link.listen, commands, stages.cut_short, name="supervisor")
                listening.callback(app.subscribe(display.on_event))
                owned: WorkerOptions = {
                    **options, "on_wedged": _on_wedged, "owns_signals": True, "on_recycle": on_recycle
                }  # fmt: skip
                async with app, app.open_worker(**owned) as worker:
                    stages.working(worker)
                    announce(worker)
                    around.start_soon(stages.wait_drained, worker, name="drained")
                    await stages.stopping.wait()
                interrupted, recycling = worker.interrupted, worker.recycling
            around.cancel_scope.cancel()
        code = INTERRUPTED if interrupted else OK
        if recycling is not None:
            code = RECYCLE_CODE if link is not None else WEDGED
        display.ended(code, interrupted, time.monotonic() - began)
        if link is not None:
            link.report("ended", interrupted=interrupted, tally=display.tally.parts())
    return code


async def _tick(display: Display) -> None:
    while True:
        await sleep(1)
        display.tick()


async def _stop_at_eof(stages: Stages) -> None:
    while True:
        await wait_readable(0)  # and not a thread that reads: nothing could end it, and the process would wait for it
        if not os.read(0, 1024):
            stages.stop()
            return


def _on_wedged(stalled_seconds: float) -> None:
    """End the process; called in the lease keeper's thread."""
    print("what each thread does now:", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    leave(
        WEDGED, f"giving up: a job has held the event loop for {stalled_seconds:.0f} s; the stack of the first thread shows it"
    )
