"""A tour of what nursery-tasks does, one idea per test. Read it from the top."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import anyio
import pytest

from nursery_tasks import App, JobState, Retry, check_cancelled, current_job
from nursery_tasks.errors import InvalidArguments, JobCancelled, RemoteError
from nursery_tasks.testing import open_lab, run_lab


async def test_a_task_is_still_the_function_it_was() -> None:
    app = App("memory:")

    @app.task
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    assert await add(1, 2) == 3
    assert add.__doc__ == "Add two numbers."


async def test_run_is_owned_and_enqueue_is_detached() -> None:
    app = App("memory:")
    ended: list[str] = []

    @app.task
    async def wait_for(name: str, seconds: float) -> str:
        try:
            await anyio.sleep(seconds)
        finally:
            ended.append(name)
        return name

    async with app, app.open_worker():
        with anyio.move_on_after(0.05):
            await wait_for.run("owned", 60)
        assert ended == ["owned"]  # gone by the time when the scope is left

        job = await wait_for.enqueue("detached", 0.1)
        with anyio.move_on_after(0.01):
            await job
        assert await job == "detached"  # giving up a wait changed nothing


async def test_a_job_waits_in_its_broker_until_there_is_a_worker() -> None:
    app = App("memory:")

    @app.task
    async def hello() -> str:
        return "hello"

    async with app:
        job = await hello.enqueue()
        assert await job.status() is JobState.READY
        async with app.open_worker():
            assert await job == "hello"
        assert await job.succeeded()


async def test_wrong_arguments_are_found_before_anything_is_sent() -> None:
    app = App("memory:")

    @app.task
    async def greet(name: str) -> None: ...

    async with app:
        with pytest.raises(InvalidArguments, match=r"missing a required argument: 'name'; the task is greet\(name: str\)"):
            await greet.enqueue()  # type: ignore[call-arg]


async def test_values_come_back_as_what_they_are_annotated_to_be() -> None:
    app = App("memory:")

    @dataclass
    class Box:
        width: int
        label: bytes

    @app.task
    async def widen(box: Box, by: int = 1) -> Box:
        return Box(box.width + by, box.label * 2)

    async with app, app.open_worker():
        assert await widen.run(Box(1, b"x"), by=2) == Box(3, b"xx")


async def test_an_error_comes_back_as_itself_when_its_class_is_known() -> None:
    app = App("memory:")

    class Known(Exception): ...

    class Unknown(Exception): ...

    app.error(Known)

    @app.task
    async def fail(known: bool) -> None:
        raise Known("yes") if known else Unknown("no")

    async with app, app.open_worker():
        with pytest.raises(Known, match="yes"):
            await fail.run(True)
        with pytest.raises(RemoteError, match="no") as caught:
            await fail.run(False)
        assert "Traceback" in caught.value.remote_traceback


async def test_a_def_runs_in_a_thread_and_leaves_when_it_looks() -> None:
    app = App("memory:")
    entered = anyio.Event()

    @app.task
    def spin() -> None:
        anyio.from_thread.run_sync(entered.set)
        while True:
            check_cancelled()

    async with app, app.open_worker():
        job = await spin.enqueue()
        await entered.wait()
        assert await job.cancel("enough") == "cancelled"
        with pytest.raises(JobCancelled, match="enough"):
            await job


async def test_a_handler_knows_its_job_and_tells_of_its_progress() -> None:
    app = App("memory:")
    go_on = anyio.Event()

    @app.task
    async def report() -> str:
        current_job().progress({"done": 1, "of": 2})
        await go_on.wait()
        return current_job().id

    async with app, app.open_worker():
        job = await report.enqueue()
        with anyio.fail_after(5):
            while await job.progress() is None:  # noqa: ASYNC110 - progress is looked at, not pushed
                await anyio.sleep(0.01)
        assert await job.progress() == {"done": 1, "of": 2}
        go_on.set()
        assert await job == job.id


def test_hours_of_retries_take_milliseconds_in_the_lab() -> None:
    app = App("memory:")

    @app.task(retry=Retry(4, on=OSError, wait=[60, 600, 3000]))
    async def flaky() -> int:
        if current_job().attempt < 4:
            raise OSError("not yet")
        return current_job().attempt

    async def check() -> None:
        async with open_lab(app) as lab:
            assert await flaky.options(delay=timedelta(hours=1)).run() == 4
            assert lab.elapsed_seconds == pytest.approx(3600 + 60 + 600 + 3000, abs=1)

    run_lab(check)


async def test_many_jobs_are_one_call_to_the_broker() -> None:
    app = App("memory:")

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    async with app, app.open_worker():
        jobs = await app.enqueue_many([double.job(n) for n in range(100)])
        assert [await job for job in jobs] == [2 * n for n in range(100)]
