"""One started program with its session, in plain blocking code.

The program leads a session and a process group of its own, so that a signal reaches all that it started. Its process id is
theirs, too, and the system gives it to nobody else while any of them is there, or while the program is dead and not reaped.
So nobody but `Child` reaps it (an event loop's child watcher would do that at any moment), and a signal is sent only before
that, or while the group has members.

Beside it runs a guard, a shell of three lines that reads from a pipe of which this process holds the other end. When this
process dies, by whatever signal, the guard reads the end of the file, and ends the group. (Linux's PR_SET_PDEATHSIG would be
no help: it follows the thread that started the child, and threads end.)
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import Final

from ..forks import release, withhold
from .members import has_members, living_members
from .order import Order

SHELL: Final = "/bin/sh"
# The pid comes on the first line. A kill of the guard itself is the normal end; the end of the file is ours.
GUARD: Final = """
trap '' INT HUP TERM
read -r group || exit 0
read -r _
kill -s TERM -- "-$group" 2>/dev/null || exit 0
kill -s CONT -- "-$group" 2>/dev/null
sleep "$1"
kill -s KILL -- "-$group" 2>/dev/null
exit 0
"""

_log = logging.getLogger("nursery_tasks.shell")


class Child:
    """A started program, its pipes, and its guard. The pipes' ends here do not block.

    Raises:
        OSError: It cannot be started; nothing is left.
    """

    def __init__(self, order: Order) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._lifeline, self._guard = _open_guard(order.kill_after_seconds)
        withhold(self._lifeline)  # or the guard would wait for the end of a forked child, too
        try:
            self._process = subprocess.Popen(
                order.command,
                stdin=subprocess.DEVNULL if order.stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=order.cwd,
                env=order.env,
                bufsize=0,
                start_new_session=True,
            )
        except BaseException:
            self._end_guard()
            raise
        self.pid = self._process.pid
        if self._guard is not None:
            with suppress(BrokenPipeError):  # somebody has killed it
                os.write(self._lifeline, b"%d\n" % self.pid)
        self.stdin, self.stdout, self.stderr = self._process.stdin, self._process.stdout, self._process.stderr
        for pipe in filter(None, (self.stdin, self.stdout, self.stderr)):
            os.set_blocking(pipe.fileno(), False)

    @property
    def returncode(self) -> int | None:
        """What it ended with; None while it has not been reaped."""
        return self._process.returncode

    def wait_exited(self) -> None:
        """Wait until the program itself has ended, in any thread, without reaping it."""
        with suppress(ChildProcessError):  # reaped already
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def open_exit(self) -> int | None:
        """Open a descriptor that can be read when the program has ended; None where the system has no such thing."""
        try:
            return os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            return None

    def is_gone(self) -> bool:
        """Say whether the program has ended and nobody of its group lives; reaps it as soon as it can be."""
        if self._process.poll() is None:
            return False
        return not has_members(self.pid) or self.is_session_gone()

    def is_session_gone(self) -> bool:
        """Say the same of the whole session: a shell's jobs may have groups of their own. Looks at every process."""
        if self._process.poll() is None:
            return False
        living = living_members(self.pid)
        return not (has_members(self.pid) if living is None else living)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program and to all that it started, except those that made themselves a session."""
        for pid, group in (living_members(self.pid) or {}).items():
            if group != self.pid:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        if self._process.returncode is None or has_members(self.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """Reap what is dead, end the guard, close the pipes. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._process.poll() is None:  # in a system call that no signal ends; the error is in the log
            _log.error("process %d (%s) was killed and has not ended", self.pid, self._process.args)
        self._end_guard()
        for pipe in filter(None, (self.stdin, self.stdout, self.stderr)):
            pipe.close()

    def kill_now(self) -> None:
        """Kill all at once and let a thread do the rest: for a caller that is not allowed to wait."""
        if self._closed:
            return
        self.send(signal.SIGKILL)

        def end() -> None:
            self.wait_exited()
            self.close()

        threading.Thread(target=end, name="nursery-tasks process end", daemon=True).start()

    def _end_guard(self) -> None:
        if self._guard is None:
            return
        self._guard.kill()  # before its pipe is closed: it must not take this for our death
        self._guard.wait()
        release(self._lifeline)
        os.close(self._lifeline)


class Start:
    """A start in a thread, which its caller may have to leave: then the thread ends what it has started."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._given_up = False

    def run(self) -> Child:
        """Start the program; for a thread. Raises as `Child` does."""
        child = Child(self._order)
        with self._lock:
            self._child, given_up = child, self._given_up
        if given_up:
            child.kill_now()
        return child

    def give_up(self) -> None:
        """End what was started, or what is being started. Returns at once."""
        with self._lock:
            self._given_up, child = True, self._child
        if child is not None:
            child.kill_now()


def _open_guard(kill_after_seconds: float) -> tuple[int, subprocess.Popen[bytes] | None]:
    """Start a guard; returns our end of its pipe. Where there is no shell, there is none."""
    theirs, ours = os.pipe()
    try:
        guard = subprocess.Popen(
            [SHELL, "-c", GUARD, "nursery-tasks-guard", f"{kill_after_seconds:.3f}"],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath},
            start_new_session=True,  # a Ctrl-C in the terminal is not for it
        )
    except FileNotFoundError:
        os.close(ours)
        return -1, None
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return ours, guard
