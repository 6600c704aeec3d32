"""The contenders: how to start each one's worker, fill its queue, and see how far it is.

`ours.py` and `peer.py` are the programs behind them; each runs in processes of its own.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from measuring import Watcher, ask, running

FILE = "jobs.db"


@dataclass(frozen=True)
class Side:
    """One contender.

    Attributes:
        package: What a program imports to use it.
        program: The file beside this one that plays its parts.
        worker_command: How its worker is started.
        options: What the program's other parts are given.
        ended_question: How many jobs have ended, with their results stored; a query that costs next to nothing.
        delivery: What becomes of a job whose worker dies.
        has_bulk: Whether it can submit many jobs in one call.
    """

    name: str
    package: str
    program: str
    worker_command: tuple[str, ...]
    options: tuple[str, ...]
    ended_question: str
    delivery: str
    has_bulk: bool

    def worker(self, directory: Path) -> AbstractContextManager[subprocess.Popen[str]]:
        """Run a worker while the context is open."""
        return running([sys.executable, *self.worker_command], _environment(directory))

    def client(self, part: str, directory: Path | None, **options: float) -> list[float]:
        """Run one of the program's other parts to its end and return what it measured. None: in memory."""
        given = [f"--{word}={value}" for word, value in options.items()]
        found: list[float] = ask([sys.executable, self.program, part, *self.options, *given], _environment(directory))
        return found

    def count_calls(self, directory: Path, seconds: float) -> float:
        """Run a worker that has nothing to do and return how often it called its broker per second."""
        [calls] = self.client("count-calls", directory, seconds=seconds)
        return calls / seconds

    def watch(self, directory: Path) -> Watcher:
        """Watch how many jobs have ended."""
        return Watcher(directory / FILE, self.ended_question)


def _environment(directory: Path | None) -> dict[str, str]:
    return {} if directory is None else {"BENCH_FILE": str(directory / FILE)}


def _ours(name: str, loop: str) -> Side:
    # 4 is `succeeded`; the condition on `at` lets SQLite answer from an index.
    question = "SELECT count(*) FROM job WHERE state = 4 AND at IS NOT NULL"
    backend = ("--backend=trio",) if loop == "trio" else ("--uvloop",) if loop == "uvloop" else ()
    worker = ("-m", "nursery_tasks", "run", "ours:app", "--quiet", *backend)
    return Side(name, "nursery_tasks", "ours.py", worker, (f"--loop={loop}",), question, "at least once", True)


def _huey(name: str, delay_seconds: float) -> Side:
    # Results are only ever added here, so the number of the last row is how many there are. Of 1, 2, 4 and 8 threads one is the
    # fastest for jobs that do nothing.
    question, options = "SELECT max(rowid) FROM kv", ("--threads=1", f"--delay={delay_seconds}")
    return Side(name, "huey", "peer.py", ("peer.py", "worker", *options), options, question, "at most once", False)


LOOPS = ("asyncio", "uvloop", "trio")
OURS = [_ours(f"nursery-tasks, {loop}", loop) for loop in LOOPS]
EMBEDDED = [_ours(loop, loop) for loop in LOOPS]
HUEY = _huey("huey", 0.001)
HUEY_AS_IT_COMES = _huey("huey, default polling", 0)  # looks each 0.1 s at first, each 10 s after a while
SIDES = [*OURS, HUEY]
