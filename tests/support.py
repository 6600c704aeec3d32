"""What the tests of the app and of the worker share. The fixtures are loaded by the `conftest.py` of their folders."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, Unpack

import apsw
import pytest
from anyio import Event, create_task_group, fail_after, sleep
from rabbit_server import fresh_rabbit_url
from redis_server import fresh_url

from nursery_tasks import App, JobState
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.client import Job
from nursery_tasks.events import EventKind, JobEvent
from nursery_tasks.model.options import JobOptions
from nursery_tasks.testing import FaultyBroker
from nursery_tasks.worker import Worker, WorkerOptions

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE = 10.0  # seconds; what should happen at once fails after this long
SECONDS_APART = 0.005  # between two looks at something that tells nobody when it changes


@pytest.fixture(params=["memory", "sqlite", "redis", "amqp"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str, None, None]:
    """Run the test once on each broker."""
    if request.param == "redis":
        with fresh_url() as url:
            yield url
    elif request.param == "amqp":
        with fresh_rabbit_url(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal") as url:
            yield url
    else:
        yield "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"


@pytest.fixture
def app(url: str) -> Generator[App, None, None]:
    """An app of its own for each test, on each broker, not open."""
    app = App(url)
    yield app
    app.sync.close()


@pytest.fixture
def memory_app() -> App:
    """An app on the memory broker, not open."""
    return App("memory:")


@pytest.fixture
def faulty(memory_app: App) -> Generator[FaultyBroker, None, None]:
    """The broker of `memory_app`: in memory, called in threads as a remote one would be, and out of order on demand."""
    broker = FaultyBroker(MemoryBroker(), threads=True)
    with memory_app.use_broker(broker):
        yield broker


@asynccontextmanager
async def working(app: App, **options: Unpack[WorkerOptions]) -> AsyncGenerator[Worker, None]:
    """Open *app* with a worker, and fail when the block takes too long."""
    with fail_after(DEADLINE):
        async with app, app.open_worker(**options) as worker:
            yield worker


async def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait for something that has no event, by looking."""
    with fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is looked at has no event
            await sleep(SECONDS_APART)


async def until_state(app: App, job_id: str, *states: JobState) -> None:
    """Wait until a job is in one of *states*."""
    with fail_after(DEADLINE):
        while await app.handle(job_id).status() not in states:  # noqa: ASYNC110 - likewise
            await sleep(SECONDS_APART)


async def until_heeded(app: App, worker: Worker) -> None:
    """Wait until a worker knows all pauses: a job that comes before may start."""
    pauses: Any = app.connection.gateway.broker.pauses
    version = pauses.list_pauses().version
    await until(lambda: worker._pauses._version == version)


def open_file(path: Path) -> apsw.Connection:
    """Open a database beside those who are writing to it: whoever has its lock is waited for."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(round(DEADLINE * 1000))
    return connection


class Gate:
    """A place in handlers where they wait until the test lets them go on."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.entered = 0
        self._open = Event()
        self._changed = Event()

    async def pass_through(self) -> None:
        """Wait here."""
        self.entered += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        self._tell()
        try:
            await self._open.wait()
        finally:
            self.inside -= 1
            self._tell()

    def open(self) -> None:
        """Let everybody pass from now on."""
        self._open.set()

    async def wait_for(self, inside: int) -> None:
        """Wait until so many are inside."""
        with fail_after(DEADLINE):
            while self.inside != inside:
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = Event()


class History:
    """All events of an app, from the moment when it is made."""

    def __init__(self, app: App) -> None:
        self.events: list[JobEvent] = []
        app.subscribe(self.events.append)

    def of(self, job_id: str) -> list[EventKind]:
        """Return what happened to one job, oldest first."""
        return [event.kind for event in self.events if event.job_id == job_id]

    def count(self, kind: EventKind) -> int:
        """Count the events of one kind."""
        return sum(event.kind is kind for event in self.events)


def admin(app: App) -> Any:
    """The broker's side for people, called at once; the brokers of these tests answer in no time."""
    return app.connection.gateway.admin


def states(app: App) -> dict[str, JobState]:
    """Return the state of every job."""
    from nursery_tasks.model.listing import JobFilter

    return {record.id: record.state for record in admin(app).list_jobs(JobFilter(), 100_000)}


def depth(app: App, queue: str = "default") -> int:
    """Count the jobs that wait in a queue, ready or scheduled."""
    waiting = (JobState.READY, JobState.SCHEDULED)
    counts = {record.name: record.counts for record in admin(app).list_queues()}.get(queue, {})
    return sum(counts.get(state, 0) for state in waiting)


async def gather(*calls: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
    """Call all at the same time, and return what they return, in their order."""
    results: dict[int, T] = {}

    async def one(place: int, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        results[place] = await call()

    async with create_task_group() as tg:
        for place, call in enumerate(calls):
            tg.start_soon(one, place, call)
    return [results[place] for place in range(len(calls))]


numbers = itertools.count(1)


def unchecked(app: App, task: str, *args: Any) -> Job[Any]:
    """Make a job as a program does that does not have the task: only the worker can check its arguments."""
    return Job(app, task, args, {}, JobOptions())
