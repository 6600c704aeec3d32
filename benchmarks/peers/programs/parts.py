"""What every peer's program can be asked to do, the same for all: submit, run and wait, and print how long it took as JSON.

A program says how its queue enqueues a job and how it waits for one (`Async` or `Blocking`), and hands that to `play`. It runs
in the peer's own virtual environment, so this module needs only the standard library and uvloop. `../../ours.py` has the same
parts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

URL = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/0")
RESULTS = os.environ.get("BENCH_RESULTS") or URL  # where results are stored
ON_RABBITMQ = URL.startswith("amqp")
SLOTS = int(os.environ.get("BENCH_SLOTS", "32"))
POLL_SECONDS = float(os.environ.get("BENCH_POLL_SECONDS", "0.001"))  # of those that poll
RECOVERY_SECONDS = int(os.environ.get("BENCH_RECOVERY_SECONDS", "0"))  # when a dead worker's jobs start again; 0: as it comes
WARM_UP = 100  # jobs, for connections and caches


def write_moment() -> None:
    """Be the job that writes down when it runs: one line each time."""
    with open(f"{os.environ['BENCH_FILE']}.moment", "a") as file:
        file.write(f"{time.time()}\n")


class Async(ABC):
    """An asyncio peer."""

    @abstractmethod
    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect, where a program would not end otherwise."""
        return

    @abstractmethod
    async def enqueue(self, task: str) -> None:
        """Submit one job; it has been accepted on return."""

    @abstractmethod
    async def enqueue_many(self, count: int) -> None:
        """Submit jobs that do nothing, in the fastest way that the peer documents."""

    @abstractmethod
    async def run(self) -> None:
        """Submit a job that does nothing, and wait for its result."""

    async def fill(self, count: int) -> list[float]:
        await self.enqueue("noop")
        began = time.perf_counter()
        await self.enqueue_many(count - 1)
        return [time.perf_counter() - began]

    async def submit(self, count: int, singles: int) -> list[float]:
        taken: list[float] = []
        await self.enqueue("moment")
        for number in range(WARM_UP + singles):
            began = time.perf_counter()
            await self.enqueue("noop")
            if number >= WARM_UP:
                taken.append(time.perf_counter() - began)
        many = count - singles - WARM_UP - 1
        began = time.perf_counter()
        await self.enqueue_many(many)
        return [*taken, many, time.perf_counter() - began]

    async def trips(self, count: int, callers: int, pause: float) -> list[float]:
        taken: list[float] = []

        async def caller() -> None:
            for _ in range(count):
                await asyncio.sleep(pause)
                began = time.perf_counter()
                await self.run()
                taken.append(time.perf_counter() - began)

        for _ in range(min(20, count)):
            await self.run()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return taken

    async def rest_and_load(self, count: int, callers: int, pause: float) -> list[float]:
        return await self.trips(count, 1, pause) + await self.trips(max(3, count // 2), callers, 0.0)

    async def enqueue_one(self, task: str) -> list[float]:
        await self.enqueue(task)
        return []


class Blocking(ABC):
    """A peer without an event loop; several callers are threads."""

    @abstractmethod
    def enqueue(self, task: str) -> None:
        """Submit one job; it has been accepted on return."""

    @abstractmethod
    def enqueue_many(self, count: int) -> None:
        """Submit jobs that do nothing, in the fastest way that the peer documents."""

    @abstractmethod
    def run(self) -> None:
        """Submit a job that does nothing, and wait for its result."""

    def fill(self, count: int) -> list[float]:
        self.enqueue("noop")
        began = time.perf_counter()
        self.enqueue_many(count - 1)
        return [time.perf_counter() - began]

    def submit(self, count: int, singles: int) -> list[float]:
        taken: list[float] = []
        self.enqueue("moment")
        for number in range(WARM_UP + singles):
            began = time.perf_counter()
            self.enqueue("noop")
            if number >= WARM_UP:
                taken.append(time.perf_counter() - began)
        many = count - singles - WARM_UP - 1
        began = time.perf_counter()
        self.enqueue_many(many)
        return [*taken, many, time.perf_counter() - began]

    def trips(self, count: int, callers: int, pause: float) -> list[float]:
        taken: list[float] = []

        def caller() -> None:
            for _ in range(count):
                time.sleep(pause)
                began = time.perf_counter()
                self.run()
                taken.append(time.perf_counter() - began)

        for _ in range(min(20, count)):
            self.run()
        threads = [threading.Thread(target=caller) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return taken

    def rest_and_load(self, count: int, callers: int, pause: float) -> list[float]:
        return self.trips(count, 1, pause) + self.trips(max(3, count // 2), callers, 0.0)

    def enqueue_one(self, task: str) -> list[float]:
        self.enqueue(task)
        return []


async def _opened(side: Async, part: Coroutine[Any, Any, list[float]]) -> list[float]:
    await side.open()
    try:
        return await part
    finally:
        await side.close()


async def at_most(limit: int, count: int, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Make *count* async calls, *limit* of them at the same time: the way of those that have no call for many."""

    async def one_after_the_other(share: int) -> None:
        for _ in range(share):
            await call()

    shares = [count // limit + (number < count % limit) for number in range(limit)]
    await asyncio.gather(*(one_after_the_other(share) for share in shares))


def play(side: Async | Blocking) -> None:
    """Do the part that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["fill", "submit", "rest-and-load", "enqueue-moment", "enqueue-dies"])
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--singles", type=int, default=300)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    given = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "fill": lambda: side.fill(given.count),
        "submit": lambda: side.submit(given.count, given.singles),
        "rest-and-load": lambda: side.rest_and_load(given.count, given.callers, given.pause),
        "enqueue-moment": lambda: side.enqueue_one("moment"),
        "enqueue-dies": lambda: side.enqueue_one("dies"),
    }
    if isinstance(side, Async):
        import uvloop  # all of them say that it suits them

        print(json.dumps(uvloop.run(_opened(side, parts[given.part]()))))
    else:
        print(json.dumps(parts[given.part]()))
