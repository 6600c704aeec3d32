"""One worker process, seen from its supervisor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

import msgspec
from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, open_process, wait_readable
from anyio.abc import Process

from ..shared_leases import SharedLease, open_shared_leases, read_shared_leases
from .link import CANCEL, DRAIN, LOST, LOST_MOST, Invitation, write_lost
from .output import Output

REAP_SECONDS: Final = 5.0  # for a killed process to be gone

Command = Callable[[Invitation], list[str]]
Streams = Sequence[tuple[Output, Callable[[], str]]]


class Member:
    """A worker process, from before its start until after its end.

    Attributes:
        place: The number of its place.
        pid: Once it was started.
        ready: Set when it works.
        retired: Set when somebody should take its place: it has ended, recycles, or is to be replaced.
        ended: Set when it is gone.
        ready_at: When it began to work, on the loop's clock.
        code: How it ended: its exit code, or minus the signal's number; None: it could not be started.
        problem: Why it could not be started.
        recycling: Why it wants to be replaced.
        left: What it held, once it is gone.
    """

    def __init__(self, group: str, name: str, place: int, hear: Callable[[Member, dict[str, Any]], None]) -> None:
        self.group, self.name, self.place = group, name, place
        self.pid: int | None = None
        self.ready, self.retired, self.ended = Event(), Event(), Event()
        self.ready_at: float | None = None
        self.code: int | None = None
        self.problem: OSError | None = None
        self.recycling: str | None = None
        self.left: list[SharedLease] = []
        self._hear = hear
        self._process: Process | None = None
        self._commands: int | None = None  # the end of its standard input
        self._said: str | None = None
        self._rest = b""

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone."""
        return self.code is not None or self._process is None

    def drain(self) -> None:
        """Tell it to drain."""
        if self._said is None:
            self._say(DRAIN)

    def cancel(self) -> None:
        """Tell it to cancel what runs."""
        self._say(CANCEL)

    def send_leases(self, left: Sequence[SharedLease]) -> None:
        """Tell it what another one held that is dead."""
        for begin in range(0, len(left), LOST_MOST):
            self._write(f"{LOST} {write_lost(left[begin : begin + LOST_MOST])}")

    def kill(self) -> None:
        """Kill it, with its process group."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def run(self, command: Command, streams: Streams, colour: bool) -> None:
        """Run the process to its end.

        Args:
            streams: For its standard output and standard error, each with what its lines begin with.

        Cancellation:
            It is killed, and gone when this returns.
        """
        with ExitStack() as ours:
            try:
                self._process = await self._start(command, streams, colour, ours)
            except OSError as error:
                self.problem, self._commands = error, None
                return
            self.pid = self._process.pid
            try:
                async with create_task_group() as listening:
                    listening.start_soon(self._listen, self._reports, name=f"reports of {self.name}")
                    await self._process.wait()
                    listening.cancel_scope.cancel()
            finally:
                self.kill()
                with move_on_after(REAP_SECONDS, shield=True):
                    await self._process.wait()
                    self.code = self._process.returncode
                self._commands = None
                self._read(self._reports)  # what it said last
                self.left = read_shared_leases(self._shared_leases)

    async def _start(self, command: Command, streams: Streams, colour: bool, ours: ExitStack) -> Process:
        with ExitStack() as theirs:
            stdin, self._commands = os.pipe()
            theirs.callback(os.close, stdin)
            ours.callback(os.close, self._commands)
            if self._said is not None:
                self._say(self._said)
            self._reports, telling = os.pipe()
            theirs.callback(os.close, telling)
            ours.callback(os.close, self._reports)
            self._shared_leases = open_shared_leases()
            ours.callback(os.close, self._shared_leases)
            os.set_blocking(self._reports, False)
            os.set_blocking(self._commands, False)
            ends = [stream.open_pipe(prefix) for stream, prefix in streams]
            for end in ends:
                theirs.callback(os.close, end)
            # A session of its own: a terminal's Ctrl-C is for the supervisor, which passes it on as a line. Shielded, because
            # a start that is cancelled in the middle leaks the process on asyncio; there is nothing that it waits for.
            with CancelScope(shield=True):
                process = await open_process(
                    command(Invitation(self.group, self.name, telling, self._shared_leases, colour)),
                    stdin=stdin,
                    stdout=ends[0],
                    stderr=ends[1],
                    start_new_session=True,
                    pass_fds=[telling, self._shared_leases],
                )
        return process  # pyright: ignore[reportPossiblyUnboundVariable] - that scope cancels nothing

    async def _listen(self, reports: int) -> None:
        while True:
            await wait_readable(reports)
            if not self._read(reports):
                return

    def _read(self, reports: int) -> bool:
        """Hear what has come; False: that was all."""
        try:
            while chunk := os.read(reports, 64 * 1024):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                for line in lines:
                    self._note(msgspec.json.decode(line))
        except BlockingIOError:
            return True
        return False

    def _note(self, report: dict[str, Any]) -> None:
        if report["kind"] == "ready":
            self.ready_at = current_time()
            self.ready.set()
        elif report["kind"] == "recycling":
            self.recycling = report["reason"]
            self.retired.set()
        self._hear(self, report)

    def _say(self, word: str) -> None:
        self._said = word
        self._write(word)

    def _write(self, word: str) -> None:
        if self._commands is not None:  # else it is said when there is a pipe
            with suppress(OSError):  # it has ended, or does not read at all: the limit of the stop meets it
                os.write(self._commands, f"{word}\n".encode())
