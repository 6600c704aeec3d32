"""Submitting: arguments are checked before anything is sent, jobs carry their options, and a repetition stores nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from anyio import create_task_group, fail_after
from support import DEADLINE, History, admin, depth, gather, states, working

from nursery_tasks import App, JobHandle, JobState, Retry, current_job
from nursery_tasks.errors import (
    BrokerUnavailable,
    InvalidArguments,
    NotSerializable,
    NoWorkers,
    PayloadTooLarge,
    UnknownJob,
)
from nursery_tasks.events import EventKind
from nursery_tasks.model.codec import Codec
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker


@pytest.fixture
def app(app: App) -> App:
    @app.task
    async def add(a: int, b: int = 1, *, sign: int = 1) -> int:
        return sign * (a + b)

    @app.task
    async def who() -> tuple[str, str | None, tuple[str, ...]]:
        job = current_job()
        return job.id, job.queue, job.tags

    @app.task
    async def anything(*args: object, **kwargs: object) -> object:
        return [args, kwargs]

    return app


# --- arguments ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"a": 2}, "multiple values for argument 'a'"),
        ((1,), {"c": 2}, "got an unexpected keyword argument 'c'"),
    ],
)
async def test_arguments_are_checked_before_anything_is_sent(
    app: App, args: tuple[int, ...], kwargs: dict[str, int], problem: str
) -> None:
    add = app.get_task("add")
    async with app:
        for call in (add.enqueue, add.run, add.job, add.run_local, add.options(priority=1).enqueue):
            with pytest.raises(InvalidArguments) as caught:
                await call(*args, **kwargs)
            assert caught.value.problem == problem
            assert str(caught.value).endswith("the task is add(a: int, b: int = 1, *, sign: int = 1) -> int")
            assert isinstance(caught.value, TypeError)
        with pytest.raises(InvalidArguments):
            app.job("add", *args, **kwargs)
        assert depth(app) == 0


@pytest.mark.parametrize(
    "value", [object(), "\udcff", {(1, 2): 3}, float("nan"), lambda: 0], ids=["object", "text", "key", "nan", "code"]
)
async def test_an_argument_that_cannot_travel_is_found_before_anything_is_sent(app: App, value: object) -> None:
    async with app:
        with pytest.raises(NotSerializable, match=r"^an argument of anything cannot be encoded: "):
            await app.get_task("anything").enqueue(value)
        with pytest.raises(NotSerializable):
            await app.enqueue_many([app.job("anything", 1), app.job("anything", value)])
        assert depth(app) == 0


async def test_a_message_that_is_too_large_is_found_before_anything_is_sent(url: str) -> None:
    app = App(url, max_payload_bytes=1000)
    async with app:
        with pytest.raises(PayloadTooLarge, match=r"the message for anything has 2,0\d\d bytes, the limit is 1,000"):
            await app.job("anything", "x" * 2000).enqueue()
        assert depth(app) == 0


async def test_positional_and_keyword_arguments_arrive_where_they_belong(app: App) -> None:
    async with working(app):
        add = app.get_task("add")
        assert await add.run(1) == 2
        assert await add.run(1, 2) == 3
        assert await add.run(b=3, a=1) == 4
        assert await add.run(1, sign=-1) == -2
        assert await app.get_task("anything").run(1, "a", k=[None]) == [[1, "a"], {"k": [None]}]


async def test_what_was_given_to_a_job_later_changes_nothing(app: App) -> None:
    async with working(app):
        values = [1]
        handle = await app.job("anything", values).enqueue()
        values.append(2)
        assert await handle == [[[1]], {}]


# --- the ways to submit ------------------------------------------------------------------------------------------------------


async def test_enqueue_gives_a_handle_and_run_the_result(app: App) -> None:
    async with working(app):
        add = app.get_task("add")
        handle = await add.enqueue(1, 2)
        assert isinstance(handle, JobHandle)
        assert (handle.task, handle.created, repr(handle)) == ("add", True, f"<JobHandle add {handle.id}>")
        assert await handle == 3
        assert await add.run(1, 2) == 3


async def test_an_unsent_job_can_be_sent_more_than_once(app: App) -> None:
    async with working(app):
        job = app.job("add", 1, 2)
        first, second = await job.enqueue(), await job.enqueue()
        assert first != second
        assert [await first, await second, await job.run()] == [3, 3, 3]


async def test_a_task_of_another_program_is_called_by_its_name(url: str, app: App) -> None:
    caller = App(url) if url != "memory:" else app
    async with working(app):
        if caller is app:
            assert await caller.job("add", 1, 2).run() == 3
            return
        async with caller:
            assert caller.tasks() == []
            assert await caller.job("add", 1, 2).run() == 3
            assert await (await caller.job("add", a=4).with_options(priority=3).enqueue()) == 5


async def test_many_jobs_go_in_one_call_and_come_back_in_order(memory_app: App, faulty: FaultyBroker) -> None:
    @memory_app.task
    async def double(x: int) -> int:
        return 2 * x

    async with working(memory_app):
        handles = await memory_app.enqueue_many(double.job(n) for n in range(1000))
        assert faulty.calls["submit"] == 1
        assert [await handle for handle in handles] == [2 * n for n in range(1000)]


async def test_no_jobs_are_no_work(app: App) -> None:
    async with app:
        assert await app.enqueue_many([]) == []


async def test_jobs_of_several_tasks_and_queues_may_go_together(app: App) -> None:
    async with working(app, queues=["default", "other"]):
        handles = await app.enqueue_many([app.job("add", 1), app.job("who").with_options(queue="other", tags=["x"])])
        assert await handles[0] == 2
        assert await handles[1] == (handles[1].id, "other", ("x",))


async def test_a_thousand_concurrent_runs_give_a_thousand_right_answers(app: App) -> None:
    async with working(app, slots=16):
        add = app.get_task("add")
        found = await gather(*(lambda n=n: add.run(n, n) for n in range(1000)))
    assert found == [2 * n for n in range(1000)]


# --- options on their way ----------------------------------------------------------------------------------------------------


async def test_what_was_asked_for_is_what_the_broker_stores(app: App) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    async with app:
        handle = await app.job("who").with_options(queue="q", priority=7, at=moment, key="k", id="mine", tags=["t"]).enqueue()
        [record] = admin(app).list_jobs(JobFilter(), 10)
        assert (handle.id, record.id, record.queue, record.priority, record.key) == ("mine", "mine", "q", 7, "k")
        assert record.state is JobState.SCHEDULED
        assert record.due_at == pytest.approx(moment.timestamp(), abs=0.01)


async def test_only_what_differs_from_the_task_travels_in_the_message(app: App) -> None:
    task = app.task(name="timed", timeout=9, retry=3)(lambda: None)
    async with app:
        await task.options(id="plain").enqueue()
        await task.options(id="changed", timeout=None, retry=None).enqueue()
        await task.options(id="other", timeout=2, retry=Retry(7)).enqueue()
        messages = {r.id: Codec().decode_message(r.payload) for r in admin(app).list_jobs(JobFilter(), 10)}
    assert (messages["plain"].timeout, messages["plain"].retry) == (None, None)
    never = messages["changed"].retry
    assert messages["changed"].timeout == 0
    assert never is not None
    assert not never.allows(1)
    assert messages["other"].timeout == 2
    assert messages["other"].retry is not None
    assert messages["other"].retry.attempts == 7


# --- repetitions -------------------------------------------------------------------------------------------------------------


async def test_the_same_id_again_stores_nothing(app: App) -> None:
    async with working(app):
        task = app.get_task("add").options(id="once")
        first, second = await task.enqueue(1, 2), await task.enqueue(5, 5)
        assert (first.created, second.created) == (True, False)
        assert first == second
        assert await second == 3
        assert await task.run(7, 7) == 3


async def test_a_key_keeps_a_second_job_out_until_the_first_has_ended(app: App) -> None:
    async with app:
        task = app.get_task("add").options(key="k")
        first, second = await task.enqueue(1, 2), await task.enqueue(5, 5)
        assert second == first
        async with app.open_worker():
            with fail_after(DEADLINE):
                assert await second == 3
                assert await task.run(6, 6) == 12


async def test_who_waits_for_somebody_elses_job_does_not_cancel_it_by_leaving(app: App) -> None:
    for words in ({"id": "mine"}, {"key": "mine"}):
        async with app:
            task = app.get_task("add").options(**words)  # type: ignore[arg-type]
            job = await task.enqueue(1, 2)
            async with create_task_group() as tg:
                tg.start_soon(task.run, 1, 2)
                while not app.connection.waiter._tickets:
                    from anyio.lowlevel import checkpoint

                    await checkpoint()
                tg.cancel_scope.cancel()
            assert await job.status() is JobState.READY
            await job.cancel()


async def test_what_was_not_stored_is_not_told_as_queued(app: App) -> None:
    history = History(app)
    async with app:
        task = app.get_task("add").options(id="once")
        await task.enqueue(1)
        await task.enqueue(1)
        assert history.of("once") == [EventKind.QUEUED]


# --- the broker is away ------------------------------------------------------------------------------------------------------


async def test_a_submission_that_fails_says_so_and_can_be_repeated_with_its_id(memory_app: App, faulty: FaultyBroker) -> None:
    task = memory_app.task(name="t")(lambda: None)
    async with memory_app:
        for effect in (False, True):
            faulty.fail("submit", times=1, effect=effect)
            with pytest.raises(BrokerUnavailable):
                await task.options(id=f"{effect}").enqueue()
            assert (await task.options(id=f"{effect}").enqueue()).created is not effect
        assert states(memory_app) == {"False": JobState.READY, "True": JobState.READY}


async def test_a_submission_raises_within_its_deadline(memory_app: App, faulty: FaultyBroker) -> None:
    task = memory_app.task(name="t")(lambda: None)
    async with memory_app:
        memory_app.connection.gateway.call_seconds = 0.05
        stall = faulty.stall("submit")
        with fail_after(DEADLINE), pytest.raises(BrokerUnavailable, match=r"no answer to submit within 0.05 s"):
            await task.enqueue()
        stall.release()


# --- who is there ------------------------------------------------------------------------------------------------------------


async def test_an_app_may_want_to_be_told_that_nobody_listens(url: str) -> None:
    app = App(url, require_workers=True)
    task = app.task(name="t", queue="mail")(lambda: None)
    async with app:
        for call in (task.enqueue, task.run):
            with pytest.raises(NoWorkers, match="no worker serves queue 'mail'"):
                await call()
        assert depth(app, "mail") == 0
        async with app.open_worker(queues=["default"], name="one"):
            with fail_after(DEADLINE):
                while not await app.workers():
                    pass
                with pytest.raises(NoWorkers):
                    await task.enqueue()
        async with app.open_worker(name="two"):
            with fail_after(DEADLINE):
                while "two" not in [worker.name for worker in await app.workers()]:
                    pass
                await task.run()


async def test_the_list_of_workers_follows_their_coming_and_going(app: App) -> None:
    async with app:
        assert await app.workers() == []
        async with app.open_worker(name="w", slots=3):
            with fail_after(DEADLINE):
                while not await app.workers():
                    pass
            [worker] = await app.workers()
            assert (worker.name, worker.slots, worker.node) == ("w", 3, app.node)
            assert worker.queues[0] == "default"
        assert await app.workers() == []


async def test_a_local_job_runs_only_on_its_own_node(url: str, app: App) -> None:
    app.node = "here"
    async with app:
        local = await app.get_task("who").options(local=True, id="local").enqueue()
        async with app.open_worker(name="elsewhere", queues=["default", "default@there"]):
            with fail_after(DEADLINE):
                await app.get_task("who").run()
        assert await local.status() is JobState.SUCCEEDED  # this worker is here, too, whatever it was told to serve
        waiting = await app.get_task("who").options(local=True, id="waiting").enqueue()
        app.node = "there"
        async with app.open_worker():
            with fail_after(DEADLINE):
                await app.get_task("who").run()
        assert await waiting.status() is JobState.READY
        app.node = "here"
        async with app.open_worker():
            with fail_after(DEADLINE):
                assert (await waiting)[1] == "default@here"


async def test_a_job_knows_the_job_that_submitted_it(app: App) -> None:
    @app.task
    async def child() -> str | None:
        return current_job().parent

    @app.task
    async def parent() -> tuple[str, str | None, str | None]:
        detached = await child.enqueue()
        return current_job().id, await child.run(), await detached

    async with working(app):
        job = await parent.enqueue()
        assert await job == (job.id, job.id, job.id)
        children = admin(app).list_jobs(JobFilter(parent=job.id), 10)
        assert [record.task for record in children] == ["child", "child"]
        assert await child.run() is None


async def gone(job: JobHandle[object]) -> bool:
    try:
        while True:
            await job.status()
    except UnknownJob:
        return True


async def test_an_outcome_is_kept_for_its_time_and_then_unknown(app: App) -> None:
    async with working(app):
        job = await app.get_task("add").options(result_ttl=0).enqueue(1)
        assert await gone(job)
