"""`app.create_task_group()`: jobs as children of a scope."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from anyio import fail_after, move_on_after
from support import DEADLINE, Gate, states, until, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.client.group import AT_ONCE
from nursery_tasks.errors import AppNotOpen, InvalidArguments, InvalidOptions, JobCancelled, NotFinished
from nursery_tasks.task import AsyncTask


def make_add(app: App) -> AsyncTask[[int, int], int]:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    return add


async def test_children_run_and_their_results_are_there_after_the_block(app: App) -> None:
    add = make_add(app)
    async with working(app):
        async with app.create_task_group() as group:
            children = [group.start_soon(add, n, n) for n in range(5)]
            with pytest.raises(NotFinished, match="has not ended; read its return_value after the group's block"):
                _ = children[0].return_value
        assert [child.return_value for child in children] == [0, 2, 4, 6, 8]
        assert await app.handle(children[0].id).status() is JobState.SUCCEEDED


async def test_a_child_can_be_awaited_inside_of_the_block(app: App) -> None:
    add = make_add(app)
    async with working(app), app.create_task_group() as group:
        first = group.start_soon(add, 1, 2)
        second = group.start_soon(add.job(await first, 4))
        assert await second == 7


async def test_the_first_failure_cancels_the_siblings_queued_or_running(app: App) -> None:
    gate = Gate()
    reasons: list[str | None] = []

    @app.task
    async def hang() -> None:
        try:
            await gate.pass_through()
        finally:
            reasons.append(current_job().cancel_reason)

    @app.task
    async def fail() -> None:
        await gate.wait_for(2)
        raise ValueError("no")

    async with working(app, slots=3, queues=["default"]):
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what raises
            async with app.create_task_group() as group:
                running = [group.start_soon(hang), group.start_soon(hang)]
                await gate.wait_for(2)
                queued = group.start_soon(hang.options(queue="nobody"))
                failing = group.start_soon(fail)
        [error] = caught.value.exceptions
        assert isinstance(error, ValueError)
        assert failing.exception is error
        for child in (*running, queued):
            outcome = await app.handle(child.id).outcome()
            assert outcome.state is JobState.CANCELLED
            assert outcome.reason == f"its sibling fail ({failing.id}) ended with ValueError"
        assert reasons == [f"its sibling fail ({failing.id}) ended with ValueError"] * 2
        assert gate.inside == 0
        with pytest.raises(ValueError, match="no"):
            _ = failing.return_value


async def test_a_failure_counts_after_its_retries(app: App) -> None:
    @app.task(retry=3)
    async def third_time() -> int:
        if current_job().attempt < 3:
            raise OSError
        return current_job().attempt

    third = third_time.options(retry=3)
    async with working(app):
        async with app.create_task_group() as group:
            child = group.start_soon(third)
        assert child.return_value == 3


async def test_leaving_the_block_early_ends_all_children_first(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        with move_on_after(DEADLINE) as scope:
            async with app.create_task_group() as group:
                children = [group.start_soon(hang) for _ in range(3)]
                await gate.wait_for(3)
                scope.cancel()
        assert gate.inside == 0
        for child in children:
            assert await app.handle(child.id).status() is JobState.CANCELLED


async def test_one_child_is_cancelled_and_the_others_go_on(app: App) -> None:
    gate = Gate()

    @app.task
    async def wait() -> str:
        await gate.pass_through()
        return "done"

    async with working(app):
        async with app.create_task_group() as group:
            one, other = group.start_soon(wait), group.start_soon(wait)
            await gate.wait_for(2)
            one.cancel("not this one")
            await gate.wait_for(1)
            gate.open()
        assert other.return_value == "done"
        with pytest.raises(JobCancelled, match="not this one"):
            _ = one.return_value
        assert (await app.handle(one.id).outcome()).reason == "not this one"


async def test_an_error_of_the_block_itself_cancels_the_children(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what raises
            async with app.create_task_group() as group:
                group.start_soon(hang)
                await gate.wait_for(1)
                raise KeyError("mine")
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert gate.inside == 0


async def test_the_group_has_the_scope_of_a_task_group(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        async with app.create_task_group() as group:
            group.start_soon(hang)
            await gate.wait_for(1)
            group.cancel_scope.cancel()
        assert gate.inside == 0


async def test_groups_nest_across_workers(app: App) -> None:
    gate = Gate()

    @app.task
    async def leaf() -> None:
        await gate.pass_through()

    @app.task
    async def branch(width: int) -> None:
        async with app.create_task_group() as group:
            for _ in range(width):
                group.start_soon(leaf)

    with fail_after(DEADLINE):
        async with app, app.open_worker(slots=2), app.open_worker(slots=20):
            with move_on_after(DEADLINE) as scope:
                async with app.create_task_group() as group:
                    for width in range(1, 4):
                        group.start_soon(branch, width)
                    await gate.wait_for(6)
                    scope.cancel()
            assert gate.inside == 0
            assert set(states(app).values()) == {JobState.CANCELLED}


async def test_what_cannot_be_started_is_refused_before_anything_is_sent(app: App) -> None:
    add = make_add(app)

    async def plain() -> None:
        """Is no task."""

    with pytest.raises(AppNotOpen):
        app.create_task_group()
    async with app:
        async with app.create_task_group() as group:
            with pytest.raises(TypeError, match="is not a task: expected start_soon"):
                group.start_soon(plain)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="has its arguments already"):
                group.start_soon(add.job(1, 2), 3)
            with pytest.raises(InvalidArguments):
                group.start_soon(add, 1, 2, 3)
        assert states(app) == {}


async def test_many_children_of_one_handler_need_one_slot(memory_app: App) -> None:
    @memory_app.task
    async def leaf(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        return n

    @memory_app.task
    async def parent() -> int:
        async with memory_app.create_task_group() as group:
            children = [group.start_soon(leaf, n) for n in range(200)]
        return sum(child.return_value for child in children)

    async with working(memory_app, slots=1):
        assert await parent.run() == sum(range(200))


async def test_siblings_that_were_cancelled_say_so_as_jobs(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    @app.task
    async def fail() -> None:
        await gate.wait_for(1)
        raise ValueError("no")

    async with working(app):
        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the block is what raises
            async with app.create_task_group() as group:
                cancelled = group.start_soon(hang)
                failing = group.start_soon(fail)
        with pytest.raises(JobCancelled, match=f"its sibling fail .{failing.id}. ended with ValueError"):
            _ = cancelled.return_value
        with pytest.raises(JobCancelled):
            await cancelled


async def test_no_more_than_the_limit_are_under_way_and_the_rest_is_never_sent(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang(n: int) -> int:
        await gate.pass_through()
        return n

    async with working(app, slots=20):
        with move_on_after(DEADLINE) as scope:
            async with app.create_task_group(limit=3) as group:
                children = [group.start_soon(hang, n) for n in range(50)]
                await gate.wait_for(3)
                children[20].cancel("not this one")
                with pytest.raises(JobCancelled, match="not this one"):
                    await children[20]
                scope.cancel()
        assert gate.most == 3
        assert set(states(app)) == {child.id for child in children[:3]}
        assert {type(child.exception) for child in children} == {JobCancelled}


async def test_each_child_that_ends_makes_room_for_the_next(app: App) -> None:
    add = make_add(app)
    async with working(app):
        async with app.create_task_group(limit=4) as group:
            children = [group.start_soon(add, n, 1) for n in range(60)]
            children[30].cancel()
        assert [child.return_value for n, child in enumerate(children) if n != 30] == [n + 1 for n in range(60) if n != 30]
        assert len(states(app)) == 59


async def test_a_failure_ends_also_those_that_were_not_sent(memory_app: App) -> None:
    @memory_app.task
    async def fail() -> None:
        raise ValueError("no")

    async with working(memory_app):
        with pytest.raises(ExceptionGroup):
            async with memory_app.create_task_group(limit=1) as group:
                failing, never = group.start_soon(fail), group.start_soon(fail)
        assert never.exception is not None
        assert str(never.exception).endswith(f"its sibling fail ({failing.id}) ended with ValueError")
        with pytest.raises(InvalidOptions, match="limit=0: expected 1 or more, or None"):
            memory_app.create_task_group(limit=0)


async def test_ten_thousand_children_are_cancelled_as_quickly_as_a_thousand(memory_app: App) -> None:
    async def nothing() -> None:
        """Is never run: nobody works."""

    task = memory_app.task(nothing)
    async with memory_app:
        with move_on_after(DEADLINE) as scope:
            async with memory_app.create_task_group() as group:
                for _ in range(10_000):
                    group.start_soon(task)
                await until(lambda: len(states(memory_app)) == AT_ONCE)
                scope.cancel()
        assert set(states(memory_app).values()) == {JobState.CANCELLED}
        assert len(states(memory_app)) == AT_ONCE
