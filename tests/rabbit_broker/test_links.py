"""Links that break: the worker goes on by itself, nothing is lost, and nothing runs twice because of them."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from anyio import fail_after, to_thread
from proxy import Proxy
from support import Gate, until, working

from nursery_tasks import App
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Finished, Submission
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import packed

from .conftest import Host

LOOPS = ["asyncio", "trio"]
SECONDS = 40.0


def job(job_id: str) -> Submission:
    return Submission(id=job_id, queue="work", task="tests.task", payload=b'{"task":"tests.task"}')


@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_a_worker_goes_on_when_all_connections_were_closed(host: Host) -> None:
    app, gate, began = App(host.url()), Gate(), list[int]()

    @app.task
    async def work(number: int) -> int:
        began.append(number)
        if number == 0:
            await gate.pass_through()
        return number

    with fail_after(SECONDS):
        async with app, app.open_worker(slots=3):
            slow = await work.enqueue(0)
            await gate.wait_for(1)
            assert [await each for each in await app.enqueue_many([work.job(n) for n in range(1, 20)])] == list(range(1, 20))
            await to_thread.run_sync(host.close_all_connections)
            handles = []
            while len(handles) < 20:
                try:
                    handles.append(await work.options(id=f"again-{len(handles)}").enqueue(20 + len(handles)))
                except BrokerUnavailable:
                    continue
            assert [await handle for handle in handles] == list(range(20, 40))
            gate.open()
            assert await slow == 0
    assert sorted(began) == list(range(40))  # each once, the one that ran while the link broke as well


@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_a_worker_goes_on_when_its_queue_was_deleted(host: Host) -> None:
    """The server ends the consumer, and says so (`basic.cancel`)."""
    app = App(host.url())

    @app.task
    async def work(number: int) -> int:
        return number

    with fail_after(SECONDS):
        async with app, app.open_worker(slots=3):
            assert await work.run(1) == 1
            await to_thread.run_sync(host.server.api, "DELETE", f"queues/{host.name}/nursery-tasks.default")
            for number in range(5):
                assert await work.run(number) == number


async def test_jobs_whose_messages_are_gone_are_found_in_the_store(host: Host) -> None:
    app = App(host.url())

    @app.task
    async def work(number: int) -> int:
        return number

    with fail_after(SECONDS):
        async with app:
            handles = await app.enqueue_many([work.job(number) for number in range(30)])
            await to_thread.run_sync(host.server.api, "DELETE", f"queues/{host.name}/nursery-tasks.default/contents")
            async with app.open_worker(slots=3):
                assert [await handle for handle in handles] == list(range(30))


@pytest.mark.parametrize("what", ["cut", "stall", "half open"])
def test_a_submit_on_a_link_that_breaks_ends_in_time_and_may_be_repeated(host: Host, what: str) -> None:
    with Proxy(host.server.port) as proxy:
        broker = open_broker(host.url(proxy.port, timeout=3))
        assert broker.submit([job("first")])[0].created
        proxy.on(what, "to server", marked=b"nursery-tasks.job")  # type: ignore[arg-type]
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            broker.submit([job("second")])
        assert time.monotonic() - began < 9
        assert broker.submit([job("second")])[0].id == "second"
        found = [delivery.id for _ in range(2) for delivery in broker.claim(["work"], 10, "w", 15)]
        assert sorted(found) == ["first", "second"]
        broker.close()


def test_a_message_that_is_delivered_again_does_not_start_its_job_again(host: Host) -> None:
    with Proxy(host.server.port) as proxy:
        broker, other = open_broker(host.url(proxy.port)), open_broker(host.url())
        broker.submit([job("first")])
        (delivery,) = broker.claim(["work"], 10, "w", 15)
        proxy.cut_all()
        end = time.monotonic() + 2
        while time.monotonic() < end:  # by then the server has given the message to anybody who asks
            assert other.claim(["work"], 10, "other", 15) == []
        assert broker.settle([Finished(delivery, JobState.SUCCEEDED, packed())]) == [True]
        (found,) = other.outcomes(["first"])
        assert found is not None
        assert found.state is JobState.SUCCEEDED
        broker.close()
        other.close()


async def test_what_one_worker_has_and_does_not_use_goes_to_another(host: Host) -> None:
    app, other, gate = App(host.url()), App(host.url()), Gate()

    @app.task(name="work")
    async def work(number: int) -> int:
        if number == 0:
            await gate.pass_through()
        return number

    @other.task(name="work")
    async def same(number: int) -> int:
        return number

    with fail_after(SECONDS):
        async with working(app, slots=1):
            slow = await work.enqueue(0)
            await gate.wait_for(1)
            handles = await app.enqueue_many([work.job(n) for n in range(1, 10)])
            async with other, other.open_worker(slots=2):
                assert [await handle for handle in handles] == list(range(1, 10))
            gate.open()
            assert await slow == 0


def test_the_password_is_in_no_error(host: Host) -> None:
    url = f"amqp://guest:wrong-secret@127.0.0.1:{host.server.port}/{host.name}?store={quote('memory:')}"
    with pytest.raises(BrokerUnavailable, match="refuses the user or the password") as caught:
        open_broker(url)
    assert "secret" not in str(caught.value)


async def test_a_worker_holds_no_more_messages_than_it_can_run(host: Host) -> None:
    app, gate = App(host.url()), Gate()

    @app.task
    async def work() -> None:
        await gate.pass_through()

    def ready(broker: Any) -> int:
        depth: int = broker._transport.depth(broker._transport.address.topology("default"))
        return depth

    with fail_after(SECONDS):
        async with working(app, slots=3):
            handles = await app.enqueue_many([work.job() for _ in range(100)])
            await gate.wait_for(3)
            assert await to_thread.run_sync(ready, app.connection.gateway.broker) == 97
            gate.open()
            await until(lambda: gate.entered == 100, SECONDS)
            for handle in handles:
                await handle
