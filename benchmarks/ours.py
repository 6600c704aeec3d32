"""nursery-tasks: the tasks, which `nursery-tasks run ours:app` works off, and the programs that submit.

Each of those prints one line of JSON.

The environment variable BENCH_FILE names the database; or BENCH_URL names a broker, and BENCH_FILE where files may go. Without
both everything is in this process's memory. With BENCH_EVENT_LOG the broker keeps a log of events, for so many seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import anyio.to_process

from nursery_tasks import App, Job, Task
from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.brokers.url import open_broker

FILE = os.environ.get("BENCH_FILE")
WARM_UP = 1_500  # jobs; by then SQLite's log is as long as it becomes, and is written over

KEEP = os.environ.get("BENCH_EVENT_LOG")

app = App(
    os.environ.get("BENCH_URL") or (f"sqlite:///{FILE}" if FILE else "memory:"), event_log=None if KEEP is None else float(KEEP)
)


@app.task
async def noop() -> None:
    """Do nothing."""


@app.task
async def moment() -> None:
    """Write down when it ran."""
    Path(f"{FILE}.moment").write_text(str(time.time()))  # noqa: ASYNC240 - a few bytes


@app.task
async def dies() -> None:
    """Write down when it ran, and do not end."""
    with open(f"{FILE}.moment", "a") as written:  # noqa: ASYNC230 - a few bytes
        written.write(f"{time.time()}\n")
    await anyio.sleep(60)


@app.task
async def swallow(data: bytes) -> None:
    """Do nothing with it."""


@app.task
async def pause() -> None:
    """Wait for ten milliseconds, as for an answer from somewhere."""
    await anyio.sleep(0.01)


@app.task(run_in="process")
def noop_in_process() -> None:
    """Do nothing, in a process."""


@app.task
async def tree(levels: int) -> None:
    """Start three of its kind, down to a minute's sleep; write down when the cancellation came."""
    try:
        if levels:
            async with app.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(tree, levels - 1)
        else:
            await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        with open(f"{FILE}.heard", "a") as heard:  # noqa: ASYNC230 - a few bytes
            heard.write(f"{time.monotonic()}\n")  # the same clock in all processes
        raise


async def fill(count: int, task: str, size: int) -> list[float]:
    """Submit jobs all at once; return how long that took, from making them to having their handles."""
    makers: dict[str, Callable[[], Job[None]]] = {
        "noop": noop.job,
        "pause": pause.job,
        "swallow": functools.partial(swallow.job, os.urandom(size)),
    }
    make = makers[task]
    async with app:
        await make().enqueue()  # so that the statements are compiled and the pages are there
        began = time.perf_counter()
        await app.enqueue_many([make() for _ in range(count - 1)])
        return [time.perf_counter() - began]


async def submit(count: int, singles: int) -> list[float]:
    """Submit jobs one by one, then the rest at once; return how long each of *singles* took, how many the rest were, its time.

    The first job writes down when it runs, and then come some to warm up.
    """
    taken: list[float] = []
    warm_up = 100
    async with app:
        await moment.enqueue()
        for number in range(warm_up + singles):
            began = time.perf_counter()
            await noop.enqueue()
            if number >= warm_up:
                taken.append(time.perf_counter() - began)
        many = count - singles - warm_up - 1
        began = time.perf_counter()
        await app.enqueue_many([noop.job() for _ in range(many)])
        return [*taken, many, time.perf_counter() - began]


async def rest_and_load(count: int, callers: int, pause: float) -> list[float]:
    """Make round trips of one caller, then half as many of each of *callers* at the same time."""
    return await trips(count, 1, pause) + await trips(max(3, count // 2), callers, 0.0)


async def bursts(count: int, times: int) -> list[float]:
    """Submit *count* jobs in one call and wait for the last of them, again and again; return how long each time took."""
    taken: list[float] = []
    async with app:
        await noop.run()
        for _ in range(times):
            began = time.perf_counter()
            handles = await app.enqueue_many([noop.job() for _ in range(count)])
            await handles[-1]
            taken.append(time.perf_counter() - began)
    return taken


async def singles(count: int, callers: int) -> list[float]:
    """Let each of *callers* submit jobs one after the other; return how long each took."""
    taken: list[float] = []

    async def caller() -> None:
        for _ in range(count // callers):
            began = time.perf_counter()
            await noop.enqueue()
            taken.append(time.perf_counter() - began)

    async with app:
        for _ in range(WARM_UP):
            await noop.enqueue()
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
    return taken


async def trips(count: int, callers: int, pause: float) -> list[float]:
    """Run jobs in another process and wait for each; return how long each took."""
    taken: list[float] = []

    async def caller() -> None:
        for _ in range(count):
            await anyio.sleep(pause)
            began = time.perf_counter()
            await noop.run()
            taken.append(time.perf_counter() - began)

    async with app:
        for _ in range(20):  # warm-up
            await noop.run()
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
    return taken


async def cancels(count: int) -> list[float]:
    """Leave scopes around trees of jobs; return how late the last handler of each heard of it, and how late each was left."""
    heard, left = Path(f"{FILE}.heard"), list[float]()
    last: list[float] = []
    async with app:
        await noop.run()
        for _ in range(count):
            heard.unlink(missing_ok=True)  # noqa: ASYNC240 - a few bytes, here and below
            with anyio.move_on_after(0.3):
                ends_at = time.monotonic() + 0.3
                await tree.run(2)
            left.append(time.monotonic() - ends_at)
            last.append(max(float(line) for line in heard.read_text().split()) - ends_at)  # noqa: ASYNC240
    return last + left


async def timed(call: Callable[[], Coroutine[Any, Any, Any]], count: int) -> list[float]:
    """Return how long each of *count* calls took, after some to warm up."""
    taken: list[float] = []
    for number in range(count + 10):
        began = time.perf_counter()
        await call()
        if number >= 10:
            taken.append(time.perf_counter() - began)
    return taken


async def process_jobs(count: int) -> list[float]:
    """Run jobs in a process of a worker in this program."""
    async with app, app.open_worker(processes=1):
        return await timed(noop_in_process.run, count)


async def to_process(count: int) -> list[float]:
    """Do the same with AnyIO alone."""
    return await timed(lambda: anyio.to_process.run_sync(os.getpid), count)


async def pool(count: int) -> list[float]:
    """Do the same with the standard library alone."""
    with ProcessPoolExecutor(1) as executor:
        loop = asyncio.get_running_loop()
        return await timed(lambda: _awaited(loop.run_in_executor(executor, os.getpid)), count)


async def _awaited(future: asyncio.Future[Any]) -> Any:
    return await future


async def enqueue_one(task: Task[[], None]) -> list[float]:
    """Submit one job."""
    async with app:
        await task.enqueue()
    return []


async def count_calls(seconds: float) -> list[float]:
    """Be a worker with nothing to do, and return how many calls it made to its broker."""
    counts: Counter[str] = Counter()

    with _broker_wrapped(lambda broker: Watched(broker, counts, defaultdict(float))):
        async with app, app.open_worker():
            await anyio.sleep(1.0)
            counts.clear()
            await anyio.sleep(seconds)
            return [counts.total()]


class Watched:
    """A broker whose calls are counted, and their CPU seconds added up."""

    def __init__(self, broker: Broker, counts: Counter[str], used: dict[str, float]) -> None:
        self._broker, self._counts, self._used = broker, counts, used

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._broker, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def watched(*args: Any) -> Any:
            self._counts[name] += 1
            began = time.thread_time()
            try:
                return found(*args)
            finally:
                self._used[name] += time.thread_time() - began

        return watched


def _broker_wrapped(wrap: Callable[[Broker], Any]) -> AbstractContextManager[Any]:
    return patch("nursery_tasks.app.open_broker", lambda url: wrap(open_broker(url)))


async def steps(count: int) -> list[float]:
    """Be a worker; return CPU seconds per job (event loop, claims, settlements, all), and jobs per claim and per settlement.

    The first jobs are not counted: while they run everything is there for the first time.
    """
    used: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    first = count // 10
    with _broker_wrapped(lambda broker: Watched(broker, counts, used)):
        async with app, app.open_worker() as worker:
            while worker.processed < first:  # noqa: ASYNC110 - the number has no event
                await anyio.sleep(0.001)
            began, process_began, loop_began = worker.processed, time.process_time(), time.thread_time()
            counts.clear()
            used.clear()
            while worker.processed < count:  # noqa: ASYNC110 - likewise
                await anyio.sleep(0.005)
            jobs = worker.processed - began
            loop, process = time.thread_time() - loop_began, time.process_time() - process_began
            seconds = [loop, used["claim"], used["settle"], process]
            return [second / jobs for second in seconds] + [jobs / counts["claim"], jobs / counts["settle"]]


async def embedded(count: int) -> list[float]:
    """Queue jobs, then run them by a worker in this process; return seconds and CPU seconds of both steps."""
    async with app:
        began, cpu_began = time.perf_counter(), time.process_time()
        handles = await app.enqueue_many([noop.job() for _ in range(count)])
        queued, cpu_queued = time.perf_counter(), time.process_time()
        async with app.open_worker():
            await handles[-1]
        return [queued - began, cpu_queued - cpu_began, time.perf_counter() - queued, time.process_time() - cpu_queued]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop", "trio"], default="asyncio")
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--singles", type=int, default=300, help="how many `submit` submits one by one")
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--task", choices=["noop", "pause", "swallow"], default="noop", help="what `fill` submits")
    parser.add_argument("--size", type=int, default=100, help="how many bytes `swallow` gets")
    parser.add_argument("--times", type=int, default=1, help="how often `bursts` does it")
    parts: dict[str, Callable[[], Coroutine[Any, Any, list[float]]]] = {
        "fill": lambda: fill(given.count, given.task, given.size),
        "submit": lambda: submit(given.count, given.singles),
        "rest-and-load": lambda: rest_and_load(given.count, given.callers, given.pause),
        "bursts": lambda: bursts(given.count, given.times),
        "singles": lambda: singles(given.count, given.callers),
        "trips": lambda: trips(given.count, given.callers, given.pause),
        "enqueue-moment": lambda: enqueue_one(moment),
        "enqueue-dies": lambda: enqueue_one(dies),
        "count-calls": lambda: count_calls(given.seconds),
        "steps": lambda: steps(given.count),
        "embedded": lambda: embedded(given.count),
        "cancels": lambda: cancels(given.count),
        "process-jobs": lambda: process_jobs(given.count),
        "to-process": lambda: to_process(given.count),
        "pool": lambda: pool(given.count),
    }
    parser.add_argument("part", choices=parts)
    given = parser.parse_args()
    backend = "trio" if given.loop == "trio" else "asyncio"
    options = {"use_uvloop": True} if given.loop == "uvloop" else {}
    print(json.dumps(anyio.run(parts[given.part], backend=backend, backend_options=options)))


if __name__ == "__main__":
    main()
