"""The hosts of one worker: warm, with a limit, replaced when they are used up."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from anyio import CapacityLimiter, Event, create_task_group, sleep_forever
from anyio.abc import TaskGroup

from ...current import CurrentJob
from ...errors import HostDied
from ...loop.unwrapped import open_unwrapped_group
from ..results import Encoded
from .frames import Failed, Succeeded, Work
from .host import CpuHost, Run

JOBS: Final = 1000  # that one host runs, before another takes its place
TRIES: Final = 3  # hosts that may be gone before they had the job

_log = logging.getLogger("nursery_tasks.worker")


def default_limit() -> int:
    """Return how many CPUs this process may use."""
    count = getattr(os, "process_cpu_count", os.cpu_count)()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count or 1


class Place:
    """The right to run one job in a host.

    Attributes:
        host: Which one; None: none could be started, and `problem` says why.
    """

    def __init__(self, pool: CpuHosts, host: CpuHost | None, problem: str | None) -> None:
        self.host = host
        self.problem = problem
        self._pool = pool

    async def do(self, work: Work, payload: bytes, job: CurrentJob, kill_after_seconds: float) -> Encoded:
        """Run a job.

        Args:
            payload: Its message.
            job: Takes its progress.

        Raises:
            ForeignError: What the handler raised.
            HostDied: The process has died under it, or could not be started.

        Cancellation:
            See `CpuHost.do`.
        """
        for _ in range(TRIES):
            if self.host is None:
                break
            wait = Wait(self._pool, job)
            run = Run(work, job, wait.note)
            try:
                result = await self.host.do(run, payload, kill_after_seconds)
            finally:
                wait.end()
            if result is not None:
                return opened(*result)
            if run.begun:
                raise HostDied(
                    work.id,
                    work.task,
                    signal=self.host.signal,
                    exit_code=self.host.exit_code,
                    problem=self.host.problem,
                )
            self.host, self.problem = await self._pool.take()  # it had died idle: not this job's fault
        raise HostDied(work.id, work.task, problem=self.problem)


class Wait:
    """What a job gives back while its handler waits for another one: its slot, and its place among the hosts."""

    def __init__(self, pool: CpuHosts, job: CurrentJob) -> None:
        self._pool = pool
        self._slot = None if job.context is None else job.context.slot
        self._waits = 0  # in a handler's threads there may be several

    def note(self, begins: bool) -> None:
        """Hear that a wait begins, or that one has ended."""
        before, self._waits = self._waits, self._waits + (1 if begins else -1)
        if bool(before) == bool(self._waits):
            return
        self._pool.resize(1 if begins else -1)
        if self._slot is None:
            return
        if begins:
            self._slot.release()
        else:
            self._slot.acquire_nowait()

    def end(self) -> None:
        """Take everything back: the handler has ended, or its host."""
        while self._waits:
            self.note(False)


class CpuHosts:
    """A pool of hosts.

    Args:
        limit: How many there may be at once.
        jobs: How many one of them runs before it is replaced.
        memory_bytes: One that holds more than this after a job is replaced; None: whatever it holds.
        is_warm: Says whether one is to be started before it is needed.

    Resources:
        `serve()` owns the hosts; nothing is left of them when it has ended.
    """

    def __init__(
        self,
        limit: int,
        *,
        jobs: int = JOBS,
        memory_bytes: int | None = None,
        is_warm: Callable[[], bool] = lambda: False,
    ) -> None:
        self.limit = limit
        self.hosts: set[CpuHost] = set()  # also those that start or end
        self._limiter = CapacityLimiter(limit)
        self._jobs = jobs
        self._memory_bytes = memory_bytes
        self._is_warm = is_warm
        self._group: TaskGroup | None = None
        self._idle: list[CpuHost] = []  # the one that was used last is taken first: its caches are warm
        self._wanting = 0
        self._failed_starts = 0  # one after the other
        self._problems: deque[str] = deque()
        self._changed = Event()

    async def serve(self) -> None:
        """Own the hosts, until cancelled."""
        async with create_task_group() as group:
            self._group = group
            if self._is_warm():
                self._start()
            self._tell()
            try:
                await sleep_forever()
            finally:
                self._group = None
                for host in self.hosts:
                    host.end()

    @asynccontextmanager
    async def reserved(self) -> AsyncGenerator[Place, None]:
        """Wait for a host and keep it while the context is open."""
        async with self._limiter:
            place = Place(self, *await self.take())
            try:
                yield place
            finally:
                if place.host is not None:
                    self._give_back(place.host)

    def resize(self, change: int) -> None:
        """Allow for one more host while a handler waits in its own, and one less afterwards."""
        self.limit += change
        self._limiter.total_tokens += change
        self._tell()

    async def take(self) -> tuple[CpuHost | None, str | None]:
        """Wait for a host; for one who has a place already. Without a host, the text says why there is none."""
        self._wanting += 1
        try:
            while True:
                while self._idle:
                    host = self._idle.pop()
                    if host.is_usable:
                        return host, None
                if self._problems:
                    return None, self._problems.popleft()
                if sum(host.is_starting for host in self.hosts) < self._wanting:
                    self._start()
                await self._changed.wait()
        finally:
            self._wanting -= 1

    def _give_back(self, host: CpuHost) -> None:
        is_used_up = host.jobs >= self._jobs or (self._memory_bytes is not None and host.memory_bytes > self._memory_bytes)
        if host.is_usable and not is_used_up and len(self.hosts) <= self.limit:
            self._idle.append(host)
        else:
            host.end()
        self._tell()

    def _start(self) -> None:
        if self._group is None or len(self.hosts) >= self.limit:
            return
        host = CpuHost(self._on_change)
        self.hosts.add(host)
        self._group.start_soon(host.serve, name="process host")

    def _on_change(self, host: CpuHost) -> None:
        if not host.gone.is_set():
            self._failed_starts = 0
            self._idle.append(host)
        else:
            self.hosts.discard(host)
            if self._group is None:
                pass  # the worker ends
            elif not host.pid:
                self._note_failure(host.problem or "could not be started")
            elif not self.hosts and self._is_warm():
                self._start()
        self._tell()

    def _note_failure(self, problem: str) -> None:
        """Try a second time; then tell one of those who wait."""
        self._failed_starts += 1
        if self._failed_starts == 1:
            return
        if self._wanting:
            self._problems.append(problem)
        else:
            _log.error("a process for handlers %s", problem)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = Event()


@asynccontextmanager
async def open_hosts(limit: int) -> AsyncGenerator[CpuHosts, None]:
    """Have a pool of hosts while the context is open."""
    async with open_unwrapped_group() as group:
        hosts = CpuHosts(limit)
        group.start_soon(hosts.serve, name="process hosts")
        try:
            yield hosts
        finally:
            group.cancel_scope.cancel()


def opened(header: object, body: bytes) -> Encoded:
    """Return the result in an ending, or raise its error."""
    if isinstance(header, Succeeded):
        return Encoded(body)
    if isinstance(header, Failed):
        raise header.to_error()
    raise AssertionError(f"{header!r}: nobody had asked")
