"""`step.undo_with`: what a durable workflow has done is taken back when it does not succeed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from anyio import Event, create_task_group, fail_after, sleep, sleep_forever
from support import DEADLINE, Gate, admin, until, until_state, working
from twice import Interrupted, run_twice

from nursery_tasks import App, JobState, Retry, Workflow, step
from nursery_tasks.cli.changing import _retry as retry_by_hand  # pyright: ignore[reportPrivateUsage]
from nursery_tasks.cli.trouble import FAILED
from nursery_tasks.errors import BrokerUnavailable, InvalidArguments, InvalidOptions, JobTimedOut
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker, open_lab, run_lab
from nursery_tasks.workflows.undo import UNDO_TASK

ALL = JobFilter()


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on two loops: each test has several workers, on each broker."""
    backend: str = request.param
    return backend


class Trip:
    """Tasks that do and undo, and what they did."""

    def __init__(self, app: App) -> None:
        self.log: list[str] = []
        self.fails_to_undo: set[int] = set()
        self.gate = Gate()

        @app.task
        async def book(n: int) -> int:
            if n == 3:
                raise ValueError("no seat 3")
            self.log.append(f"book {n}")
            return n

        @app.task(retry=Retry(2, wait=0))
        async def give_back(n: int, why: str = "") -> None:
            self.log.append(f"back {n}{why}")
            if n in self.fails_to_undo:
                raise RuntimeError(f"cannot give back {n}")

        self.book, self.give_back = book, give_back

        async def pay(n: int) -> int:
            self.log.append(f"pay {n}")
            return n

        self.pay = pay


def make_flow(app: App, trip: Trip, **options: Any) -> Workflow[[int], int]:
    @app.workflow(durable=True, **options)
    async def flow(last: int) -> int:
        for n in range(1, last + 1):
            await (trip.book.run(n) if n != 2 else step(trip.pay, n))
            step.undo_with(trip.give_back, n, why="!" if n == 2 else "")
        if last == 1:
            await trip.gate.pass_through()
        return last

    return flow


async def test_a_failing_third_step_undoes_the_second_and_the_first(app: App) -> None:
    trip = Trip(app)
    flow = make_flow(app, trip)
    async with working(app, slots=1):
        with pytest.raises(ValueError, match="no seat 3") as caught:
            await flow.run(3)
    assert trip.log == ["book 1", "pay 2", "back 2!", "back 1"]
    assert "what it had done was undone" in caught.value.__notes__


async def test_who_succeeds_undoes_nothing(app: App) -> None:
    trip = Trip(app)
    flow = make_flow(app, trip)
    async with working(app):
        assert await flow.run(2) == 2
    assert trip.log == ["book 1", "pay 2"]


async def test_an_undo_that_fails_does_not_keep_the_others_from_it(app: App) -> None:
    trip = Trip(app)
    trip.fails_to_undo = {2}
    flow = make_flow(app, trip)
    async with working(app):
        with pytest.raises(ValueError, match="no seat 3") as caught:
            await flow.run(3)
    assert trip.log == ["book 1", "pay 2", "back 2!", "back 2!", "back 1"]
    assert "not all was undone: give_back: RuntimeError: cannot give back 2" in caught.value.__notes__


async def test_a_cancel_undoes(app: App) -> None:
    trip = Trip(app)
    flow = make_flow(app, trip)
    async with working(app):
        handle = await flow.enqueue(1)
        await trip.gate.wait_for(1)
        assert await handle.cancel("enough") == "cancelled"  # it waits for the undo
        assert trip.log == ["book 1", "back 1"]
        outcome = await handle.outcome()
        assert (outcome.state, outcome.reason) == (JobState.CANCELLED, "enough")


def test_a_timeout_undoes(memory_app: App) -> None:
    trip = Trip(memory_app)
    flow = make_flow(memory_app, trip, timeout=0.5)

    async def check() -> None:
        async with open_lab(memory_app):
            with pytest.raises(JobTimedOut):
                await flow.run(1)
        assert trip.log == ["book 1", "back 1"]

    run_lab(check)


async def test_a_worker_that_stops_undoes_nothing(app: App) -> None:
    trip = Trip(app)
    flow = make_flow(app, trip)
    async with app:
        handle = await flow.enqueue(1)
        async with app.open_worker(drain=0):
            await trip.gate.wait_for(1)
        assert await handle.status() is JobState.READY
        assert trip.log == ["book 1"]
        trip.gate.open()
        async with working_beside(app):
            assert await handle == 1
    assert trip.log == ["book 1"]


def working_beside(app: App) -> Any:
    return app.open_worker()


async def test_the_budget_ends_an_undo_that_hangs(app: App) -> None:
    trip = Trip(app)
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    @app.workflow(durable=True, undo_timeout=0.3)
    async def flow() -> None:
        await step(trip.pay, 1)
        step.undo_with(hang)
        raise ValueError("no")

    async with working(app):
        with pytest.raises(ValueError, match="no") as caught:
            await flow.run()
    assert gate.inside == 0  # whether it had begun in that time is up to the machine
    assert "it was not undone, see `nursery-tasks tree" in "".join(caught.value.__notes__)


async def test_a_cancelled_workflow_leaves_a_long_undo_behind(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.workflows.undo.DISOWN_SECONDS", 0.2)
    trip, gate, done = Trip(app), Gate(), Event()

    @app.task
    async def slow() -> None:
        await gate.pass_through()

    @app.workflow(durable=True)
    async def flow() -> None:
        await step(trip.pay, 1)
        step.undo_with(slow.options(priority=3))
        done.set()
        await sleep_forever()

    async with working(app):
        handle = await flow.enqueue()
        await done.wait()  # before that there is nothing to undo
        await until_state(app, handle.id, JobState.STARTED)
        assert await handle.cancel() == "cancelled"
        await gate.wait_for(1)
        gate.open()
        children = await app.connection.gateway.call(app.connection.gateway.admin.list_jobs, ALL, 10)
        undoing = next(job for job in children if job.task == "nursery_tasks.undo")
        assert await app.handle(undoing.id) == []


async def test_wrong_arguments_are_refused_where_they_stand(memory_app: App) -> None:
    trip = Trip(memory_app)

    @memory_app.workflow(durable=True)
    async def flow() -> None:
        step.undo_with(trip.give_back, 1, 2, 3)  # type: ignore[call-arg]

    async with working(memory_app):
        with pytest.raises(InvalidArguments):
            await flow.run()
    with pytest.raises(InvalidOptions, match=r"0\.001 seconds or more"):
        memory_app.workflow(durable=True, undo_timeout=0)(trip.pay)


@pytest.mark.parametrize("how", ["fails", "cancelled"])
async def test_an_undo_waits_for_a_broker_that_is_away(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("nursery_tasks.workflows.undo.STORE_SECONDS", 0.1)
    app, trip = memory_app, Trip(memory_app)

    @app.workflow(durable=True)
    async def flow() -> None:
        step.undo_with(trip.give_back, await trip.book.run(1))
        await trip.gate.pass_through()
        raise ValueError("no")

    async with working(app):
        handle = await flow.enqueue()
        await trip.gate.wait_for(1)
        tries = list[object]()
        faulty.before("submit", tries.append)
        end = faulty.fail("submit")
        if how == "fails":
            trip.gate.open()
        else:
            await handle.cancel("enough", wait=0)
        await until(lambda: len(tries) >= 2)  # the second one is after more than STORE_SECONDS
        assert await handle.status() is JobState.STARTED
        end()
        outcome = await handle.outcome()
    assert outcome.state is (JobState.FAILED if how == "fails" else JobState.CANCELLED)
    assert trip.log == ["book 1", "back 1"]


async def test_a_worker_that_stops_before_its_undo_is_stored_leaves_it_to_the_next(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.workflows.undo.STORE_SECONDS", 0.1)
    app, trip = memory_app, Trip(memory_app)
    flow = make_flow(app, trip)
    tries = list[Submission]()

    def refuse(args: tuple[Sequence[Submission]]) -> None:
        undos = [job for job in args[0] if job.task == UNDO_TASK]
        tries.extend(undos)
        if undos:
            raise BrokerUnavailable(faulty.name, "it stores no undo, says the test")

    end = faulty.before("submit", refuse)
    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue(3)
            async with app.open_worker(drain=0):
                await until(lambda: tries)
            assert await handle.status() is JobState.READY
            end()
            async with app.open_worker():
                with pytest.raises(ValueError, match="no seat 3"):
                    await handle
    assert trip.log == ["book 1", "pay 2", "back 2!", "back 1"]


async def test_a_workflow_that_was_undone_is_not_run_again(memory_app: App) -> None:
    app, trip = memory_app, Trip(memory_app)
    flow = make_flow(app, trip)
    async with working(app):
        handle = await flow.enqueue(3)
        with pytest.raises(ValueError, match="no seat 3"):
            await handle
        assert admin(app).requeue([handle.id]) == [True]  # what `nursery-tasks retry` refuses
        with pytest.raises(ValueError, match="no seat 3") as caught:
            await handle
    assert "that has been recorded, so it is not run again, not by a retry either: submit it anew" in caught.value.__notes__
    assert trip.log == ["book 1", "pay 2", "back 2!", "back 1"]


async def test_retry_refuses_a_workflow_that_was_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    trip = Trip(app)
    flow = make_flow(app, trip)
    async with working(app):
        handle = await flow.enqueue(3)
        await handle.outcome()
    assert await retry_by_hand(app, [handle.id], ALL, as_json=False) == FAILED
    assert (
        capsys.readouterr().out == f"{handle.id}  not retried: what this workflow had done was undone; submit it anew instead\n"
    )


async def test_branches_are_undone_in_the_order_in_which_they_were_done(memory_app: App) -> None:
    app, trip, interrupted = memory_app, Trip(memory_app), Interrupted()
    booked = Event()

    @app.task
    async def slow(n: int) -> int:
        await booked.wait()
        await sleep(0.01)  # so that the clock says that it was later
        trip.log.append(f"book {n}")
        return n

    @app.workflow(durable=True)
    async def flow() -> None:
        async def branch(n: int) -> None:
            await (trip.book.run(n) if n == 1 else slow.run(n))
            if n == 1:
                booked.set()
                if interrupted.runs == 1:  # in the second run it is the last one to come here
                    await sleep(0.05)
            step.undo_with(trip.give_back, n)

        step.undo_with(trip.give_back, await trip.book.run(0))
        async with create_task_group() as group:
            group.start_soon(branch, 1)
            group.start_soon(branch, 2)
        step.undo_with(trip.give_back, 4)
        await interrupted.here()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run_twice(app, flow, interrupted)
    assert trip.log == ["book 0", "book 1", "book 2", "back 4", "back 2", "back 1", "back 0"]


async def test_an_undo_keeps_its_options(memory_app: App) -> None:
    app, trip = memory_app, Trip(memory_app)

    @app.workflow(durable=True)
    async def flow() -> None:
        step.undo_with(trip.give_back.options(tags=["refund"], priority=3, result_ttl=7200), 1)
        raise ValueError("no")

    async with working(app):
        with pytest.raises(ValueError, match="no"):
            await flow.run()
        [record] = admin(app).list_jobs(JobFilter(task="give_back"), 10)
    assert (record.tags, record.priority % 10) == (("refund",), 3)
