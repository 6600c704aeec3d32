"""What can be set on a worker."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from ..errors import InvalidOptions
from ..execution.in_process import JOBS, default_limit
from ..model.duration import Duration, to_seconds
from ..model.options import DEFAULT_QUEUE, check_name, check_queue, inbox_of
from ..shared_leases import SharedLeases

SLOTS: Final = 32
LEASE_SECONDS: Final = 15.0  # renewed each third of it: two renewals may fail
CLEANUP_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 25.0  # below the 30 s after which most process managers kill
PREFETCH_SHORT: Final = 64  # deliveries that may wait for a slot, at most, while jobs are short
PREFETCH_MOST: Final = 500  # while they are over at once; no more than one batch of the settler's


class WorkerOptions(TypedDict, total=False):
    """The keywords of `app.open_worker(...)`.

    slots: How many attempts may run at once (default 32).
    queues: The queues to serve (default: those of the app's tasks); `{"a": 3, "b": 1}` gives weights.
    strict: Serve the queues strictly in the order given, instead of in turns.
    lease: How long the broker believes this worker without hearing from it, in seconds or as a timedelta (default 15).
    drain: How long running attempts may go on after a stop (default 25).
    name: The worker's name (default: node, process id and a random part).
    on_wedged: Called in the lease keeper's thread with the seconds that the event loop has been blocked, past 60.
    owns_signals: The program receives SIGINT itself, so a KeyboardInterrupt can only come from a handler.
    threads: Run `def` handlers where their kind says (default); False runs them all on the loop, for virtual clocks.
    processes: How many processes may run handlers at once (default: the number of CPUs).
    process_jobs: How many jobs a process runs before another takes its place (default 1000).
    process_memory: A process that holds more bytes than this after a job is replaced, too (default: no limit).
    fraction: The source of jitter, a number in [0, 1); for tests that want the same waits each time.
    pace: What the periods of polling and sweeping are multiplied by; for virtual clocks, where hints are never lost. Infinite:
        nothing is looked at unless something happens.
    on_recycle: Called on the loop when the worker wants to be replaced by a fresh process, with the reason and the seconds
        that attempts still have (infinite: all they want). The worker drains from then on. Only what can replace a whole
        process gives it, as `nursery-tasks run --workers` does; without it `Worker.recycle()` changes nothing.
    cleanup: How long a handler that was told to end may take before it counts as unresponsive (default 5).
    max_unresponsive: Recycle when so many handlers are unresponsive (default: half of the slots).
    max_jobs: Recycle when so many attempts have begun (default None: never); needs `on_recycle`.
    max_memory: Recycle when the process has more resident memory than so many bytes after an attempt; needs `on_recycle`.
    group: The name of the group of worker processes that this one belongs to, shown by `app.workers()`.
    schedules: Put the schedules of the app's code, and run what is due, as all workers do (default True).
    jobs: Take jobs, as workers do (default True); False: only run schedules, and sweep.
    shared_leases: Where the worker notes its leases, for a supervisor that sees it die; `nursery-tasks run --workers` gives it.
    """

    slots: int
    queues: Sequence[str] | dict[str, int] | None
    strict: bool
    lease: Duration
    drain: Duration
    name: str | None
    on_wedged: Callable[[float], object] | None
    owns_signals: bool
    threads: bool
    processes: int
    process_jobs: int
    process_memory: int | None
    fraction: Callable[[], float]
    pace: float
    on_recycle: Callable[[str, float], object] | None
    cleanup: Duration
    max_unresponsive: int | None
    max_jobs: int | None
    max_memory: int | None
    group: str
    schedules: bool
    jobs: bool
    shared_leases: SharedLeases | None


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The same, checked, in seconds.

    Attributes:
        turns: The queues in the order in which they are asked first; one of weight 3 stands there three times.
        owns_signals: A KeyboardInterrupt from a handler is the handler's own, because signals are received elsewhere.
        fraction: The source of jitter, a number in [0, 1).
        pace: What the periods of polling and sweeping are multiplied by.
        threads: Run `def` handlers where their kind says; False (on a virtual clock): on the loop.
    """

    slots: int
    queues: tuple[str, ...]
    turns: tuple[str, ...]
    strict: bool
    lease_seconds: float
    drain_seconds: float
    name: str
    on_wedged: Callable[[float], object] | None = None
    owns_signals: bool = False
    threads: bool = True
    processes: int = 1
    process_jobs: int = JOBS
    process_memory_bytes: int | None = None
    fraction: Callable[[], float] = random.random
    pace: float = 1.0
    on_recycle: Callable[[str, float], object] | None = None
    cleanup_seconds: float = CLEANUP_SECONDS
    max_unresponsive: int = 1
    max_jobs: int | None = None
    max_memory_bytes: int | None = None
    group: str = ""
    schedules: bool = True
    jobs: bool = True
    shared_leases: SharedLeases | None = None


def check_worker_options(
    given: WorkerOptions, app_queues: Sequence[str], node: str, *, has_inbox: bool = False
) -> WorkerSettings:
    """Check what a user gave.

    Args:
        has_inbox: There is a queue for this worker alone, where broadcasts come in.

    Raises:
        InvalidOptions: A value is out of its range, or an option does not exist.
    """
    unknown = given.keys() - WorkerOptions.__annotations__.keys()
    for word in unknown:
        raise InvalidOptions(word, given.get(word), f"one of {', '.join(sorted(WorkerOptions.__annotations__))}")
    slots = _check_count("slots", given.get("slots"), SLOTS)
    memory = given.get("process_memory")
    weights = _weights(given.get("queues") or tuple(app_queues) or (DEFAULT_QUEUE,))
    jobs = bool(given.get("jobs", True))
    name = given.get("name") or f"{node}-{os.getpid()}-{random.randrange(16**4):04x}"
    # Each queue has a twin for this node alone, see `.options(local=True)`.
    own = (inbox_of(name),) if has_inbox else ()  # first: what comes there is for this worker now
    both = [twin for queue in weights for twin in (queue, f"{queue}@{node}") if "@" not in queue or twin == queue]
    turns = [queue for queue, weight in weights.items() for _ in range(weight)]
    return WorkerSettings(
        slots=slots,
        queues=(*own, *both) if jobs else (),
        turns=tuple(turns),
        strict=bool(given.get("strict", False)),
        lease_seconds=to_seconds("lease", given.get("lease", LEASE_SECONDS), at_least=0.5),
        drain_seconds=to_seconds("drain", given.get("drain", DRAIN_SECONDS)),
        name=check_name("name", name),
        on_wedged=given.get("on_wedged"),
        owns_signals=given.get("owns_signals", False),
        threads=given.get("threads", True),
        processes=_check_count("processes", given.get("processes"), default_limit()),
        process_jobs=_check_count("process_jobs", given.get("process_jobs"), JOBS),
        process_memory_bytes=None if memory is None else _check_count("process_memory", memory, 1),
        fraction=given.get("fraction", random.random),
        pace=given.get("pace", 1.0),
        on_recycle=given.get("on_recycle"),
        cleanup_seconds=to_seconds("cleanup", given.get("cleanup", CLEANUP_SECONDS), at_least=0.1),
        max_unresponsive=_check_count("max_unresponsive", given.get("max_unresponsive"), max(1, slots // 2)),
        max_jobs=_recycle_limit(given, "max_jobs"),
        max_memory_bytes=_recycle_limit(given, "max_memory"),
        group=given.get("group", ""),
        schedules=bool(given.get("schedules", True)),
        jobs=jobs,
        shared_leases=given.get("shared_leases"),
    )


def _check_count(name: str, count: object, default: int) -> int:
    if count is None:
        return default
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidOptions(name, count, "1 or more")
    return count


def _recycle_limit(given: WorkerOptions, name: Literal["max_jobs", "max_memory"]) -> int | None:
    limit = given.get(name)
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidOptions(name, limit, "1 or more, or None")
    if given.get("on_recycle") is None:
        what = "--max-jobs" if name == "max_jobs" else "--max-memory"
        raise InvalidOptions(name, limit, f"None in a program that goes on; `nursery-tasks run {what}` replaces the process")
    return limit


def _weights(queues: Sequence[str] | dict[str, int]) -> dict[str, int]:
    if isinstance(queues, str):
        queues = [queues]
    weights = dict(queues) if isinstance(queues, dict) else dict.fromkeys(queues, 1)
    for queue, weight in weights.items():
        check_queue("queues", queue)
        if not isinstance(weight, int) or weight < 1:
            raise InvalidOptions("queues", {queue: weight}, "a weight of 1 or more")
    return weights
