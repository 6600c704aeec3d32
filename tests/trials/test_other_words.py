"""The first five minutes of somebody who comes from another library: each slip is answered with the word that is ours."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from nursery_tasks import App
from nursery_tasks.errors import BrokerUnreachable, InvalidArguments, InvalidOptions


def declare() -> tuple[App, Any]:
    app = App("memory:")

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    return app, add


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("delay", "`await add.enqueue(...)`, and `app.sync.enqueue(add.job(...))`"),
        ("apply_async", "`await add.options(delay=60).enqueue(...)`"),
        ("send", "`await add.enqueue(...)`"),
        ("s", "`add.job(...)`"),
        ("map", "`await app.enqueue_many([add.job(item) for item in items])`"),
    ],
)
def test_another_librarys_method_is_answered_with_ours(word: str, ours: str) -> None:
    _, add = declare()
    for task in (add, add.options(priority=3)):
        with pytest.raises(AttributeError) as caught:
            getattr(task, word)
        assert str(caught.value).startswith(f"a task has no {word!r}: here it is {ours}")
        assert not hasattr(task, "colour")


def forget(call: Callable[[], object]) -> None:
    call()
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_forgotten_await_names_the_task_and_the_way_without_a_loop() -> None:
    app, add = declare()
    async with app:
        for call in (lambda: add.run(1, 2), lambda: add.job(1, 2).run()):
            with pytest.warns(RuntimeWarning) as caught:
                forget(call)
            assert "coroutine 'add.run(...)`; write `await`, or without a loop `app.sync.run(add.job(...))' was never" in str(
                caught[0].message
            )
        with pytest.warns(RuntimeWarning, match=r"add\.enqueue\(\.\.\.\)"):
            forget(lambda: add.enqueue(1, 2))


async def test_an_argument_may_be_called_self() -> None:
    app, add = declare()

    @app.task
    async def who(self: str) -> str:
        return self

    assert await who.run_local(self="me") == "me"
    assert who.job(self="me").kwargs == {"self": "me"}
    for call in (add.job, add.run_local, add.options(priority=3).run, add.enqueue):
        with pytest.raises(InvalidArguments, match="'self'"):
            await call(1, 2, self=1)


def test_a_builtin_without_a_signature_is_refused_with_the_way_that_works() -> None:
    with pytest.raises(InvalidOptions, match=r"function='max': expected a function whose parameters can be seen"):
        App("memory:").task(max)  # type: ignore[call-overload]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1", "amqp://127.0.0.1:1?store=redis://127.0.0.1:1"])
async def test_a_broker_that_is_down_is_one_error_and_no_chain(url: str) -> None:
    with pytest.raises(BrokerUnreachable, match="is the server running") as caught:
        async with App(url):
            pass
    assert "".join(traceback.format_exception(caught.value)).count("Traceback") == 1
