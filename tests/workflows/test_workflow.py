"""`@app.workflow`: an async function whose work is to run other tasks."""

from __future__ import annotations

import pytest
from anyio import create_task_group
from support import Gate, states, until_state, working

from nursery_tasks import App, JobState, Workflow, current_job
from nursery_tasks.errors import InvalidArguments, InvalidOptions, JobTimedOut
from nursery_tasks.task import AsyncTask


def make_double(app: App) -> AsyncTask[[int], int]:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    return double


def make_sums(app: App) -> Workflow[[int], int]:
    double = make_double(app)

    @app.workflow
    async def sums(n: int) -> int:
        """Fan out over what the first step returned."""
        first = await double.run(n)
        async with app.create_task_group() as group:
            parts = [group.start_soon(double, m) for m in range(first)]
        return sum(part.return_value for part in parts)

    return sums


async def test_a_workflow_fans_out_over_what_a_step_returned(app: App) -> None:
    sums = make_sums(app)
    async with working(app, slots=1):  # one slot is enough: whoever waits gives it back
        assert await sums.run(2) == 2 * (0 + 1 + 2 + 3)
        handle = await sums.options(priority=3).enqueue(1)
        assert await handle == 2
        assert await sums.job(0).run() == 0


async def test_workflows_nest_and_errors_are_caught_like_anywhere(app: App) -> None:
    sums = make_sums(app)

    @app.task
    async def fail(n: int) -> int:
        raise ValueError(f"not {n}")

    @app.workflow(name="outer")
    async def nested(n: int) -> list[object]:
        results: list[object] = []
        for m in range(n):
            try:
                results.append(await fail.run(m) if m % 2 else await sums.run(m))
            except ValueError as error:
                results.append(str(error))
        return results

    async with working(app, slots=1):
        assert await nested.run(4) == [0, "not 1", 12, "not 3"]
    assert nested.name == "outer"
    assert repr(nested) == "<Workflow outer>"


async def test_a_cancel_takes_the_whole_tree_along(app: App) -> None:
    gate = Gate()
    reasons: list[str | None] = []

    @app.task
    async def hang() -> None:
        try:
            await gate.pass_through()
        finally:
            reasons.append(current_job().cancel_reason)

    @app.workflow
    async def inner() -> None:
        await hang.run()

    @app.workflow
    async def outer() -> None:
        async with app.create_task_group() as group:
            group.start_soon(inner)
            group.start_soon(hang)

    async with working(app):
        handle = await outer.enqueue()
        await gate.wait_for(2)
        assert await handle.cancel("enough") == "cancelled"
        assert gate.inside == 0
        assert len(reasons) == 2


async def test_a_timeout_ends_the_children(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    @app.workflow(timeout=0.3)
    async def slow() -> None:
        await hang.run()

    async with working(app):
        with pytest.raises(JobTimedOut):
            await slow.run()
        assert gate.inside == 0
        assert set(states(app).values()) <= {JobState.FAILED, JobState.CANCELLED}  # on a slow broker the child may not be there


async def test_who_leaves_takes_the_workflow_along(app: App) -> None:
    gate = Gate()

    @app.workflow
    async def flow() -> None:
        await gate.pass_through()

    async with working(app):
        async with create_task_group() as tg:
            tg.start_soon(flow.options(id="the-flow").run)
            await gate.wait_for(1)
            tg.cancel_scope.cancel()
        await until_state(app, "the-flow", JobState.CANCELLED)
        assert gate.inside == 0


async def test_here_a_workflow_is_a_plain_call(memory_app: App) -> None:
    @memory_app.workflow
    async def flow(n: int) -> int:
        return n + (current_job().attempt if n > 1 else 0)

    assert await flow(1) == 1
    assert await flow.run_local(2) == 3  # without a broker
    assert flow.durable is False
    found = memory_app.get_task("flow")
    assert isinstance(found, Workflow)
    with pytest.raises(InvalidArguments):
        flow.job("x", 2)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("how", [{}, {"name": "named"}])
def test_what_is_no_workflow_is_refused(memory_app: App, how: dict[str, str]) -> None:
    def plain() -> None: ...

    class Holder:
        async def run(self) -> None: ...

    for wrong in (plain, Holder):
        with pytest.raises(InvalidOptions, match="an async def: a workflow awaits what it runs"):
            memory_app.workflow(**how)(wrong)  # type: ignore[call-overload]
    with pytest.raises(InvalidOptions, match="one of the options"):
        memory_app.workflow(run_in="thread")  # type: ignore[call-overload]
    with pytest.raises(InvalidOptions, match="a function"):
        memory_app.workflow("name")  # type: ignore[call-overload]
