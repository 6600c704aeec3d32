"""A worker from its first breath to its last, with the signals that end it.

    signals             received before the first claim and until the process ends
    └─ app, worker      left when a signal has asked for it; leaving drains

The first signal drains, a second one cancels what runs, a third one leaves at once. A second signal counts from half a second
after the first was *handled*: a terminal sends Ctrl-C to the whole process group, so a parent that passes it on makes two of
one, and a loop that was busy sees several at the same moment. A SIGHUP, when the terminal is gone, can only be the first: a
shell and the system both send one.

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
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, suppress
from typing import TYPE_CHECKING, Final

from anyio import CancelScope, Event, create_task_group, current_time, open_signal_receiver, sleep, wait_readable

from .. import App
from ..errors import PublisherFailed
from ..forks import own_signals
from ..observability.logging import duration
from ..supervisor import CANCEL, DRAIN, LOST, RECYCLE_CODE, Membership, read_lost
from ..worker import Unstored, Worker, WorkerOptions
from .display import Display
from .exits import Exits
from .http import Http
from .leaving import SIGNALS, LastResort, Watchdog, ending_signals, hangups, leave, leave_at_once
from .output import note, plural
from .streams import abandon_dead
from .trouble import FAILED, INTERRUPTED, OK, UNSTORED, WEDGED

if TYPE_CHECKING:
    from ..web.serving import ServedDoor

NEXT_SIGNAL_SECONDS: Final = 0.5  # a signal that comes sooner belongs to the one before
CLEAN_UP_SECONDS: Final = 5.0  # what a cancelled attempt may take to end
STORING_SECONDS: Final = 1.0  # so long it is no news that a worker which ends still stores outcomes
STORE_SECONDS: Final = 4.0  # and then the worker, to store outcomes and say goodbye

Announce = Callable[[Worker], None]


class Stages:
    """What the signals have asked for so far.

    Args:
        starting: Left by a signal that comes before the worker works.
    """

    def __init__(self, display: Display, drain_seconds: float, starting: CancelScope) -> None:
        self.stopping = Event()
        self.failed = False  # the pipeline that was run
        self._display = display
        self._drain_seconds = drain_seconds
        self._starting = starting
        self._worker: Worker | None = None
        self._watchdog = Watchdog(self._left)
        self._drains = Event()
        self._drain_ends = math.inf  # on the loop's clock
        self._stage = 0
        self._handled_at = 0.0

    def working(self, worker: Worker) -> None:
        """Hear that the worker works."""
        self._worker = worker

    async def watch(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Act on signals until cancelled."""
        async for number in signals:
            if not self._stage or current_time() - self._handled_at >= NEXT_SIGNAL_SECONDS:
                self.next(number)

    def hang_up(self) -> None:
        """Hear that the terminal is gone: drain, unless a signal has asked for it already."""
        abandon_dead()
        self.stop()

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

    def end_leases(self, lost: str) -> None:
        """Hear from the supervisor what a dead worker held."""
        if self._worker is not None:
            self._worker.end_leases(read_lost(lost))

    def recycle(self, reason: str, drain_seconds: float) -> None:
        """Hear that the worker wants to be replaced, and drains. See `Worker.recycle`."""
        self._display.say("recycling", f"stopping, to be replaced: {reason}")
        if drain_seconds < math.inf:
            self._watchdog.set(drain_seconds + CLEAN_UP_SECONDS + STORE_SECONDS)
            self._drain_for(drain_seconds)

    async def wait_drained(self, worker: Worker) -> None:
        """Wait until the worker has nothing more to do, and see that it leaves."""
        await worker.wait_drained()
        if not self._stage:
            self._watchdog.set((self._drain_seconds if worker.unstored else 0.0) + CLEAN_UP_SECONDS + STORE_SECONDS)
        self.stopping.set()
        await sleep(STORING_SECONDS)
        if left := worker.unstored:
            what = [plural(len(left.ended), "outcome") + " to store"] if left.ended else []
            what += [plural(len(left.given_back), "job") + " to give back"] if left.given_back else []
            until = "" if self._stage > 1 else f", for as long as the drain lasts ({duration(self._drain_seconds)})"
            more = "" if self._stage > 1 else "; a second signal (Ctrl-C) gives up"
            self._display.say("storing", f"waiting for the broker{until}: {' and '.join(what)}{more}")

    async def tell_drain_over(self, worker: Worker) -> None:
        """Say so when the drain is over and jobs still run; the worker cancels them by itself."""
        await self._drains.wait()
        while (left := self._drain_ends - current_time()) > 0:  # noqa: ASYNC110 - a signal may bring it nearer
            await sleep(min(left, 1.0))
        running = len(worker.running) or worker.interrupted
        if running and self._stage < 2:
            self._display.say("cancelling", f"the drain is over: cancelling {plural(running, 'running job')}, to give back")

    def _drain_for(self, seconds: float) -> None:
        self._drain_ends = current_time() + seconds
        self._drains.set()

    def _left(self) -> dict[str, str] | str:
        """Say what has not ended: jobs, or else what the worker does; in any thread."""
        if self._worker is None:
            return "what the app does before its worker begins does not end"
        return self._worker.unfinished or self._worker.doing

    def _drain(self) -> None:
        self.stopping.set()
        self._watchdog.set(self._drain_seconds + CLEAN_UP_SECONDS + STORE_SECONDS)
        if self._worker is None:
            self._starting.cancel()
            return
        self._worker.stop()
        self._drain_for(self._drain_seconds)
        running = len(self._worker.running)
        if running and self._drain_seconds:
            jobs = f"{plural(running, 'running job')} may go on for {duration(self._drain_seconds)}"
            self._display.say("draining", f"stopping: {jobs}; a second signal (Ctrl-C) cancels")
        else:
            self._display.say("draining", f"stopping: {plural(running, 'running job')} to cancel" if running else "stopping")

    def _cancel(self) -> None:
        self._watchdog.set(CLEAN_UP_SECONDS + STORE_SECONDS)
        if self._worker is not None and not self._worker.running:
            self._display.say("cancelling", "leaving; a third signal leaves at once")
        else:
            self._display.say(
                "cancelling", "cancelling what runs; its jobs go back to their queue; a third signal leaves at once"
            )
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
    exits: Exits,
    until_eof: bool = False,
    until_done: bool = False,
    link: Membership | None = None,
    http: Http | None = None,
) -> int:
    """Run a worker until a signal ends it; returns the exit code.

    Args:
        announce: Called when the worker works.
        exits: Keeps this loop going when a handler's code calls `sys.exit()`.
        until_eof: Also drain when standard input ends, which it does when a parent process dies.
        until_done: Also drain when the app's pipeline has ended.
        link: To the supervisor, if there is one. When that is gone nobody waits any more: what runs is cancelled, and given
            back at once.
        http: Where it answers HTTP, if it does.

    Raises:
        Exception: The broker cannot be opened, a resource of the app failed, or the worker broke.
    """
    began, interrupted, unstored, recycling, failed = time.monotonic(), 0, Unstored(), None, False
    with (
        own_signals(ending_signals()),
        open_signal_receiver(*SIGNALS) as signals,
        LastResort(NEXT_SIGNAL_SECONDS),
        exits.contained(),
        ExitStack() as listening,
    ):
        async with create_task_group() as around:
            with CancelScope() as starting:
                stages = Stages(display, drain_seconds, starting)

                def on_recycle(reason: str, seconds: float) -> None:
                    stages.recycle(reason, seconds)
                    if link is not None:
                        link.report("recycling", reason=reason)

                around.start_soon(stages.watch, signals, name="signals")
                listening.enter_context(hangups(stages.hang_up))
                around.start_soon(_tick, display, name="display")
                if until_eof:
                    around.start_soon(_stop_at_eof, stages, name="standard input")
                if link is not None:
                    commands: dict[str, Callable[..., object]] = {
                        DRAIN: stages.stop,
                        CANCEL: stages.cut_short,
                        LOST: stages.end_leases,
                    }
                    around.start_soon(link.listen, commands, stages.cut_short, name="supervisor")
                listening.callback(app.subscribe(display.on_event))
                owned: WorkerOptions = {
                    **options, "on_wedged": _on_wedged, "owns_signals": True, "on_recycle": on_recycle
                }  # fmt: skip
                async with app, app.open_worker(**owned) as worker, AsyncExitStack() as doors:
                    stages.working(worker)
                    door = None if http is None else await doors.enter_async_context(_open_door(app, http))
                    announce(worker)
                    if door is not None:
                        display.say("http", f"answering at {door.url}")
                    around.start_soon(stages.wait_drained, worker, name="drained")
                    around.start_soon(stages.tell_drain_over, worker, name="drain")
                    if until_done:
                        around.start_soon(_stop_when_done, app, stages, display, name="pipeline")
                    await stages.stopping.wait()
                    if door is not None:
                        door.drain()
                        await worker.wait_drained()  # what is awaited here may run here; until then 503 is answered
                        await door.finish()
                interrupted, unstored, recycling = worker.interrupted, worker.unstored, worker.recycling
                failed = stages.failed
            around.cancel_scope.cancel()
        code = UNSTORED if unstored else INTERRUPTED if interrupted else FAILED if failed else OK
        if recycling is not None:
            code = RECYCLE_CODE if link is not None else WEDGED
        display.ended(code, interrupted, unstored, time.monotonic() - began)
        if link is not None:
            counts = {"interrupted": interrupted, "not_stored": len(unstored.ended), "not_given_back": len(unstored.given_back)}
            link.report("ended", **counts, tally=display.tally.parts())
    return code


def _open_door(app: App, http: Http) -> AbstractAsyncContextManager[ServedDoor]:
    from ..web.serving import open_door  # late: most workers have none

    return open_door(app, http.server, http.options)


async def _stop_when_done(app: App, stages: Stages, display: Display) -> None:
    try:
        await app.wait_pipeline()
    except PublisherFailed as error:
        stages.failed = True
        display.say("failed", str(error))
    stages.stop()


async def _tick(display: Display) -> None:
    while True:
        await sleep(1)
        display.tick()


async def _stop_at_eof(stages: Stages) -> None:
    while True:
        with suppress(PermissionError):  # of a file, which can always be read
            await wait_readable(0)  # and not a thread that reads: nothing could end it, and the process would wait for it
        if not os.read(0, 1024):
            stages.stop()
            return


def _on_wedged(stalled_seconds: float) -> None:
    """End the process; called in the lease keeper's thread."""
    note("what each thread does now:")
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    leave(
        WEDGED, f"giving up: a job has held the event loop for {stalled_seconds:.0f} s; the stack of the first thread shows it"
    )
