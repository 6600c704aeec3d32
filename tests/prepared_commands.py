"""Commands of `nursery-tasks` as forks of a process that has imported the package before.

Starting Python and importing takes ten times as long as most commands do. A command is a process of its own here, too, with its
arguments, environment, directory, streams and exit code; only the imports are not its own. What is about a start, a signal or a
terminal starts its commands as people do, and so do the tests that walk through the help of all commands.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, BinaryIO, Final

IMPORTED: Final = (
    "nursery_tasks.cli.main",
    "nursery_tasks.cli.commands",
    "nursery_tasks.brokers.sqlite",
    "nursery_tasks.brokers.redis",
    "anyio._backends._asyncio",
    "typer.completion",
)
WARNINGS: Final = {"PYTHONWARNINGS": "error"}  # as in every shell of the tests


def can_be_prepared(environment: Mapping[str, str]) -> bool:
    """Say whether the process that forks was started with what Python itself reads from this environment."""
    return hasattr(os, "fork") and _for_python(environment) == _for_python({**os.environ, **WARNINGS})


def _for_python(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


class PreparedCommands:
    """The process that forks; it ends with this one."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._one_at_a_time = Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **WARNINGS},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._ours.close()
        self._process.wait()

    def run(
        self, args: Sequence[str], *, directory: Path, environment: Mapping[str, str], stdin: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        request = json.dumps({"args": args, "directory": str(directory), "environment": dict(environment)}).encode()
        with self._one_at_a_time, _pipe_with(stdin.encode()) as given, TemporaryFile() as out, TemporaryFile() as err:
            socket.send_fds(self._ours, [len(request).to_bytes(4)], [given.fileno(), out.fileno(), err.fileno()])
            self._ours.sendall(request)
            pid = _receive_number(self._ours)
            self._ours.settimeout(seconds)
            try:
                code = _receive_number(self._ours)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
            finally:
                self._ours.settimeout(None)
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(args, code, out.read().decode(), err.read().decode())


@cache
def prepared_commands() -> PreparedCommands:
    """Return the one of this test process."""
    return PreparedCommands()


@contextmanager
def _pipe_with(data: bytes) -> Generator[BinaryIO, None, None]:
    """Open the reading end of a pipe that has all of *data* in it already, and then its end."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as given:
        with open(writing, "wb", buffering=0) as end:
            os.set_blocking(writing, False)
            assert end.write(data) == len(data), "more than a pipe holds"
        yield given


def _receive_number(link: socket.socket) -> int:
    found = link.recv(4, socket.MSG_WAITALL)
    if len(found) < 4:
        raise EOFError("the process that forks is gone")
    return int.from_bytes(found, signed=True)


def become_the_next_command(link: socket.socket) -> None:
    """Fork for each request, and return in the children only, as the command that was asked for."""
    while True:
        length, fds, _, _ = socket.recv_fds(link, 4, 3)
        if not length:
            os._exit(0)
        request: dict[str, Any] = json.loads(link.recv(int.from_bytes(length), socket.MSG_WAITALL))
        pid = os.fork()
        if pid == 0:
            link.close()
            return _become(request, fds)
        for fd in fds:
            os.close(fd)
        link.sendall(pid.to_bytes(4, signed=True))
        _, status = os.waitpid(pid, 0)
        link.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))


def _become(request: dict[str, Any], fds: Sequence[int]) -> None:
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()  # Python reads it once
    sys.argv = ["nursery-tasks", *request["args"]]
    sys.path[0] = request["directory"]


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # what is here already is nothing for the children to look through
    become_the_next_command(socket.socket(fileno=int(sys.argv[1])))
    sys.modules["nursery_tasks.cli.main"].main()
