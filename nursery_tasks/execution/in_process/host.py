"""One host, as the worker sees it: from the call of `anyio.to_process` until its process group is gone."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from anyio import (
    CancelScope,
    ClosedResourceError,
    Event,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    wait_readable,
)
from anyio.lowlevel import checkpoint
from msgspec import Raw

from ...current import CurrentJob
from .frames import (
    Begun,
    BrokenFrame,
    Cancel,
    Cut,
    Ended,
    Failed,
    Header,
    Items,
    Left,
    Logged,
    Printed,
    Progress,
    Put,
    Setup,
    Succeeded,
    Waits,
    Work,
    pack,
)
from .guard import KILL, TERM
from .link import Link
from .output import Output, Pipe
from .process import HostProcess
from .rendezvous import Connected

TERM_SECONDS: Final = 1.0  # between SIGTERM and SIGKILL
UNSEEN_SECONDS: Final = 0.5  # for AnyIO to see that its process has ended
FRAMES_AT_ONCE: Final = 64  # then others on the loop get their turn
FLOODED_SECONDS: Final = 0.01  # between two looks at a pipe whose lines are left out

_log = logging.getLogger("nursery_tasks.worker")


class Run:
    """One job in a host.

    Attributes:
        on_wait: Called when the handler begins (True) or ends a wait for another job.
        begun: The host has it; what happens to the process is charged to the job.
        ended: Set when there is a result, or will be none because the host is gone.
        items: What the handler wants to put out now; it waits for the answer.
        error: Why they could not be.
    """

    def __init__(self, work: Work, job: CurrentJob, on_wait: Callable[[bool], None]) -> None:
        self.work = work
        self.job = job
        self.on_wait = on_wait
        self.begun = False
        self.ended = Event()
        self.news = Event()  # there are items, or it has ended
        self.items: bytes | None = None
        self.error: Exception | None = None
        self.result: tuple[Ended, bytes] | None = None

    def end(self) -> None:
        """Say that there is a result, or will be none."""
        self.ended.set()
        self.news.set()


class CpuHost:
    """A process that runs one job at a time.

    Args:
        on_change: Called when it is ready, and when it is gone.

    Attributes:
        jobs: How many it has run.
        memory_bytes: What it held in memory after the latest.
        problem: Why it could not be started.
        signal, exit_code: How its process ended, when that is known.
    """

    def __init__(self, on_change: Callable[[CpuHost], None]) -> None:
        self.jobs = 0
        self.memory_bytes = 0
        self.problem: str | None = None
        self.signal: str | None = None
        self.exit_code: int | None = None
        self.pid = 0
        self.guard_pid = 0
        self.gone = Event()
        self._on_change = on_change
        self._process = HostProcess()
        self._ending = False
        self._run: Run | None = None
        self._link: Link | None = None
        self._control: socket.socket | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it can take a job."""
        return self._link is not None and not self._ending and not self._process.ended.is_set()

    @property
    def is_starting(self) -> bool:
        """Whether it will be usable."""
        return self._link is None and not self._ending and not self.gone.is_set()

    async def serve(self) -> None:
        """Start the process and stay until nothing is left of it.

        Cancellation:
            None: `end()` ends it. A start that is given up half-way would leave a process behind (on asyncio), and the
            shield is bounded: by START_SECONDS, and by the guard's time to kill.
        """
        with CancelScope(shield=True):
            try:
                async with create_task_group() as around:
                    connected = await self._process.start(around)
                    if connected is None:
                        self.problem = self._process.problem
                    else:
                        await self._attend(connected)
            except ExceptionGroup as errors:  # an error of ours must not end the worker
                _log.error("a process host failed", exc_info=errors)
            except OSError as error:
                self.problem = f"could not be started: {error}"
            finally:
                self._conclude()

    def end(self) -> None:
        """Kill the process group, now; `gone` says when it is done."""
        self._ending = True
        self._tell(KILL)

    async def do(self, run: Run, payload: bytes, kill_after_seconds: float) -> tuple[Ended, bytes] | None:
        """Run one job; None: the host has died under it, or before it had it.

        Cancellation:
            The host is asked to end the job, then made to. A result that comes meanwhile is returned; else the cancellation
            goes on when the process group is gone.
        """
        assert self._link is not None
        is_sent = False
        self._begin(run)
        try:
            await self._link.send(pack(run.work, payload))
            is_sent = True
            await self._attend_run(run)
        except get_cancelled_exc_class():
            with CancelScope(shield=True):  # bounded: by the kill
                await self._stop(run, kill_after_seconds if is_sent else None)
            if run.result is None or isinstance(run.result[0], Left):
                raise
        if run.error is not None and run.result is not None:
            raise run.error
        return run.result

    # --- the process -----------------------------------------------------------------------------------------------------

    async def _attend(self, connected: Connected) -> None:
        """Read what the host says and writes, until its process is gone."""
        self.pid, self.guard_pid = connected.host_pid, connected.guard_pid
        link = Link(connected.link)
        self._control = connected.control
        output = self._output = Output(self.pid)
        pipes = self._pipes = [Pipe(connected.out, 1, output), Pipe(connected.err, 2, output)]
        try:
            await link.send(pack(_setup()))
            self._link = link
            if self._ending:
                self.end()
            else:
                self._on_change(self)
            async with create_task_group() as reading:
                reading.start_soon(self._read_link, link, name="host's link")
                for pipe in pipes:
                    reading.start_soon(self._read_pipe, pipe, name="host's output")
                reading.start_soon(self._see_end, connected.control, name="host's end")
                await self._process.ended.wait()
                reading.cancel_scope.cancel()
            self._read_rest(link)
        finally:
            self._note_end(connected.control)
            link.close()
            for pipe in pipes:
                pipe.close()
            connected.control.close()
            self._control = None

    def _note_end(self, control: socket.socket) -> None:
        """Read how the host ended; a guard that did not say was killed itself, and has left us its work."""
        said = b""
        with suppress(OSError):
            said = control.recv(64)
        how, _, number = said.decode("ascii", "replace").strip().partition(" ")
        if how == "exit":
            self.exit_code = int(number)
        elif how == "signal":
            self.signal = _signal_name(int(number))
        else:
            self.problem = "died, because the process that guards it was killed"
            for kill in (os.killpg, os.kill):
                with suppress(ProcessLookupError, PermissionError):
                    kill(self.pid, signal.SIGKILL)

    def _conclude(self) -> None:
        self._process.ended.set()
        self.gone.set()
        if self._run is not None:
            self._run.end()
            self._run = None
        self._on_change(self)

    def _tell(self, what: bytes) -> None:
        if self._control is not None:
            with suppress(OSError):
                self._control.send(what)

    # --- a job -----------------------------------------------------------------------------------------------------------

    def _begin(self, run: Run) -> None:
        self._run = run
        self._output.job = run.job
        for pipe in self._pipes:
            pipe.begin()
        if self._process.ended.is_set():
            run.end()

    async def _attend_run(self, run: Run) -> None:
        """Put out what the handler makes, until it has ended."""
        while not run.ended.is_set():
            await run.news.wait()
            run.news = Event()
            body, run.items = run.items, None
            if body is not None:
                await self._put_out(run, body)

    async def _put_out(self, run: Run, body: bytes) -> None:
        assert run.job.items is not None
        assert self._link is not None
        try:
            await run.job.items.put(body)
        except Exception as error:  # it is the job's own, and its handler has nothing more to do
            run.error = error
        self._link.send_nowait(pack(Put(run.error is None)))

    async def _stop(self, run: Run, kill_after_seconds: float | None) -> None:
        """Ask the job to end, and kill the host when it does not."""
        assert self._link is not None
        if kill_after_seconds is not None:
            self._link.send_nowait(pack(Cancel(run.work.id, run.job.cancel_reason)))
            with move_on_after(kill_after_seconds):
                await run.ended.wait()
            if run.ended.is_set():
                return
            text = "%s %s did not end within %g s of being asked to; its processes are killed"
            _log.warning(text, run.work.task, run.work.id, kill_after_seconds)
            self._ending = True
            self._tell(TERM)
            with move_on_after(TERM_SECONDS):
                await run.ended.wait()
        self.end()
        await self.gone.wait()

    async def _read_link(self, link: Link) -> None:
        try:
            while (frames := await link.receive()) is not None:
                for count, (header, body) in enumerate(frames, 1):
                    self._take(header, body)
                    if count % FRAMES_AT_ONCE == 0:
                        await checkpoint()
            self.end()  # it is gone, or a handler has closed its link: nothing can be heard of it any more
        except BrokenFrame as error:
            _log.error("a process host is killed, because it does not say what it should: %s", error)
            self.end()

    async def _see_end(self, control: socket.socket) -> None:
        """Leave the process when its guard has said how the host ended, and AnyIO does not see it.

        It waits for the end of the guard's output. A handler that forked while Trio started the process, which it does in a
        thread, has a child with a copy of that pipe, for as long as the child lives.
        """
        await wait_readable(control)
        await sleep(UNSEEN_SECONDS)
        self._process.leave()

    async def _read_pipe(self, pipe: Pipe) -> None:
        with suppress(OSError, ClosedResourceError):
            while True:
                await wait_readable(pipe.descriptor)
                if not pipe.read():
                    return
                if pipe.is_flooded:
                    await sleep(FLOODED_SECONDS)

    def _read_rest(self, link: Link) -> None:
        """Take what the host had said before it ended."""
        with suppress(BrokenFrame):
            while frames := link.receive_nowait():
                for header, body in frames:
                    self._take(header, body)
        for pipe in self._pipes:
            pipe.finish()

    def _take(self, header: Header, body: bytes) -> None:
        run = self._run
        if isinstance(header, Logged | Printed | Cut):
            self._output.take(header)
        elif run is None:
            return
        elif isinstance(header, Begun):
            run.begun = run.begun or header.id == run.work.id
        elif isinstance(header, Waits):
            run.on_wait(header.begins)
        elif isinstance(header, Items) and run.job.items is not None:
            run.items = body
            run.news.set()
        elif isinstance(header, Progress):
            try:
                run.job.progress(Raw(body))
            except Exception:
                _log.exception("the progress of %s %s cannot be stored", run.work.task, run.work.id)
        elif isinstance(header, Succeeded | Failed | Left) and header.id == run.work.id:
            self._finish(run, header, body)

    def _finish(self, run: Run, header: Ended, body: bytes) -> None:
        for pipe in self._pipes:
            pipe.finish()
        self.jobs += 1
        self.memory_bytes = header.memory_bytes
        self._run = self._output.job = None
        run.result = header, body
        run.end()


def _setup() -> Setup:
    """Describe this program's logging for the host."""
    root = logging.getLogger()
    levels = {"root": root.level}
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return Setup(levels, root.manager.disable)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
