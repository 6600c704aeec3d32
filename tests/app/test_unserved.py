"""A wait for a job that no worker takes: the log says why, once, instead of nothing for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, sleep
from support import DEADLINE, SECONDS_APART, until, until_heeded, until_state, working

from nursery_tasks import App, JobState, sequence
from nursery_tasks.errors import JobCancelled

NO_WORKER = "no worker is running for {}; start one with `nursery-tasks run module:app`"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("waiting", "sync_handle"):
        monkeypatch.setattr(f"nursery_tasks.client.{module}.LOOK_SECONDS", 0.05)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("waiting for")]


async def give_up_when_told(
    caplog: pytest.LogCaptureFixture, wait: Callable[[App], Coroutine[Any, Any, None]], app: App
) -> str:
    """Wait for jobs until the log says something of them, and return what."""
    async with create_task_group() as waiting:
        waiting.start_soon(wait, app)
        await until(lambda: said(caplog))
        waiting.cancel_scope.cancel()
    [line] = said(caplog)
    return line


async def run(app: App) -> None:
    await app.job("work").run()


async def handle(app: App) -> None:
    await (await app.job("work").enqueue()).result()


async def group(app: App) -> None:
    async with app.create_task_group() as jobs:
        for _ in range(50):
            jobs.start_soon(app.job("work"))


async def flow(app: App) -> None:
    await sequence(app.job("work"), app.job("work")).run()


@pytest.mark.parametrize("wait", [run, handle, group, flow])
async def test_a_wait_without_a_worker_says_so_once(
    app: App, caplog: pytest.LogCaptureFixture, wait: Callable[[App], Coroutine[Any, Any, None]]
) -> None:
    async with app:
        line = await give_up_when_told(caplog, wait, app)
    assert line.startswith("waiting for work ")
    assert "no worker is running for " in line
    assert ("app.open_worker()" if app.url == "memory:" else "start one with `nursery-tasks run module:app`") in line


async def test_the_file_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    app = App("sqlite:///jobs.db")
    async with app:
        line = await give_up_when_told(caplog, run, app)
    assert line.endswith(NO_WORKER.format(f"sqlite:///jobs.db ({tmp_path.resolve()}/jobs.db)"))


@pytest.mark.parametrize("how", ["run", "handle"])
def test_a_program_without_a_loop_is_told_too(app: App, caplog: pytest.LogCaptureFixture, how: str) -> None:
    job = app.job("work").with_options(id="it")
    wait = partial(app.sync.run, job) if how == "run" else app.sync.enqueue(job).result
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(wait, timeout=DEADLINE)
        while not said(caplog) and not waiting.done():
            time.sleep(SECONDS_APART)
        app.sync.handle("it").cancel()
        with pytest.raises(JobCancelled):
            waiting.result()
    [line] = said(caplog)
    app.sync.close()
    assert "no worker is running" in line


async def test_a_queue_that_no_worker_serves_is_named(app: App, caplog: pytest.LogCaptureFixture) -> None:
    async def wait(app: App) -> None:
        await app.job("work").with_options(queue="mails").run()

    async with working(app, queues=["default", "reports"]):
        while not await app.workers():  # noqa: ASYNC110 - nothing tells of the first heartbeat
            await sleep(SECONDS_APART)
        line = await give_up_when_told(caplog, wait, app)
    assert "serves the queue 'mails', only default, reports" in line


async def test_a_task_that_no_worker_knows_is_named(app: App, caplog: pytest.LogCaptureFixture) -> None:
    async with working(app):
        job = await app.job("work").enqueue()
        await until_state(app, job.id, JobState.SCHEDULED)  # the worker has parked it

        async def wait(app: App) -> None:
            await job.result()

        line = await give_up_when_told(caplog, wait, app)
    assert line.startswith("waiting for work ")
    assert "know no task of that name" in line


async def test_a_task_that_is_paused_is_named(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def work() -> None: ...

    async with working(app) as worker:
        await app.pauses.pause("work")
        await until_heeded(app, worker)
        job = await work.enqueue()
        await until_state(app, job.id, JobState.SCHEDULED)  # the worker has put it aside

        async def wait(app: App) -> None:
            await job.result()

        line = await give_up_when_told(caplog, wait, app)
    assert line.startswith("waiting for work ")
    assert "it is paused; `nursery-tasks paused` says by whom and why" in line


async def test_a_job_that_waits_for_its_turn_is_nothing_to_tell(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def work() -> None: ...

    async with working(app):
        await app.job("work").with_options(delay=0.5).run()
    assert said(caplog) == []
