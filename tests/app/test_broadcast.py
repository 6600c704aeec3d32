"""Broadcasts: one job for each live worker, or node; their outcomes together, and their cancel."""

from __future__ import annotations

import pytest
from anyio import sleep, to_thread
from support import DEADLINE, until_state, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.errors import InvalidOptions, NotSupported, NoWorkers


@pytest.fixture
def app(app: App) -> App:
    @app.task
    async def where() -> str | None:
        return current_job().worker

    @app.task
    async def sometimes(bad: str) -> str | None:
        if current_job().worker == bad:
            raise ValueError(f"not on {bad}")
        return current_job().worker

    @app.task
    async def forever() -> None:
        await sleep(3600)

    @app.task(queue="mail")
    async def elsewhere() -> None: ...

    return app


async def test_each_worker_runs_it_once_and_only_those_that_serve_its_queue(app: App) -> None:
    async with (
        app,
        app.open_worker(name="w1"),
        app.open_worker(name="w,2!", slots=1),
        app.open_worker(name="w3", queues=["mail"]),
    ):
        await until_workers(app, 3)
        sent = await app.get_task("where").broadcast()
        assert await sent.results(DEADLINE) == {"w1": "w1", "w,2!": "w,2!"}
        only = await app.get_task("elsewhere").broadcast()
        assert sorted(only.jobs) == ["w,2!", "w1", "w3"]
        await only.outcomes(DEADLINE)


async def test_a_broadcast_comes_before_what_waits_in_the_queues(app: App) -> None:
    async with app:
        order: list[str] = []

        @app.task
        async def note(word: str) -> None:
            order.append(word)

        await app.enqueue_many([note.job("queued") for _ in range(20)])
        await app.queues.pause("default")
        async with app.open_worker(name="w", slots=1):
            await until_workers(app, 1)
            sent = await note.broadcast("broadcast")
            await app.queues.resume("default")
            await sent.results(DEADLINE)
            assert "broadcast" in order[:5]  # a few may have been fetched before it came


async def test_a_node_runs_it_once_however_many_workers_it_has(app: App) -> None:
    async with app, app.open_worker(name="w1"), app.open_worker(name="w2"):
        await until_workers(app, 2)
        sent = await app.broadcast(app.get_task("where").job(), per="node")
        assert list(sent.jobs) == [app.node]
        assert set((await sent.results(DEADLINE)).values()) <= {"w1", "w2"}


async def test_failures_come_together_when_all_have_ended(app: App) -> None:
    async with app, app.open_worker(name="w1"), app.open_worker(name="w2"):
        await until_workers(app, 2)
        sent = await app.get_task("sometimes").broadcast("w2")
        with pytest.raises(ExceptionGroup, match="1 of 2 jobs of a broadcast did not succeed") as caught:
            await sent.results(DEADLINE)
        assert [str(error) for error in caught.value.exceptions] == ["not on w2"]
        assert caught.value.exceptions[0].__notes__[-1] == "on w2"
        outcomes = await sent.outcomes()
        assert {name: outcome.state for name, outcome in outcomes.items()} == {
            "w1": JobState.SUCCEEDED,
            "w2": JobState.FAILED,
        }


async def test_a_cancel_reaches_all_of_them(app: App) -> None:
    async with app, app.open_worker(name="w1"), app.open_worker(name="w2"):
        await until_workers(app, 2)
        sent = await app.get_task("forever").broadcast()
        for handle in sent.jobs.values():
            await until_state(app, handle.id, JobState.STARTED)
        assert set((await sent.cancel("enough")).values()) == {"cancelled"}
        assert {outcome.reason for outcome in (await sent.outcomes()).values()} == {"enough"}


async def test_the_job_of_a_worker_that_has_gone_expires(app: App) -> None:
    async with app, app.open_worker(name="stays"):
        async with app.open_worker(name="leaves"):
            await until_workers(app, 2)
            await app.queues.pause("broadcast@leaves")
            sent = await app.get_task("where").options(expires=2).broadcast()
        assert {name: outcome.state for name, outcome in (await sent.outcomes(DEADLINE)).items()} == {
            "stays": JobState.SUCCEEDED,
            "leaves": JobState.EXPIRED,
        }


async def test_what_makes_no_sense_is_refused(app: App) -> None:
    where = app.get_task("where")
    async with app:
        with pytest.raises(NoWorkers, match="no worker serves queue 'default'"):
            await where.broadcast()
        async with app.open_worker():
            await until_workers(app, 1)
            with pytest.raises(InvalidOptions, match="key='a': expected none in a broadcast"):
                await where.options(key="a").broadcast()
            with pytest.raises(InvalidOptions, match="per='host': expected 'worker' or 'node'"):
                await app.broadcast(where.job(), per="host")  # type: ignore[arg-type]


async def test_the_function_of_a_durable_workflow_is_told_that_it_cannot(app: App) -> None:
    @app.workflow(durable=True)
    async def flow() -> None:
        await app.get_task("where").broadcast()

    async with working(app):
        with pytest.raises(NotSupported, match="broadcasts in the function of a durable workflow"):
            await flow.run()


async def until_workers(app: App, number: int) -> None:
    while True:
        if len(await app.workers()) == number:
            return
        await sleep(0.01)


@pytest.mark.parametrize("url", ["sqlite", "redis", "amqp"], indirect=True)  # jobs of `memory:` live on this loop
async def test_programs_without_a_loop_get_a_handle_on_each(app: App) -> None:
    async with app, app.open_worker(name="w1"), app.open_worker(name="w2"):
        await until_workers(app, 2)
        handles = await to_thread.run_sync(lambda: app.sync.broadcast(app.get_task("where").job()))
        assert {name: await app.handle(handle.id) for name, handle in handles.items()} == {"w1": "w1", "w2": "w2"}
