"""The process that AnyIO starts for a host. It forks the process that runs handlers, and watches over it.

    worker ── AnyIO's pipes ── guard ── fork ── host           the host leads a session and process group of its own
       ├───────── control ───────┘               │
       └──── link, output pipes ─────────────────┘

Only the guard can promise that nothing is left behind. It runs no code of a task's and holds no lock of one, so it always
answers: when the worker dies, or says so, it kills the host's whole group, also while a handler holds the GIL or sleeps in C.
It is the host's parent, so it alone learns how the host ended; and on Linux it adopts what the host's children leave behind,
also processes that have left the group, and ends them, too. What it has written to AnyIO's pipe is nothing: it leaves with
`os._exit()`, and `run_sync` raises `BrokenWorkerProcess`, which is its normal end.

`PR_SET_PDEATHSIG` would be shorter, and wrong: the signal comes when the *thread* ends that made the child, and Trio starts
processes in threads that end after ten idle seconds.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import sys
import time
import traceback
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any, Final, NoReturn

TERM: Final = b"T"  # what the worker says
KILL: Final = b"K"
GONE_SECONDS: Final = 2.0  # for killed processes to be gone; one that hangs in the kernel cannot be waited for
LOOK_SECONDS: Final = 0.005  # between two looks at processes that were killed

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


def host_main(address: str, secret: bytes) -> NoReturn:
    """Start the host and guard it until it has ended; the one function that AnyIO calls in the new process.

    Args:
        address: The worker's socket, which is gone when it has been connected to.
        secret: Shown to the worker, once.
    """
    os.setsid()  # out of the terminal's process group: Ctrl-C there is for the worker
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        _close_copies()
        control = socket.socket(socket.AF_UNIX)
        control.connect(address)
        link, hosts_link = socket.socketpair()
        out, hosts_out = os.pipe()
        err, hosts_err = os.pipe()
        _adopt_orphans()
        host = _fork()
        if host == 0:
            control.close()
            link.close()
            os.close(out)
            os.close(err)
            _become_host(hosts_link, hosts_out, hosts_err)
        hosts_link.close()
        os.close(hosts_out)
        os.close(hosts_err)
        pids = f"{os.getpid()} {host}\n".encode()
        socket.send_fds(control, [secret + pids], [link.fileno(), out, err])
        link.close()
        os.close(out)
        os.close(err)
        _watch(host, control)
    finally:
        os._exit(0)


def _fork() -> int:
    with warnings.catch_warnings():
        # Since 3.12 Python warns where threads run: those that the main module started when it was imported. They stay here.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become_host(link: socket.socket, out: int, err: int) -> NoReturn:
    code = 70
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (out, 1), (err, 2)):  # AnyIO's pipes stay with the guard
            os.dup2(source, target)
            os.close(source)
        signal.set_wakeup_fd(-1)
        from .inside import serve_jobs

        serve_jobs(link)
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))  # which the worker logs
    finally:
        os._exit(code)


def _watch(host: int, control: socket.socket) -> None:
    """Wait for the end of the host or of the worker, and leave nothing behind."""
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, _on_signal)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    watched: list[Any] = [control, wake]
    with suppress(AttributeError, OSError):  # not on all systems
        # The worker's other children may have inherited its end of our socket, and then it never says that it is closed.
        watched.append(os.pidfd_open(os.getppid()))
    status = _ended(host)
    while status is None:
        ready, _, _ = select.select(watched, [], [])
        if wake in ready:
            os.read(wake, 1024)
            status = _ended(host)
        elif control in ready:
            said = control.recv(16)
            _kill(host, signal.SIGTERM if said.endswith(TERM) else signal.SIGKILL)
            if not said:
                watched.remove(control)
        else:
            _kill(host, signal.SIGKILL)
            watched.pop()
    _end_all(host)
    with suppress(OSError):
        control.sendall(status)
        os.close(1)  # AnyIO sees that, and kills us; asyncio complains of a process that ended before it was killed
        _wait_closed(control)


def _wait_closed(control: socket.socket) -> None:
    """Wait until the worker has closed its end; it may have asked for the kill once more, and that is not the end."""
    until = time.monotonic() + GONE_SECONDS
    while (seconds := until - time.monotonic()) > 0 and select.select([control], [], [], seconds)[0]:
        if not control.recv(64):
            return


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Do nothing, but be there: only a signal that has a handler wakes `select()`."""


def _ended(host: int) -> bytes | None:
    """Say how the host ended, or None; reap other children, which it had left to us. It stays a zombie, so its id is kept."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13: nobody leaves children to us there, and the id is free at once
        pid, status = os.waitpid(host, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status)
        return None if pid == 0 else f"exit {code}\n".encode() if code >= 0 else f"signal {-code}\n".encode()
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return b"exit -1\n"
        if found is None:
            return None
        if found.si_pid == host:
            how = "exit" if found.si_code == os.CLD_EXITED else "signal"
            return f"{how} {found.si_status}\n".encode()
        os.waitpid(found.si_pid, 0)


def _end_all(host: int) -> None:
    """Kill the host's group, then what else has become our child, until nothing is left."""
    _kill(host, signal.SIGKILL)
    until = time.monotonic() + GONE_SECONDS
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            if not _group_lives(host):
                return
            pid = 0
        if pid == 0:
            for child in _children():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(LOOK_SECONDS)


def _kill(host: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(host, number)
    with suppress(ProcessLookupError, PermissionError):  # it may not lead its group yet
        os.kill(host, number)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:  # not Linux
        return []


def _close_copies() -> None:
    """Close other descriptors of AnyIO's pipes, which uvloop leaves to its children: a pipe must end when we close it."""
    ours = {(status.st_dev, status.st_ino) for status in map(os.fstat, (0, 1, 2)) if not stat.S_ISCHR(status.st_mode)}
    with suppress(OSError):
        for descriptor in map(int, os.listdir("/dev/fd")):
            with suppress(OSError):
                status = os.fstat(descriptor)
                if descriptor > 2 and (status.st_dev, status.st_ino) in ours:
                    os.close(descriptor)


def _adopt_orphans() -> None:
    """Become the parent of what the host's children leave behind. Linux only; elsewhere the group must do."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
