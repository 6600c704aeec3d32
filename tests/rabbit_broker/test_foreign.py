"""Programs with another library, which knows nothing of this package: they push, get answers, and take results."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from anyio import fail_after, sleep, to_thread
from support import Gate, until

from nursery_tasks import App, JobState
from nursery_tasks.errors import BrokerUnavailable, UnknownJob
from nursery_tasks.model.listing import JobFilter

from .conftest import Host, Stranger, wait_bound

SECONDS = 40.0
pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


async def result_of(app: App, job_id: str) -> Any:
    """Wait for a job that somebody else has sent: until its message is delivered nobody knows it."""
    while True:
        try:
            return await app.handle(job_id)
        except UnknownJob:
            await sleep(0.02)


def make_app(host: Host) -> App:
    app = App(host.url())

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        if a == 0:
            raise ValueError("nothing to add to")
        return a + b

    @app.task(queue="notes", raw=True, reply_to="notes-done")
    async def note(body: bytes) -> str:
        return f"res-{body.decode()}"

    @app.task(queue="orders", raw=True)
    async def order(body: dict[str, int]) -> int:
        return sum(body.values())

    return app


async def test_a_stranger_pushes_and_is_answered(host: Host, stranger: Stranger) -> None:
    app = make_app(host)
    with fail_after(SECONDS):
        async with app, app.open_worker(queues=["default", "notes", "orders"]):
            await wait_bound(host, "default", "notes", "orders")
            queue = stranger.own_queue()
            stranger.push(b'{"task": "add", "args": [1, 2]}', reply_to=queue, correlation_id="c 1")
            stranger.push(b'{"task": "add", "args": [0, 2], "id": "x"}', reply_to=queue, correlation_id="c2")
            stranger.push(b'{"task": "add", "args": [2, 2]}', message_id="mine", reply_to=queue)
            stranger.push(b'{"a": 1, "b": 2}', "orders", reply_to=queue, correlation_id="c3")
            stranger.push(b"hello", "notes", reply_to=queue, correlation_id="c4")
            found = {str(place): body for place, body in await to_thread.run_sync(stranger.answers, queue, 5)}
            assert await app.handle("mine") == 4
    assert json.loads(found["c 1"]) == {"id": "c 1", "response": 3}
    error = json.loads(found["c2"])
    assert error == {"id": "x", "error": {"state": "failed", "type": "ValueError", "text": "nothing to add to"}}
    assert json.loads(found["None"]) == {"id": "mine", "response": 4}
    assert json.loads(found["c3"]) == {"id": "c3", "response": 3}
    assert found["c4"] == b"res-hello"  # as one message, as it is


async def test_a_stranger_takes_the_results_of_others_out_of_a_queue(host: Host, stranger: Stranger) -> None:
    app = make_app(host)
    with fail_after(SECONDS):
        async with app, app.open_worker(queues=["notes", "default"]):
            await wait_bound(host, "default", "notes")
            for number in range(3):
                stranger.push(f"{number}".encode(), "notes")  # the task says where its answers go; nobody has made that queue
            stranger.push(b'{"task": "add", "args": [1, 1], "reply_to": "sums", "id": 7}')
            await until(lambda: {"notes-done", "sums"} <= set(queues(host)), SECONDS)
            notes = await to_thread.run_sync(stranger.answers, "notes-done", 3)
            assert sorted(body for _, body in notes) == [b"res-0", b"res-1", b"res-2"]
            [(_, body)] = await to_thread.run_sync(stranger.answers, "sums", 1)
            assert json.loads(body) == {"id": 7, "response": 2}


async def test_direct_reply_to_is_answered(host: Host, stranger: Stranger) -> None:
    app = make_app(host)
    found: list[bytes] = []

    def ask() -> None:
        channel = stranger.channel
        channel.basic_consume("amq.rabbitmq.reply-to", lambda *words: found.append(words[-1]), auto_ack=True)
        stranger.push(b'{"task": "add", "args": [20, 2]}', reply_to="amq.rabbitmq.reply-to", correlation_id="1")
        while not found:
            channel.connection.process_data_events(time_limit=0.1)

    with fail_after(SECONDS):
        async with app, app.open_worker(queues=["default"]):
            await wait_bound(host, "default")
            await to_thread.run_sync(ask)
    assert json.loads(found[0]) == {"id": "1", "response": 22}


async def test_poison_is_put_aside_and_the_worker_goes_on(host: Host, stranger: Stranger) -> None:
    app = make_app(host)
    with fail_after(SECONDS):
        async with app, app.open_worker(queues=["default"]):
            await wait_bound(host, "default")
            for body in (b"not json", b"", b'{"task": 5}', bytes(range(256))):
                stranger.push(body)
            stranger.push(b'{"task": "add", "args": [1, 1]}', message_id="good")
            assert await result_of(app, "good") == 2

            def dead() -> int:
                return len(app.connection.gateway.admin.list_jobs(JobFilter(states=frozenset({JobState.DEAD})), 10))

            await until(dead, SECONDS)
            records = app.connection.gateway.admin.list_jobs(JobFilter(states=frozenset({JobState.DEAD})), 10)
            assert {record.payload for record in records} <= {b"not json", b"", b'{"task": 5}', bytes(range(256))}


async def test_whoever_has_asked_and_is_gone_costs_nobody_anything(host: Host, stranger: Stranger) -> None:
    app = make_app(host)
    with fail_after(SECONDS):
        async with app, app.open_worker(queues=["default"]):
            await wait_bound(host, "default")
            stranger.push(b'{"task": "add", "args": [1, 1]}', message_id="first", reply_to="amq.gen-gone")
            assert await result_of(app, "first") == 2


async def test_a_job_without_an_id_runs_once_although_its_link_broke(host: Host, stranger: Stranger) -> None:
    app, gate, began = App(host.url()), Gate(), list[bytes]()

    @app.task(raw=True)
    async def work(body: bytes) -> None:
        began.append(body)
        await gate.pass_through()

    def states() -> list[JobState]:
        return [record.state for record in app.connection.gateway.admin.list_jobs(JobFilter(), 10)]

    with fail_after(SECONDS):
        async with app, app.open_worker(slots=2):
            await wait_bound(host, "default")
            stranger.push(b"once")
            await gate.wait_for(1)
            stranger.close()
            await to_thread.run_sync(host.close_all_connections)
            while True:
                with suppress(BrokerUnavailable):
                    await work.enqueue(b"after")
                    break
            await gate.wait_for(2)  # the worker hears the server again
            gate.open()
            await until(lambda: states() == [JobState.SUCCEEDED] * len(began) or None, SECONDS)
    assert sorted(began) == [b"after", b"once"]


async def test_an_answer_that_the_server_does_not_take_is_nobody_elses_loss(
    host: Host, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    user = f"poor-{host.name}"
    host.server.api("PUT", f"users/{user}", {"password": "poor", "tags": ""})
    own = {"configure": "nursery-tasks.*", "write": "nursery-tasks.*|amq.default", "read": ".*"}
    host.server.api("PUT", f"permissions/{host.name}/{user}", own)
    app = App(host.url().replace("guest:guest", f"{user}:poor"))

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    stranger.channel.queue_declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    with fail_after(SECONDS):
        async with app, app.open_worker(slots=4):
            await wait_bound(host, "default")
            queue = stranger.own_queue()
            for place in ("not-allowed", "full", queue):
                stranger.push(b'{"task": "add", "args": [1, 2]}', reply_to=place, message_id=f"to-{place}")
            [(_, body)] = await to_thread.run_sync(stranger.answers, queue, 1)
            for place in ("not-allowed", "full", queue):
                assert await result_of(app, f"to-{place}") == 3
            assert await add.run(2, 2) == 4
    assert json.loads(body)["response"] == 3
    said = [record.getMessage() for record in caplog.records if "no answer is sent" in record.getMessage()]
    assert sorted(text.split("'")[1] for text in said) == ["full", "not-allowed"]


def queues(host: Host) -> list[str]:
    return [each["name"] for each in host.server.api("GET", f"queues/{host.name}?columns=name")]
