"""What all scenarios share: processes and their CPU time, turns, medians, and the machine that they ran on."""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import apsw

HERE = Path(__file__).resolve().parent
STOP_SECONDS = 20.0
REST_SHARE = 0.01  # of a core


@dataclass(frozen=True)
class Effort:
    """How much is measured. The quick one shows whether something has gone wrong, not how fast it is."""

    rounds: int = 5
    jobs: int = 10_000
    single_jobs: int = 1_000  # enqueued one by one
    round_trips: int = 300
    callers: int = 8
    cancels: int = 30
    idle_seconds: float = 10.0
    starts: int = 9

    @classmethod
    def quick(cls) -> Effort:
        return cls(rounds=1, jobs=2_000, single_jobs=200, round_trips=50, cancels=5, idle_seconds=1.5, starts=2)


@dataclass
class Table:
    """What one scenario found.

    Attributes:
        columns: The heads; the first column names the contender.
        rows: Medians, as they are shown.
        raw: Contender -> what each round gave, for the data file.
        words: The columns hold words, not numbers.
    """

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list[list[str]])
    raw: dict[str, Any] = field(default_factory=dict[str, Any])
    words: bool = False


class Place:
    """Makes a fresh directory for each measurement, on one real disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def fresh(self) -> Generator[Path, None, None]:
        with tempfile.TemporaryDirectory(dir=self.root, ignore_cleanup_errors=True) as made:
            yield Path(made)


@contextmanager
def open_place(directory: str | None) -> Generator[Place, None, None]:
    """Open a place for databases; by default in /var/tmp, because /tmp is often kept in memory, where a sync costs nothing."""
    if directory is None:
        directory = "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="nursery-tasks-bench-", dir=directory, ignore_cleanup_errors=True) as made:
        yield Place(Path(made))


# --- processes ------------------------------------------------------------------------------------------------------------


@contextmanager
def running(command: Sequence[str], environment: dict[str, str] | None = None) -> Generator[subprocess.Popen[str], None, None]:
    """Run a program while the context is open, then end it politely."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended by itself:\n{process.communicate()[1]}")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def ask(command: Sequence[str], environment: dict[str, str] | None = None) -> Any:
    """Run a program to its end and return what it printed, which is JSON."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, cwd=HERE, env={**os.environ, **(environment or {})}, check=True
    )
    return json.loads(done.stdout)


def process_seconds(pid: int) -> float:
    """Return the CPU time of another process: user and system, of all its threads, also of those that have ended.

    Linux: the number of a process's CPU clock is made of its id; see clock_getcpuclockid(3). Its grain is a nanosecond, where
    /proc counts in hundredths of a second.
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_mib(pid: int) -> float:
    """Return how much memory a process has."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


def family_of(pids: Sequence[int]) -> list[int]:
    """Return these processes and all below them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has just ended
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found = list(pids)
    for pid in found:
        found += parents.get(pid, ())
    return found


def family_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time of these processes and all below them."""
    return sum(process_seconds(pid) for pid in family_of(pids))


def family_mib(pids: Sequence[int]) -> float:
    """Return the memory of these processes and all below them; what a fork shares with its parent is counted once."""
    total = 0.0
    for pid in pids:
        rows = [_memory(each) for each in family_of([pid])]
        total += sum(resident - shared for resident, shared in rows) + max(shared for _, shared in rows)
    return total


def _memory(pid: int) -> tuple[float, float]:
    """Return MiB in memory, and how much of it is shared with other processes."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    amounts = {name: int(text.split()[0]) / 1024 for name, text in rows.items()}
    return amounts["Rss"], amounts["Shared_Clean"] + amounts["Shared_Dirty"]


def come_to_rest(pids: Sequence[int], most: float = 20.0) -> None:
    """Wait until these processes have started: until they use about as much CPU time in one second as in the one before.

    On a busy machine a start takes longer than any pause that one would choose; a process that polls never comes to nothing.
    """
    end, before, last = time.monotonic() + most, family_seconds(pids), float("inf")
    while time.monotonic() < end:
        time.sleep(1.0)
        now = family_seconds(pids)
        used, before = now - before, now
        if abs(used - last) < REST_SHARE * len(pids) + used / 10:
            return
        last = used


def until(condition: Callable[[], bool], process: subprocess.Popen[str], pause: float = 0.003, most: float = 300.0) -> None:
    """Wait for *condition* as long as *process* lives."""
    give_up_at = time.monotonic() + most
    while not condition():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended by itself:\n{process.communicate()[1]}")
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited {most:g} s for {process.args!r}")
        time.sleep(pause)


class Watcher:
    """Asks a database one short question, again and again, from outside."""

    def __init__(self, path: Path, question: str) -> None:
        self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        self._connection.set_busy_timeout(5_000)
        self._cursor = self._connection.cursor()
        self._question = question

    def __call__(self) -> int:
        try:
            return int(self._cursor.execute(self._question).get or 0)
        except apsw.SQLError:  # the tables are being made
            return 0

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()


# --- numbers --------------------------------------------------------------------------------------------------------------


def in_turns(rounds: int, names: Sequence[str]) -> Iterator[str]:
    """Yield A B C, A B C, ...: what disturbs the machine for a while disturbs all."""
    for number in range(rounds):
        for name in names:
            progress(f"round {number + 1} of {rounds}: {name}")
            yield name


def progress(text: str) -> None:
    """Say what is going on, to whoever sits in front of it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def number(value: float) -> str:
    """Write a rate, with a thin grouping."""
    return f"{value:,.0f}".replace(",", " ")


# --- the machine ----------------------------------------------------------------------------------------------------------


def reference() -> str:
    """Say how fast this machine is now: a core that is shared, or whose caches are, takes longer for the same thing."""
    taken: list[float] = []
    for _ in range(5):
        began, table = time.process_time(), dict[int, tuple[int, str]]()
        for number in range(300_000):
            table[number % 1_000] = (number, str(number))
        taken.append(time.process_time() - began)
    return f"300 000 small things put into a dict take {median(taken) * 1e3:.0f} ms of CPU time"


CALM_LOAD = 1.0  # threads that want a core; with more, something else runs
CALM_SECONDS = 180.0  # so long the last minute's average may take to fall, say after an installation


def load() -> str:
    """Return how many threads wanted a core in the last minute, on average."""
    return f"{os.getloadavg()[0]:.1f}"


def wait_for_calm(*, loaded: bool) -> None:
    """Wait until nothing else runs on this machine; figures for the page are made before no other ones.

    Args:
        loaded: Never mind; the page then says what the load was.

    Raises:
        SystemExit: The load average is still too high.
    """
    give_up_at = time.monotonic() + CALM_SECONDS
    while not loaded and os.getloadavg()[0] > CALM_LOAD:
        if time.monotonic() > give_up_at:
            raise SystemExit(
                f"the load average is {load()}, so the page would show something else, too: stop what runs beside, or let the"
                " page say so with --loaded"
            )
        progress(f"waiting for the load average to fall from {load()} to {CALM_LOAD:g}")
        time.sleep(2.0)


_LIBRARIES = ("nursery-tasks", "anyio", "trio", "uvloop", "msgspec", "apsw", "huey")


def describe_machine(place: Place, libraries: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    """Say what the figures depend on."""
    with place.fresh() as directory:
        sync = f"{median(_sync_seconds(directory)) * 1e6:.0f} us"
        system = _file_system(directory)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": ", ".join(f"{name} {_version(name)}" for name in libraries),
        "file system": f"{system}; 4 KiB appended and fdatasync: {sync} (median)",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(missing)"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(directory: Path) -> str:
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    fitting = [mount for mount in mounts if directory.is_relative_to(mount[1])]
    return max(fitting, key=lambda mount: len(mount[1]))[2] if fitting else "unknown"


def _sync_seconds(directory: Path) -> list[float]:
    taken: list[float] = []
    with open(directory / "sync", "wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return taken
