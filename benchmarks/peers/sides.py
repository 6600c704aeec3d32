"""The contenders: how each one's worker is started, what its settings are, and how far it is.

Each runs 32 jobs at a time in one worker process, or as many as its makers say suit it; `settings` says what was chosen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from measuring import HERE, ask

from nursery_tasks.brokers.url import with_store

from .environments import bin_of, versions
from .servers import SQLITE_STORE, Stage

PROGRAMS = Path(__file__).resolve().parent / "programs"
SLOTS = 32
WAIT_SECONDS = 60.0  # for a job; longer is a contender that hangs


@dataclass(frozen=True)
class Count:
    """How to find out how many jobs have ended, by one question that costs the server next to nothing.

    Attributes:
        words: The question, a Redis command that is answered by a number; or `SQL` and a query to the SQLite store.
        left: The answer is what is left, not what has ended.
    """

    words: tuple[str, ...]
    left: bool = True


class Worker:
    """A contender's worker, with all its processes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def until(self, condition: Callable[[], bool], pause: float = 0.003, most: float = WAIT_SECONDS) -> bool:
        """Wait for *condition* as long as the worker lives; False: it did not come within *most* seconds."""
        end = time.monotonic() + most
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args!r} ended by itself:\n{self._log.read_text(errors='replace')[-3000:]}")
            if time.monotonic() > end:
                return False
            time.sleep(pause)
        return True

    def kill(self) -> None:
        """End all its processes at once, as a machine that fails does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class Side:
    """One contender.

    Attributes:
        environment: The peer's virtual environment; None: ours.
        program: The file that plays its parts.
        command: How its worker is started; the first word is a program of the environment. `{number}` is the worker's.
        count: How many of its jobs have ended.
        jobs: So many are queued for a measurement of throughput: some two seconds' work.
        delivery: What becomes of a job whose worker dies.
        known_from: How we know, besides the test with `kill -9`.
        settings: What was chosen, in words.
        variables: The same for its processes.
        trips: Divides the number of round trips, where each takes long.
        trips_only: Nothing else is measured in the rounds.
        store: Of ours on a broker that needs one: what keeps the jobs.
        query: Of ours: options of the broker's URL.
        home: Of ours: another checkout, with an environment in `.venv`; None: this one.
    """

    name: str
    environment: str | None
    program: Path
    command: tuple[str, ...]
    count: Count
    jobs: int
    delivery: str
    known_from: str
    settings: str
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict[str, str])
    trips: int = 1
    trips_only: bool = False
    ours: bool = False
    store: Literal["", "redis", "sqlite"] = ""
    query: str = ""
    home: Path | None = None

    @property
    def version(self) -> str:
        """The version of the peer and of what it stands on."""
        return "" if self.environment is None else versions(self.environment)

    def client(self, part: str, stage: Stage, *, variables: dict[str, str] | None = None, **options: float) -> list[float]:
        """Run one of the program's parts to its end and return what it measured."""
        given = [f"--{word}={value}" for word, value in options.items()]
        command = [self._program("python"), str(self.program), part, *self.options, *given]
        found: list[float] = ask(command, {**self._variables(stage), **(variables or {})})
        return found

    @contextmanager
    def worker(
        self, stage: Stage, number: int = 1, *, more: Sequence[str] = (), variables: dict[str, str] | None = None
    ) -> Generator[Worker, None, None]:
        """Run a worker while the context is open; it is killed at its end, because nothing of it is needed any more."""
        first, *rest = (word.format(number=number) for word in self.command)
        log = stage.directory / f"worker-{number}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [self._program(first), *rest, *more],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.program.parent,
                env={**os.environ, **self._variables(stage), **(variables or {})},
                process_group=0,
            )
        worker = Worker(process, log)
        try:
            yield worker
        finally:
            worker.kill()

    def ended(self, stage: Stage) -> Callable[[], int]:
        """Return a function that says how many jobs have ended since now."""
        before = stage.answer(*self.count.words)
        sign = -1 if self.count.left else 1
        return lambda: sign * (stage.answer(*self.count.words) - before)

    def _program(self, name: str) -> str:
        if self.home is not None:
            return str(self.home / ".venv" / "bin" / name)
        if self.environment is None:
            return sys.executable
        return str(bin_of(self.environment) / name)

    def _url(self, stage: Stage) -> str:
        if not self.store:
            return stage.url
        return with_store(stage.url + self.query, stage.results if self.store == "redis" else _sqlite_url(stage))

    def _variables(self, stage: Stage) -> dict[str, str]:
        return {
            "BENCH_URL": self._url(stage),
            "BENCH_RESULTS": stage.results,
            "BENCH_FILE": str(stage.directory / "jobs"),
            "BENCH_SLOTS": str(SLOTS),
            "PYTHONPATH": "" if self.environment is not None else str(self.home or HERE.parent),
            **self.variables,
        }


def _sqlite_url(stage: Stage) -> str:
    return f"sqlite:///{stage.directory / SQLITE_STORE}"


def _ours(loop: str) -> Side:
    backend = ("--backend=trio",) if loop == "trio" else ("--uvloop",) if loop == "uvloop" else ()
    return Side(
        f"nursery-tasks, {loop}",
        None,
        HERE / "ours.py",
        ("python", "-m", "nursery_tasks", "run", "ours:app", "--quiet", *backend),
        Count(("HGET", "{nursery-tasks}:counts", "4default"), left=False),  # 4 is `succeeded`
        40_000,
        "at least once",
        "its contract and its fault tests",
        f"as it comes: {SLOTS} slots",
        options=(f"--loop={loop}",),
        ours=True,
    )


def _peer(name: str, command: str, count: Count, jobs: int, known_from: str, settings: str, **more: str) -> Side:
    program = PROGRAMS / f"side_{name}.py"
    return Side(name, name, program, tuple(command.split()), count, jobs, "at least once", known_from, settings, variables=more)


OURS = [_ours(loop) for loop in ("asyncio", "uvloop", "trio")]
STREAQ = _peer(
    "streaq",
    "streaq run side_streaq:worker",
    Count(("XLEN", "streaq:default:queues:normal")),
    4_000,
    "its documentation: a task of a dead worker is claimed again after `idle_timeout`",
    f"uvloop, concurrency {SLOTS}, prefetch the same, a task's log off",
)
SAQ = _peer(
    "saq",
    "saq side_saq.settings",
    Count(("ZCARD", "saq:default:incomplete")),
    2_500,
    "its source: stuck jobs are swept and retried; with `retries` above 1, which is not its default",
    f"uvloop, hiredis, concurrency {SLOTS}, `retries=3`, a client looks each millisecond",
)
TASKIQ = _peer(
    "taskiq",
    f"taskiq worker side_taskiq:broker --workers 1 --max-async-tasks {SLOTS} --max-prefetch {SLOTS} --log-level WARNING",
    Count(("DBSIZE",), left=False),
    2_500,
    "its documentation: acknowledged when saved, claimed by others after `idle_timeout`, when another job comes",
    f"uvloop, hiredis, orjson, stream broker, {SLOTS} tasks, prefetch the same, a client looks each millisecond",
)
ARQ = _peer(
    "arq",
    "arq side_arq.WorkerSettings --custom-log-dict side_arq.LOGGING",
    Count(("ZCARD", "arq:queue")),
    2_000,
    "its documentation: jobs stay in the queue until they have ended",
    f"uvloop, hiredis, `max_jobs` {SLOTS}, worker and client look each millisecond, its log off",
)
DRAMATIQ = _peer(
    "dramatiq",
    "dramatiq side_dramatiq --processes 1 --threads 8",
    Count(("HLEN", "dramatiq:default.msgs")),
    3_000,
    "its documentation: acknowledged when it has ended, requeued when a worker's heartbeat stops",
    "hiredis, one process of 8 threads (its default; 32 did a fifth more jobs and took a quarter more CPU for each),"
    " looks each millisecond",
    dramatiq_worker_timeout="1",
)
CELERY = _peer(
    "celery",
    "celery -A side_celery worker --pool prefork --concurrency 1 -O fair --loglevel ERROR --hostname w{number}@%h"
    " --without-gossip --without-mingle --without-heartbeat",
    Count(("DBSIZE",), left=False),
    1_000,
    "its documentation: with `acks_late`, which is not its default",
    "hiredis, prefork with one child, `acks_late`, prefetch 64, no gossip, mingle, heartbeat",
)
PEERS = [STREAQ, SAQ, TASKIQ, ARQ, DRAMATIQ, CELERY]
SIDES = [*OURS, *PEERS]

# As they come: what polling costs when it is not each millisecond, and what it saves.
AS_THEY_COME = [
    replace(ARQ, name="arq, default polling", variables={"BENCH_POLL_SECONDS": "0.5"}, trips=25, trips_only=True),
    replace(DRAMATIQ, name="dramatiq, default polling", variables={}, trips=3, trips_only=True),
]

# On RabbitMQ, with results in Redis where the name does not say otherwise.
_OURS_RABBIT = replace(
    OURS[0],
    jobs=10_000,
    store="redis",
    settings=f"as it comes: {SLOTS} slots, a quorum queue, each message confirmed; jobs and results in Redis",
)
_RABBIT = "its documentation: acknowledged when it has ended; the server delivers again what a broken connection had"
RABBIT_SIDES = [
    _OURS_RABBIT,
    replace(
        _OURS_RABBIT,
        name="nursery-tasks, SQLite store",
        store="sqlite",
        count=Count(("SQL", "SELECT count(*) FROM job WHERE state = 4 AND at IS NOT NULL"), left=False),
        settings=f"as it comes: {SLOTS} slots, a quorum queue, each message confirmed; jobs and results in SQLite, synced",
    ),
    replace(
        _OURS_RABBIT,
        name="nursery-tasks, classic queue",
        query="?queue_type=classic",
        settings=f"{SLOTS} slots, a durable classic queue, each message confirmed; jobs and results in Redis",
    ),
    replace(
        DRAMATIQ,
        count=Count(("DBSIZE",), left=False),
        known_from=_RABBIT,
        settings="one process of 8 threads (its default), `confirm_delivery`, a durable classic queue, its prefetch of two per"
        " thread; results in Redis",
        variables={},
    ),
    replace(
        TASKIQ,
        known_from=_RABBIT,
        settings=f"taskiq-aio-pika: uvloop, orjson, {SLOTS} tasks, `qos` the same, its quorum queue, each message confirmed;"
        " results in Redis, a client looks each millisecond",
    ),
    replace(
        CELERY,
        known_from="its documentation: with `acks_late`, which is not its default",
        settings="prefork with one child, `acks_late`, `confirm_publish`, a durable classic queue, prefetch 64, no gossip,"
        " mingle, heartbeat; results in Redis",
    ),
]

_SQLITE_ENDED = Count(("SQL", "SELECT count(*) FROM job WHERE state = 4 AND at IS NOT NULL"), left=False)
SQLITE_SIDES = [
    replace(OURS[0], jobs=60_000, count=_SQLITE_ENDED, settings=f"as it comes: {SLOTS} slots, each write synced"),
    replace(
        _peer(
            "huey",
            "huey_consumer side_huey.huey --workers 1 --delay 0.001 --max-delay 0.001 --backoff 1.0 --no-periodic --quiet",
            Count(("SQL", "SELECT max(rowid) FROM kv"), left=False),  # results are only ever added while jobs are counted
            10_000,
            "its source: a job is taken out of the queue when it is fetched, and lost with its worker",
            "WAL, each write synced, results stored, one thread (its best for jobs that do nothing), worker and client look"
            " each millisecond, its log off",
        ),
        delivery="at most once",
    ),
]


def chosen(sides: list[Side], words: str | None) -> list[Side]:
    """Return those whose names begin with one of *words*; None: all."""
    return [side for side in sides if words is None or side.name.startswith(tuple(words.split(",")))]
