"""What a durable workflow raises is the same in each run; and a function that has changed undoes nothing."""

from __future__ import annotations

import pytest
from anyio import create_task_group
from twice import Interrupted, run_twice

from nursery_tasks import App, step
from nursery_tasks.errors import RemoteError, WorkflowChanged


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on two loops."""
    backend: str = request.param
    return backend


class Shop:
    """Tasks, and what they did."""

    def __init__(self, app: App) -> None:
        self.log: list[str] = []

        @app.task
        async def book(n: int) -> int:
            self.log.append(f"book {n}")
            return n

        @app.task
        async def give_back(n: int) -> None:
            self.log.append(f"back {n}")

        self.book, self.give_back = book, give_back


@pytest.mark.parametrize("hides", [False, True])
async def test_a_change_that_comes_out_of_a_group_undoes_nothing(memory_app: App, hides: bool) -> None:
    app, shop, interrupted = memory_app, Shop(memory_app), Interrupted()

    @app.workflow(durable=True)
    async def flow() -> None:
        step.undo_with(shop.give_back, await shop.book.run(1))
        try:
            async with create_task_group() as group:
                group.start_soon(step, int, "1")
                await shop.book.run(2 if interrupted.runs == 0 else 3)
        except Exception as error:
            if not hides:
                raise
            raise ValueError("hidden") from error
        await interrupted.here()

    with pytest.raises(WorkflowChanged, match="call 2 of its function is book with other arguments"):
        await run_twice(app, flow, interrupted)
    assert shop.log == ["book 1", "book 2"]


async def test_a_change_of_a_child_is_an_error_like_others_and_undoes(memory_app: App) -> None:
    app, shop, interrupted = memory_app, Shop(memory_app), Interrupted()

    @app.workflow(durable=True)
    async def inner() -> None:
        await shop.book.run(2 if interrupted.runs == 0 else 3)
        await interrupted.here()

    @app.workflow(durable=True)
    async def outer() -> None:
        step.undo_with(shop.give_back, await shop.book.run(1))
        await inner.run()

    with pytest.raises(WorkflowChanged) as caught:
        await run_twice(app, outer, interrupted)
    assert caught.value.task == "inner"
    assert shop.log == ["book 1", "book 2", "back 1"]


class OwnError(Exception):
    """No app knows it."""


async def test_a_step_raises_the_same_class_in_each_run(memory_app: App) -> None:
    app, interrupted = memory_app, Interrupted()
    caught: list[Exception] = []

    def fail() -> None:
        raise OwnError("no")

    @app.workflow(durable=True)
    async def flow() -> None:
        try:
            await step(fail)
        except Exception as error:
            caught.append(error)
        await interrupted.here()

    await run_twice(app, flow, interrupted)
    assert [type(error) for error in caught] == [RemoteError, RemoteError]
    assert [str(error) for error in caught] == [str(caught[0])] * 2
    assert isinstance(caught[0].__cause__, OwnError)
