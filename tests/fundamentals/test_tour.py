"""A tour: one idea per test, in the order in which one meets them. Read it from top to bottom."""

import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import anyio
import pytest

from nursery_tasks import App, JobState, check_cancelled, current_job
from nursery_tasks.errors import InvalidArguments, JobCancelled, JobTimedOut


@pytest.fixture
def app() -> App:
    return App("memory:")


async def test_a_task_is_still_a_function(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    assert await add(1, 2) == 3  # no app is open, no worker runs, nothing travels


async def test_run_owns_a_job_and_gives_its_result(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app, app.open_worker():
        assert await add.run(1, 2) == 3


async def test_enqueue_lets_a_job_go_and_gives_a_handle(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        job = await add.enqueue(1, 2)
        assert await job.status() is JobState.READY  # it waits for a worker, whoever that will be
        async with app.open_worker():
            assert await job == 3
            assert await app.handle(job.id) == 3  # anybody with the id can ask


async def test_awaited_is_owned_so_leaving_the_scope_cancels_the_job(app: App) -> None:
    running, gone = anyio.Event(), anyio.Event()

    @app.task
    async def hang() -> None:
        running.set()
        try:
            await anyio.sleep_forever()
        finally:
            gone.set()

    async with app, app.open_worker():
        async with anyio.create_task_group() as tg:
            tg.start_soon(hang.run)
            await running.wait()
            tg.cancel_scope.cancel()
        assert gone.is_set()  # by now, not some time later


async def test_enqueued_is_detached_so_giving_up_the_wait_changes_nothing(app: App) -> None:
    let_go = anyio.Event()

    @app.task
    async def wait() -> str:
        await let_go.wait()
        return "done"

    async with app, app.open_worker():
        job = await wait.enqueue()
        with anyio.move_on_after(0.01):
            await job
        let_go.set()
        assert await job == "done"


async def test_wrong_arguments_are_found_at_the_call(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        with pytest.raises(InvalidArguments, match="missing a required argument: 'b'"):
            await add.enqueue(1)  # type: ignore[call-arg]


async def test_an_error_comes_back_as_itself(app: App) -> None:
    @app.task
    async def divide(a: int, b: int) -> float:
        return a / b

    async with app, app.open_worker():
        with pytest.raises(ZeroDivisionError):
            await divide.run(1, 0)


async def test_the_first_of_several_jobs_that_fails_cancels_the_rest(app: App) -> None:
    both_run = anyio.Event()

    @app.task
    async def hang() -> None:
        both_run.set()
        await anyio.sleep_forever()

    @app.task
    async def fail() -> None:
        await both_run.wait()
        raise ValueError("no")

    failed: list[Exception] = []
    async with app, app.open_worker():
        try:
            async with anyio.create_task_group() as tg:
                tg.start_soon(hang.run)
                tg.start_soon(fail.run)
        except* ValueError as group:
            failed += group.exceptions
    assert [str(error) for error in failed] == ["no"]


async def test_a_job_can_be_cancelled_with_a_reason(app: App) -> None:
    @app.task
    async def hang() -> None:
        await anyio.sleep_forever()

    async with app, app.open_worker():
        job = await hang.enqueue()
        await job.cancel("not needed")
        with pytest.raises(JobCancelled, match="not needed"):
            await job


async def test_a_timeout_ends_an_attempt(app: App) -> None:
    @app.task(timeout=0.01)
    async def hang() -> None:
        await anyio.sleep_forever()

    async with app, app.open_worker():
        with pytest.raises(JobTimedOut):
            await hang.run()


async def test_a_def_runs_in_a_thread_and_leaves_when_it_looks(app: App) -> None:
    @app.task(timeout=0.05)
    def count() -> None:
        while True:
            check_cancelled()

    @app.task
    def where() -> int:
        return threading.get_ident()

    async with app, app.open_worker():
        assert await where.run() != threading.get_ident()
        with pytest.raises(JobTimedOut):
            await count.run()


@dataclass
class Size:
    width: int
    height: int


async def test_arguments_and_results_have_the_types_of_the_annotations(app: App) -> None:
    @app.task
    async def turn(size: Size) -> Size:
        return Size(size.height, size.width)

    async with app, app.open_worker():
        assert await turn.run(Size(1, 2)) == Size(2, 1)


async def test_a_handler_knows_its_job_and_the_resources_of_its_worker(app: App) -> None:
    @app.lifespan
    async def database() -> AsyncGenerator[str, None]:
        yield "the connection"  # opened before the first job, closed after the last

    @app.task
    async def look() -> tuple[str, int]:
        job = current_job()
        job.progress("half way")
        return job.state["database"], job.attempt

    async with app, app.open_worker():
        assert await look.run() == ("the connection", 1)
