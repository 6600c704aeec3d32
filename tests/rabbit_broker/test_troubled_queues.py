"""A queue from which nothing can be had, beside one that is in order: the other goes on as if nothing were."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from anyio import create_task_group, current_time, fail_after, to_thread
from support import until

from nursery_tasks import App
from nursery_tasks.errors import BrokerUnavailable

from .conftest import SECONDS, Host

# What is done to the process of a quorum queue: it stands still, as without a leader, or is gone. Both were seen after a
# `kill -9` of a node. The first keeps a channel waiting, the second makes the server close the connection.
STANDS_STILL = "sys:suspend(whereis({name})).", "sys:resume(whereis({name}))."
IS_GONE = "ra:stop_server(quorum_queues, {{{name}, node()}}).", "ra:restart_server(quorum_queues, {{{name}, node()}})."


@contextmanager
def without_leader(host: Host, queue: str, ways: tuple[str, str]) -> Generator[None, None, None]:
    """Leave a queue without a leader."""
    harm, heal = (way.format(name=f'list_to_atom("{host.name}_nursery-tasks.{queue}")') for way in ways)
    host.server.control("eval", harm)
    yield
    host.server.control("eval", heal)


def app_of(host: Host, store: dict[str, Any]) -> Any:
    app = App(host.url(timeout=2, **store))

    @app.task(name="good", queue="good")
    async def good(number: int) -> int:
        return number

    @app.task(name="bad", queue="bad")
    async def bad(number: int) -> int:
        return number

    return app, good, bad


@pytest.mark.parametrize(
    ("anyio_backend", "ways", "store"),
    [("asyncio", STANDS_STILL, {}), ("trio", IS_GONE, {}), ("asyncio", IS_GONE, {"store": ""})],
)
async def test_a_queue_without_a_leader_costs_the_others_nothing(
    host: Host, ways: tuple[str, str], store: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    app, good, bad = app_of(host, store)
    caplog.set_level(logging.WARNING, "nursery_tasks.worker")

    def told() -> list[str]:
        return [text for text in caplog.messages if "no messages come from the queue 'nursery-tasks.bad'" in text]

    with fail_after(2 * SECONDS):
        async with app:
            assert [(await task.enqueue(1)).id for task in (good, bad)]  # both queues are there
            with without_leader(host, "bad", ways):
                async with app.open_worker(slots=2):
                    await until(told, SECONDS)
                    receiver = app.connection.gateway.broker._transport.receiver
                    opened = receiver.connection.generation
                    tries = receiver._consumers["bad"].trouble
                    pauses = {tries._pause}
                    number = 0
                    while len(pauses) < 4:  # it is tried again, and waits longer each time
                        assert await good.run(number) == number
                        pauses.add(tries._pause)
                        number += 1
                    assert receiver.connection.generation == opened
                    assert len(told()) == 1
            async with app.open_worker(slots=2):
                assert await bad.run(2) == 2


@pytest.mark.parametrize(("anyio_backend", "ways", "store"), [("asyncio", STANDS_STILL, {}), ("trio", IS_GONE, {"store": ""})])
async def test_a_queue_without_a_leader_takes_nothing_and_the_others_do(
    host: Host, ways: tuple[str, str], store: dict[str, Any]
) -> None:
    app, good, bad = app_of(host, store)

    async def is_refused(number: int) -> None:
        with pytest.raises(BrokerUnavailable, match=r"no confirm in time .*nursery-tasks\.bad.* has the queue a leader"):
            await bad.enqueue(number)

    with fail_after(2 * SECONDS):
        async with app, app.open_worker(slots=2, queues=["good"]):
            assert [(await task.enqueue(1)).id for task in (good, bad)]
            transport = app.connection.gateway.broker._transport
            with without_leader(host, "bad", ways):
                async with create_task_group() as group:  # sent together
                    group.start_soon(is_refused, 2)
                    for number in range(5):
                        group.start_soon(good.run, number)
                began = current_time()
                await is_refused(3)
                assert await good.run(7) == 7
                assert current_time() - began < transport.address.timeout_seconds  # nobody has waited for a confirm
            assert transport._out.generation == 1
            while True:  # it has its leader again, and is tried after a moment
                try:
                    handle = await bad.enqueue(4)
                    break
                except BrokerUnavailable:
                    continue
            async with app.open_worker(slots=2, queues=["bad"]):
                assert await handle == 4


@pytest.mark.parametrize(("anyio_backend", "store"), [("asyncio", {}), ("trio", {"store": ""})])
async def test_a_queue_that_cannot_be_used_costs_the_others_nothing(
    host: Host, store: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It was declared by somebody else, in another way; then it is deleted."""
    await to_thread.run_sync(host.server.api, "PUT", f"queues/{host.name}/nursery-tasks.bad", {"durable": True})
    app, good, bad = app_of(host, store)
    with fail_after(SECONDS):
        async with app, app.open_worker(slots=2):
            receiver = app.connection.gateway.broker._transport.receiver
            await until(lambda: "the queue 'nursery-tasks.bad' exists with" in caplog.text, SECONDS)
            for number in range(5):
                assert await good.run(number) == number
            assert receiver.connection.generation == 1
            await to_thread.run_sync(host.server.api, "DELETE", f"queues/{host.name}/nursery-tasks.bad")
            assert await bad.run(7) == 7
            assert receiver.connection.generation == 1
