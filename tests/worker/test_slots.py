"""How many attempts run at once, in which order, and what stays with the broker."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import anyio
import pytest
from anyio import create_task_group, fail_after, to_thread
from support import DEADLINE, Gate, admin, depth, gather, until, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.worker import WorkerOptions

# --- slots -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3])
async def test_no_more_attempts_run_at_once_than_there_are_slots(app: App, slots: int) -> None:
    gate = Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with working(app, slots=slots):
        handles = await app.enqueue_many(hold.job() for _ in range(8))
        await gate.wait_for(slots)
        gate.open()
        for handle in handles:
            await handle
    assert gate.most == slots
    assert gate.entered == 8


async def test_async_tasks_overlap_in_one_worker(app: App) -> None:
    everybody = Gate()

    @app.task
    async def meet() -> None:
        await everybody.pass_through()

    async with working(app, slots=5), create_task_group() as tg:
        for _ in range(5):
            tg.start_soon(meet.run)
        await everybody.wait_for(5)  # which no worker reaches that runs one after the other
        everybody.open()


async def test_tasks_in_threads_leave_the_loop_free_and_never_exceed_the_slots(app: App) -> None:
    let_go, inside, most, loop_thread = threading.Event(), Counter[str](), Counter[str](), threading.get_ident()
    lock = threading.Lock()

    @app.task
    def block() -> int:
        with lock:
            inside["now"] += 1
            most["ever"] = max(most["ever"], inside["now"])
        let_go.wait(DEADLINE)
        with lock:
            inside["now"] -= 1
        return threading.get_ident()

    @app.task(queue="quick")
    async def quick() -> str:
        return "done"

    async with working(app, slots=3, queues=["default"]), app.open_worker(queues=["quick"]):
        handles = await app.enqueue_many(block.job() for _ in range(7))
        await until(lambda: inside["now"] == 3)
        assert await quick.run() == "done"  # the loop is free
        assert inside["now"] == 3
        let_go.set()
        threads = {await handle for handle in handles}
    assert loop_thread not in threads
    assert most["ever"] == 3


async def test_handlers_in_threads_do_not_take_the_threads_of_the_broker_or_of_the_program(app: App) -> None:
    let_go = threading.Event()

    @app.task
    def block() -> None:
        let_go.wait(DEADLINE)

    async with working(app, slots=60):
        handles = await app.enqueue_many(block.job() for _ in range(60))  # more than AnyIO's own limit of 40
        await until(lambda: len(app.connection.gateway.broker.admin.list_workers()) == 1)  # type: ignore[attr-defined]
        assert await to_thread.run_sync(lambda: "free") == "free"
        assert not await handles[0].ready()
        let_go.set()
        for handle in handles:
            await handle


# --- order -------------------------------------------------------------------------------------------------------------------


async def test_one_slot_runs_jobs_in_the_order_of_their_submission(app: App) -> None:
    ran: list[int] = []

    @app.task
    async def note(number: int) -> None:
        ran.append(number)

    async with app:
        handles = await app.enqueue_many(note.job(n) for n in range(500))
        handles += [await note.enqueue(n) for n in range(500, 520)]
        async with app.open_worker(slots=1):
            await handles[-1]
    assert ran == list(range(520))


async def test_higher_priorities_go_first(app: App) -> None:
    ran: list[int] = []

    @app.task
    async def note(priority: int) -> None:
        ran.append(priority)

    async with app:
        handles = await app.enqueue_many(note.options(priority=p).job(p) for p in (0, 9, 5, 0, 9))
        async with app.open_worker(slots=1):
            for handle in handles:
                await handle
    assert ran == [9, 9, 5, 0, 0]


async def run_in_queues(app: App, a: int, b: int, **options: object) -> list[str]:
    ran: list[str] = []

    @app.task
    async def note() -> None:
        ran.append(current_job().queue or "")

    async with app:
        handles = await app.enqueue_many(note.options(queue="a").job() for _ in range(a))
        handles += await app.enqueue_many(note.options(queue="b").job() for _ in range(b))
        settings: WorkerOptions = {"slots": 2, **options}  # type: ignore[typeddict-item]
        async with app.open_worker(**settings):
            for handle in handles:
                await handle
    return ran


async def test_queues_take_turns_so_that_a_long_one_does_not_starve_a_short_one(app: App) -> None:
    ran = await run_in_queues(app, 1000, 10, queues=["a", "b"])
    assert len(ran) == 1010
    last_b = max(place for place, queue in enumerate(ran) if queue == "b")
    assert ran[last_b:].count("a") > 400


async def test_strict_queues_go_in_the_order_given(app: App) -> None:
    assert await run_in_queues(app, 30, 30, queues=["b", "a"], strict=True) == ["b"] * 30 + ["a"] * 30


async def test_weights_say_how_many_turns_a_queue_has(app: App) -> None:
    ran: list[str] = []
    gate = Gate()

    @app.task
    async def note() -> None:
        ran.append(current_job().queue or "")
        if len(ran) < 40:
            await anyio.sleep(0.051)  # too long for a prefetch, so that each claim brings one job

    async with app:
        for queue in ("a", "b"):
            await app.enqueue_many(note.options(queue=queue).job() for _ in range(40))
        async with app.open_worker(slots=1, queues={"a": 3, "b": 1}) as worker:
            await until(lambda: len(ran) >= 16)
            worker.cancel_running()
    assert 11 <= ran[:16].count("a") <= 13
    gate.open()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"slots": 0}, "1 or more"),
        ({"slots": True}, "1 or more"),
        ({"queues": ["no spaces"]}, "1 to 64 letters, digits, dots, dashes or underscores"),
        ({"queues": {"a": 0}}, "a weight of 1 or more"),
        ({"lease": 0.1}, "0.5 seconds or more"),
        ({"drain": -1}, "0 seconds or more"),
        ({"name": "two words"}, "1 to 200 characters without spaces"),
    ],
)
async def test_an_option_of_a_worker_out_of_its_range_says_what_was_expected(
    memory_app: App, options: WorkerOptions, expected: str
) -> None:
    async with memory_app:
        with pytest.raises(InvalidOptions) as caught:
            async with memory_app.open_worker(**options):
                pass
        assert caught.value.expected == expected


async def test_an_option_of_a_worker_that_does_not_exist_is_answered_with_those_that_do(memory_app: App) -> None:
    wrong: WorkerOptions = {"slot": 3}  # type: ignore[typeddict-unknown-key]
    async with memory_app:
        with pytest.raises(InvalidOptions, match=r"^slot=3: expected one of .*slots"):
            async with memory_app.open_worker(**wrong):
                pass


# --- prefetch ----------------------------------------------------------------------------------------------------------------


async def test_long_jobs_are_not_fetched_ahead(app: App) -> None:
    gate = Gate()

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with working(app, slots=3, drain=0):
        await app.enqueue_many(hold.job() for _ in range(100))
        await gate.wait_for(3)
        assert depth(app) == 97


async def test_what_was_fetched_ahead_is_given_back_when_the_slots_stay_busy(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.intake.POLL_SECONDS", 0.05)
    monkeypatch.setattr("nursery_tasks.worker.intake.UNUSED_SECONDS", 0.05)
    gate = Gate()

    @app.task
    async def quick() -> None: ...

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with working(app, slots=2, drain=0):
        for handle in await app.enqueue_many(quick.job() for _ in range(20)):  # so that the worker takes them for short
            await handle
        await app.enqueue_many(hold.job() for _ in range(100))
        await gate.wait_for(2)
        await until(lambda: depth(app) == 98)
        async with app.open_worker(slots=98, drain=0):
            await gate.wait_for(100)  # nothing is held back from others any more


async def test_it_is_given_back_also_while_news_comes_all_the_time(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.intake.POLL_SECONDS", DEADLINE)
    monkeypatch.setattr("nursery_tasks.worker.intake.UNUSED_SECONDS", DEADLINE)
    gate = Gate()

    @app.task
    async def quick() -> None: ...

    @app.task
    async def hold() -> None:
        await gate.pass_through()

    async with working(app, slots=2, drain=0) as worker:
        for handle in await app.enqueue_many(quick.job() for _ in range(20)):
            await handle
        await app.enqueue_many(hold.job() for _ in range(50))
        await gate.wait_for(2)
        await until(lambda: len(worker._hand_over) > 0)
        monkeypatch.setattr("nursery_tasks.worker.intake.UNUSED_SECONDS", 0.05)  # not before, or it may be given back already
        with fail_after(DEADLINE / 2):
            while len(worker._hand_over) > 0:
                await quick.enqueue()
                await anyio.sleep(0.01)


# --- several workers ---------------------------------------------------------------------------------------------------------


async def test_each_job_goes_to_one_of_the_workers(app: App) -> None:
    runs: Counter[int] = Counter()
    workers: set[str] = set()

    @app.task
    async def note(number: int) -> None:
        runs[number] += 1
        workers.add(current_job().worker or "")
        await anyio.lowlevel.checkpoint()

    async with working(app, slots=2, name="a"), app.open_worker(slots=2, name="b"), app.open_worker(slots=2, name="c"):
        handles = list(itertools.chain(*await gather(*(lambda n=n: app.enqueue_many([note.job(n)]) for n in range(300)))))
        for handle in handles:
            await handle
    assert runs == Counter(range(300))
    assert workers <= {"a", "b", "c"}


async def test_the_state_of_a_job_moves_from_ready_over_started_to_its_end(app: App) -> None:
    gate = Gate()

    @app.task
    async def hold() -> int:
        await gate.pass_through()
        return 1

    async with app:
        job = await hold.enqueue()
        assert await job.status() is JobState.READY
        async with app.open_worker():
            await gate.wait_for(1)
            await until(lambda: admin(app).job(job.id).state is JobState.STARTED)
            assert not await job.ready()
            gate.open()
            assert await job == 1
            assert (await job.status(), await job.ready(), await job.succeeded()) == (JobState.SUCCEEDED, True, True)
            [record] = admin(app).list_jobs(JobFilter(), 2)
            assert record.attempts == 1
