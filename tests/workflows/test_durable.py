"""Durable workflows in one program: what is recorded, what a second run finds, and what is noticed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after
from support import DEADLINE, Gate, until, until_state, working
from twice import Interrupted, run_twice

from nursery_tasks import App, JobHandle, JobState, current_job, sleep, step, wait_for_event
from nursery_tasks.errors import (
    EventTimedOut,
    InvalidOptions,
    JobCancelled,
    NotInWorkflow,
    NotSupported,
    NoWorkflow,
    UnknownJob,
    WorkflowChanged,
    WorkflowEnded,
)
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on two loops: each test has several workers, on each broker."""
    backend: str = request.param
    return backend


async def test_what_has_ended_answers_and_is_not_repeated(app: App) -> None:
    interrupted, ran = Interrupted(), Counter[int]()

    @app.task
    async def work(n: int) -> int:
        ran[n] += 1
        return n * n

    @app.workflow(durable=True)
    async def flow() -> list[int]:
        first = await work.run(2)
        async with app.create_task_group() as group:
            parts = [group.start_soon(work, n) for n in range(first, first + 5)]
        await interrupted.here()
        return [part.return_value for part in parts] + [await work.run(2), await work.job(3).run()]

    assert await run_twice(app, flow, interrupted) == [16, 25, 36, 49, 64, 4, 9]
    assert interrupted.runs == 2
    assert ran == {2: 2, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1}  # two equal calls are two calls
    assert flow.durable


async def test_what_runs_is_joined_when_only_the_worker_stops(app: App) -> None:
    gate, began, reasons = Gate(), Event_(), list[str | None]()
    runs = 0

    @app.task(queue="other")
    async def slow() -> str:
        began.count += 1
        try:
            await gate.pass_through()
        except BaseException:
            reasons.append(current_job().cancel_reason)
            raise
        return "done"

    @app.workflow(durable=True)
    async def flow() -> str:
        nonlocal runs
        runs += 1
        return await slow.run()

    with fail_after(DEADLINE):
        async with app, app.open_worker(queues=["other"]):
            handle = await flow.enqueue()
            async with app.open_worker(queues=["default"], drain=0):
                await gate.wait_for(1)
            await until_state(app, handle.id, JobState.READY)
            assert gate.inside == 1
            async with app.open_worker(queues=["default"]):
                await until(lambda: runs == 2)
                gate.open()
                assert await handle == "done"
    assert (began.count, reasons) == (1, [])


class Event_:  # noqa: N801
    count = 0


@pytest.mark.parametrize("how", ["cancel", "timeout", "leave"])
async def test_who_ends_the_workflow_ends_what_it_awaits(app: App, how: str) -> None:
    gate = Gate()

    @app.task
    async def slow() -> None:
        await gate.pass_through()

    @app.workflow(durable=True, timeout=0.5 if how == "timeout" else None)
    async def flow() -> None:
        async with app.create_task_group() as group:
            group.start_soon(slow)
            group.start_soon(slow)

    async with working(app):
        if how == "leave":
            async with create_task_group() as caller:
                caller.start_soon(flow.options(id="flow").run)
                await gate.wait_for(2)
                caller.cancel_scope.cancel()
            handle = app.handle("flow")
        else:
            handle = await flow.enqueue()
            if how == "cancel":
                await gate.wait_for(2)
                assert await handle.cancel("enough") == "cancelled"
        outcome = await handle.outcome()
        assert outcome.state is (JobState.FAILED if how == "timeout" else JobState.CANCELLED)
        assert gate.inside == 0
        children = await app.connection.gateway.call(app.connection.gateway.admin.list_jobs, JobFilter(parent=handle.id), 10)
        assert {child.state for child in children} <= {JobState.CANCELLED}
        assert how == "timeout" or len(children) == 2  # its time may be over before it has sent both


async def test_steps_record_time_chance_and_failures(app: App) -> None:
    interrupted, calls = Interrupted(), Counter[str]()

    async def ask(word: str) -> str:
        calls["ask"] += 1
        return word.upper()

    def fail() -> None:
        calls["fail"] += 1
        raise ValueError("once")

    def pair() -> tuple[int, str]:
        return 1, "x"

    seen: list[Any] = []

    @app.workflow(durable=True)
    async def flow() -> list[Any]:
        values: list[Any] = [await step(time.time), await step(random.random), await step(ask, "a"), await step(ask, word="b")]
        try:
            await step(fail)
        except ValueError as error:
            values.append(str(error))
        values.append(await step(pair))
        seen.append(values)
        await interrupted.here()
        return values

    result = await run_twice(app, flow, interrupted)
    assert seen[0] == seen[1]
    assert seen[0][5] == (1, "x")
    assert result[2:5] == ["A", "B", "once"]
    assert calls == {"ask": 2, "fail": 1}


async def test_a_detached_job_is_enqueued_once(app: App) -> None:
    interrupted, ran = Interrupted(), Counter[int]()

    @app.task
    async def work(n: int) -> None:
        ran[n] += 1

    @app.workflow(durable=True)
    async def flow() -> list[str]:
        handles = [await work.enqueue(1), *await app.enqueue_many([work.job(1), work.job(2)])]
        await interrupted.here()
        return [handle.id for handle in handles]

    ids = await run_twice(app, flow, interrupted)
    assert len(set(ids)) == 3
    assert ran == {1: 2, 2: 1}


async def test_a_sleep_ends_at_the_same_moment_and_holds_no_slot(app: App) -> None:
    interrupted, began = Interrupted(), list[float]()

    @app.task
    async def other() -> int:
        return 1

    @app.workflow(durable=True)
    async def flow() -> float:
        began.append(time.monotonic())
        async with create_task_group() as group:
            group.start_soon(interrupted.here)
            await sleep(1.0)
        return time.monotonic() - began[0]

    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue()
            async with app.open_worker(slots=1, drain=0):
                await interrupted.gate.wait_for(1)
                assert await other.run() == 1
            async with app.open_worker(slots=1):
                assert await other.run() == 1
                slept = await handle
    assert 1.0 <= slept < 2.0


async def test_events_come_in_order_also_those_sent_before(app: App) -> None:
    interrupted = Interrupted()

    @app.workflow(durable=True)
    async def flow() -> list[Any]:
        first = await wait_for_event("approve", returns=dict[str, int])
        await interrupted.here()
        return [first, await wait_for_event("approve"), await wait_for_event("other", timeout=60)]

    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue()
            await app.send_event(handle.id, "approve", {"by": 1})
            await app.send_event(handle.id, "approve", [2])
            async with app.open_worker(drain=0):
                await interrupted.gate.wait_for(1)
            async with app.open_worker():
                await app.send_event(handle.id, "other")
                assert await handle == [{"by": 1}, [2], None]
            with pytest.raises(WorkflowEnded, match=r"has ended \(succeeded\): nobody waits there for the event 'late'"):
                await app.send_event(handle.id, "late")
            with pytest.raises(UnknownJob):
                await app.send_event("nobody", "late")


async def test_many_events_cost_few_calls_each(memory_app: App, faulty: FaultyBroker) -> None:
    app = memory_app

    @app.workflow(durable=True)
    async def flow() -> list[int]:
        return [await wait_for_event("line", returns=int) for _ in range(100)]

    @app.task(delay=3600)
    async def plain() -> None: ...

    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue()
            for n in range(100):
                await app.send_event(handle.id, "line", n)
            assert faulty.calls["submit"] == 1 + 1 + 2 * 99
            assert faulty.calls["outcomes"] <= 2 * 99
            with pytest.raises(NoWorkflow, match=r"plain .* is no durable workflow"):
                await app.send_event((await plain.enqueue()).id, "line")
            async with app.open_worker():
                assert await handle == list(range(100))


async def test_an_event_that_does_not_come_stays_away(app: App) -> None:
    interrupted = Interrupted()

    @app.workflow(durable=True)
    async def flow() -> list[Any]:
        came: list[Any] = []
        try:
            await wait_for_event("approve", timeout=0.2)
        except EventTimedOut as error:
            came.append(str(error))
        await interrupted.here()
        came.append(await wait_for_event("approve"))
        return came

    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue()
            async with app.open_worker(drain=0):
                await interrupted.gate.wait_for(1)
                await app.send_event(handle.id, "approve", 2)
            async with app.open_worker():
                assert (await handle)[1] == 2


async def test_a_waiting_workflow_is_woken_at_once(app: App) -> None:
    @app.workflow(durable=True)
    async def flow() -> Any:
        return await wait_for_event("go")

    async with working(app, slots=1):
        app.connection.waiter.poll_seconds = 3600.0  # nobody has begun to wait
        handle = await flow.enqueue()
        await until_state(app, handle.id, JobState.STARTED)
        await anyio.sleep(0.2)
        await app.send_event(handle.id, "go", 7)
        assert await handle == 7


def change(kind: str, app: App) -> tuple[Callable[[int], Any], str]:
    """Return what a function does in its first and its second run, and what is said of the difference."""

    @app.task
    async def work(n: int) -> int:
        return n

    @app.task
    async def other(n: int) -> int:
        return n

    async def run(number: int) -> None:
        if kind == "arguments":
            await work.run(number)
        elif kind == "task":
            await (work if number == 1 else other).run(1)
        elif kind == "step":
            await step(time.time if number == 1 else random.random)
        elif kind == "dropped" and number == 1:
            await work.run(1)
        elif kind == "dropped in a branch":
            async with create_task_group() as group:
                if number == 1:
                    group.start_soon(work.run, 1)
        elif kind == "order":
            for n in (1, 2) if number == 1 else (2, 1):
                await work.run(n)

    expected = {
        "arguments": "call 1 of its function is work with other arguments than before",
        "task": "call 1 of its function is other, not work",
        "step": "call 1 of its function is step:Random.random, not step:time",
        "dropped": "call 1, work",
        "dropped in a branch": "a call of work",
        "order": "call 1 of its function is work with other arguments than before",
    }
    return run, expected[kind]


KINDS = ["arguments", "task", "step", "dropped", "dropped in a branch", "order"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("catches", [False, True])
async def test_a_function_that_makes_other_calls_is_noticed(memory_app: App, kind: str, catches: bool) -> None:
    app, interrupted = memory_app, Interrupted()
    act, expected = change(kind, app)
    runs = 0

    @app.workflow(durable=True)
    async def flow() -> None:
        nonlocal runs
        runs += 1
        try:
            await act(runs)
        except Exception:
            if not catches:
                raise
        await interrupted.here()

    with pytest.raises(WorkflowChanged) as caught:
        await run_twice(app, flow, interrupted)
    assert expected in caught.value.problem
    assert caught.value.task == "flow"


async def test_branches_may_begin_in_any_order(app: App) -> None:
    interrupted, ran = Interrupted(), Counter[int]()

    @app.task
    async def work(n: int) -> int:
        ran[n] += 1
        return n

    @app.workflow(durable=True)
    async def flow() -> int:
        values: list[int] = []

        async def branch(n: int) -> None:
            if (n + interrupted.runs) % 2:
                await anyio.sleep(0.01)
            values.append(await work.run(n) + await work.run(n) + await step(int, str(n)))

        async with create_task_group() as group:
            for n in range(6):
                group.start_soon(branch, n)
        await interrupted.here()
        return sum(values)

    assert await run_twice(app, flow, interrupted) == 45
    assert ran == dict.fromkeys(range(6), 2)


async def test_a_child_that_a_scope_of_the_function_had_cut_is_cut_again(app: App) -> None:
    interrupted, gate, scopes = Interrupted(), Gate(), list[CancelScope]()

    @app.task
    async def slow() -> int:
        await gate.pass_through()
        return 1

    @app.task
    async def quick() -> int:
        return 2

    @app.workflow(durable=True)
    async def flow() -> int:
        with move_on_after(0.1 if interrupted.runs else None) as scope:
            scopes.append(scope)
            return await slow.run()
        await interrupted.here()
        return await quick.run()

    async def cut(_: JobHandle[Any]) -> None:
        await gate.wait_for(1)
        scopes[0].cancel()

    assert await run_twice(app, flow, interrupted, during=cut) == 2
    assert gate.entered == 1


async def test_a_failed_group_fails_again(app: App) -> None:
    interrupted, gate = Interrupted(), Gate()

    @app.task
    async def slow() -> None:
        await gate.pass_through()

    @app.task
    async def fail() -> None:
        await gate.wait_for(1)
        raise ValueError("no")

    @app.workflow(durable=True)
    async def flow() -> str:
        try:
            async with app.create_task_group() as group:
                group.start_soon(slow)
                group.start_soon(fail)
        except* ValueError as errors:
            caught = str(errors.exceptions[0])
        await interrupted.here()
        return caught

    assert await run_twice(app, flow, interrupted) == "no"
    assert gate.entered == 1


async def test_a_child_that_a_person_cancelled_is_told_as_cancelled(app: App) -> None:
    gate = Gate()

    @app.task
    async def slow() -> None:
        await gate.pass_through()

    @app.workflow(durable=True)
    async def flow() -> str:
        try:
            await slow.options(id="child").run()
        except JobCancelled as error:
            return str(error.reason)
        return "not"

    async with working(app):
        handle = await flow.enqueue()
        await gate.wait_for(1)
        await app.handle("child").cancel("by hand")
        assert await handle == "by hand"


async def test_a_job_that_holds_the_key_stands_for_a_child(app: App) -> None:
    interrupted, gate, ran = Interrupted(), Gate(), Counter[str]()

    @app.task
    async def work(n: int) -> int:
        ran["work"] += 1
        await gate.pass_through()
        return n

    @app.workflow(durable=True)
    async def flow() -> int:
        value = await work.options(key="one").run(2)
        await interrupted.here()
        return value

    with fail_after(DEADLINE):
        async with app:
            async with app.open_worker(drain=0):
                first = await work.options(key="one").enqueue(1)
                await gate.wait_for(1)
                handle = await flow.enqueue()
                await until(lambda: first.id in app.connection.waiter._tickets)  # the flow waits for the same
                gate.open()
                await interrupted.gate.wait_for(1)
            async with app.open_worker():
                assert await handle == 1
    assert ran["work"] == 1


async def test_workflows_nest_durably(app: App) -> None:
    interrupted, ran = Interrupted(), Counter[int]()

    @app.task
    async def work(n: int) -> int:
        ran[n] += 1
        return n

    @app.workflow(durable=True)
    async def inner(n: int) -> int:
        value = await work.run(n)
        await interrupted.here()
        return value + await work.run(n + 10)

    @app.workflow(durable=True)
    async def outer() -> int:
        return await inner.run(1) + await inner(2)  # the second is a plain call: its calls are this one's

    assert await run_twice(app, outer, interrupted) == 11 + 1 + 2 + 12
    assert ran == {1: 1, 11: 1, 2: 1, 12: 1}


async def test_without_a_worker_a_durable_workflow_is_a_plain_function(memory_app: App) -> None:
    async def ask() -> int:
        return 3

    @memory_app.workflow(durable=True)
    async def flow() -> int:
        await sleep(0)
        return await step(ask) + await step(int, "4")

    assert await flow() == 7
    assert await flow.run_local() == 7
    with pytest.raises(NotInWorkflow, match=r"only in a function of `@app.workflow\(durable=True\)`"):
        await wait_for_event("x")
    with pytest.raises(NotInWorkflow):
        step.undo_with(flow)


async def test_a_step_needs_a_name(memory_app: App) -> None:
    @memory_app.workflow(durable=True)
    async def flow() -> int:
        return await step(lambda: 3)

    async with working(memory_app):
        with pytest.raises(InvalidOptions, match="a function with a name of its own"):
            await flow.run()


def test_what_a_durable_workflow_cannot_have(memory_app: App) -> None:
    async def flow() -> None: ...

    with pytest.raises(InvalidOptions, match="give retries to what it runs"):
        memory_app.workflow(durable=True, retry=3)(flow)
    with pytest.raises(InvalidOptions, match="durable=True beside it"):
        memory_app.workflow(undo_timeout=3)(flow)
    memory_app.workflow(durable=True)(flow)
    assert [task.name for task in memory_app.tasks()] == ["flow"]


async def test_a_broker_that_cannot_keep_records_says_so(memory_app: App, faulty: FaultyBroker) -> None:
    faulty.features = frozenset()

    @memory_app.workflow(durable=True)
    async def flow() -> None: ...

    async with working(memory_app):
        with pytest.raises(NotSupported, match="has no durable workflows, such as flow"):
            await flow.run()


async def test_a_worker_that_stops_does_not_wait_for_what_can_go_on_elsewhere(app: App) -> None:
    runs = 0

    @app.workflow(durable=True)
    async def flow() -> Any:
        nonlocal runs
        runs += 1
        return await wait_for_event("go")

    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue()
            async with app.open_worker(drain=3600) as worker:
                await until(lambda: runs == 1)
                await anyio.sleep(0.05)  # it has begun to wait, or does so while the worker drains
            assert worker.interrupted == 0
            assert await handle.status() is JobState.READY
            await app.send_event(handle.id, "go", 1)
            async with app.open_worker():
                assert await handle == 1
    assert runs == 2


async def test_a_step_that_runs_has_the_time_of_the_drain(app: App) -> None:
    gate, interrupted = Gate(), Interrupted()

    async def act() -> int:
        await gate.pass_through()
        return 1

    @app.workflow(durable=True)
    async def flow() -> int:
        async with create_task_group() as group:
            group.start_soon(sleep, 600)
            value = await step(act)
            await interrupted.here()
            group.cancel_scope.cancel()
        return value

    with fail_after(DEADLINE):
        async with app:
            handle = await flow.enqueue()
            async with app.open_worker(drain=3600) as worker:
                await gate.wait_for(1)
                worker.stop()
                await anyio.sleep(0.05)
                assert gate.inside == 1
                gate.open()
                await interrupted.gate.wait_for(1)
                interrupted.gate.open()
            assert await handle == 1
    assert gate.entered == 1
