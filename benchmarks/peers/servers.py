"""The servers of one measurement: started fresh, on a free port, with a log on a real disk; gone after it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import redis
from measuring import Place, Watcher

START_SECONDS = 10.0
SETTINGS = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")  # the same for all
SQLITE_STORE = "store.db"  # in a stage's directory
PROGRAMS = ("redis-server", "valkey-server")


@dataclass(frozen=True)
class Stage:
    """What one measurement has for itself.

    Attributes:
        url: Where the contender's broker is.
        directory: For the contender's own files.
        store: Asks the Redis server in which results are stored; None: all is in a file.
        results: Where that is, when it is not the broker.
    """

    url: str
    directory: Path
    store: redis.Redis | None
    results: str = ""

    def answer(self, *words: str) -> int:
        """Ask one question whose answer is a number; nothing there is 0. It is a Redis command, or `SQL` and a query."""
        if words[0] == "SQL":
            with Watcher(self.directory / SQLITE_STORE, words[1]) as watcher:
                return watcher()
        return int(self._server.execute_command(*words) or 0)  # type: ignore[no-untyped-call]

    def commands(self) -> int:
        """Return how many commands the server has been given, apart from those of this method."""
        found = self._server.info("commandstats")
        return sum(int(each["calls"]) for name, each in found.items() if name != "cmdstat_info")  # type: ignore[union-attr]

    def server_seconds(self) -> float:
        """Return the server's CPU time."""
        found = self._server.info("cpu")
        return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])  # type: ignore[index]

    @property
    def _server(self) -> redis.Redis:
        if self.store is None:
            raise RuntimeError(f"{self.url} has no server")
        return self.store


class FilePlace(Place):
    """A place whose broker is a SQLite file, a fresh one for each measurement."""


class ServedPlace(Place):
    """A place with a broker beside, which is the same one for all measurements; each has a room of its own in it."""

    @contextmanager
    def open_room(self) -> Generator[str, None, None]:
        """Make a room, and give its URL."""
        raise NotImplementedError
        yield ""

    def version(self) -> str:
        """Say what broker it is."""
        raise NotImplementedError


@contextmanager
def open_stage(place: Place) -> Generator[Stage, None, None]:
    """Start the servers for one measurement: a Redis server, which is the broker where the place has no other."""
    if isinstance(place, FilePlace):
        with place.fresh() as directory:
            yield Stage(f"sqlite:///{directory / SQLITE_STORE}", directory, None)
    elif isinstance(place, ServedPlace):
        with place.open_room() as url, _open_redis_stage(place) as stage:
            yield replace(stage, url=url, results=stage.url)
    else:
        with _open_redis_stage(place) as stage:
            yield stage


@contextmanager
def _open_redis_stage(place: Place) -> Generator[Stage, None, None]:
    with place.fresh() as directory, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        where = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--logfile", str(directory / "log"))
        server = subprocess.Popen([program(), *where, *SETTINGS], stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port, protocol=2) as client:
                _wait_for(server, client, directory / "log")
                yield Stage(f"redis://127.0.0.1:{port}/0", directory, client)
        finally:
            server.kill()
            server.wait()


def program() -> str:
    """Find the server's program."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise RuntimeError("no redis-server or valkey-server on the PATH; tests/install_servers.sh installs it")


def version() -> str:
    """Return what server it is, with its settings."""
    said = subprocess.run([program(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    number = next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "")
    return f"{Path(program()).name} {number}, one for each measurement, {' '.join(SETTINGS).replace(' --save ', '')}"


def _wait_for(server: subprocess.Popen[bytes], client: redis.Redis, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"redis-server did not start:\n{log.read_text()}") from None
            time.sleep(0.01)
