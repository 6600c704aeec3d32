"""Queues are made, looked into, filled, emptied and deleted from the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import fail_after, run, sleep

from nursery_tasks import App
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerRefused
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.listing import ServerMessage

from .command import command, program
from .conftest import Host
from .test_foreign import result_of

SECONDS = 50.0


def job(job_id: str, queue: str = "work") -> Submission:
    return Submission(id=job_id, queue=queue, task="tests.task", payload=b'{"task":"tests.task"}')


def open_app_broker(url: str) -> Any:
    return open_broker(url)


def test_a_queue_is_created_as_the_url_says_and_deleted(host: Host) -> None:
    url = host.url(exchange__orders="Olive.x", queue__orders="Olive.q", routing_key__orders="Olive.k", api_port=1)
    made = command(url, "queues", "--create", "orders")
    assert (made.code, made.err) == (0, "queue 'orders' made\n")
    assert [line.split() for line in made.out.splitlines()][1] == ["orders", "0", "0"]
    assert host.queue("Olive.q")["arguments"] == {"x-queue-type": "quorum"}
    assert [each["routing_key"] for each in host.server.api("GET", f"bindings/{host.name}/e/Olive.x/q/Olive.q")] == ["Olive.k"]
    again = command(url, "queues", "--create", "orders", "--json")
    assert again.err == "queue 'orders' was there already\n"
    assert [queue["name"] for queue in again.data] == ["orders"]
    assert command(url, "queues", "--delete", "orders").err.startswith("queue 'orders' deleted\n")
    assert host.server.api("GET", f"queues/{host.name}") == []
    command(url, "queues", "--delete", "orders").assert_error("there is no queue 'orders'")


def test_a_queue_that_cannot_be_made_says_why(host: Host) -> None:
    host.server.api("PUT", f"queues/{host.name}/nursery-tasks.work", {"durable": True, "arguments": {}})
    command(host.url(), "queues", "--create", "work").assert_error("exists with x-queue-type", "set queue_type= in the URL")
    command(host.url(declare="no"), "queues", "--create", "work").assert_error("declare=no", "leave that out")


def test_a_queue_that_is_used_is_deleted_only_by_force(host: Host) -> None:
    url = host.url()
    broker = open_app_broker(url)
    broker.queues.create_queue("work")
    broker.postbox.send_message("work", ServerMessage(body=b"from elsewhere"))
    with pytest.raises(BrokerRefused, match="in use: messages 1, consumers 0"):
        broker.queues.delete_queue("work", False)
    assert broker.queues.drop_messages("work") == 1
    feed = broker.prefetch.feed(["work"], 1)
    with pytest.raises(BrokerRefused, match="in use: messages 0, consumers 1"):
        broker.queues.delete_queue("work", False)
    feed.close()
    broker.submit([job("first"), job("second")])
    assert len(broker.claim(["work"], 1, "w", 15)) == 1
    command(url, "queues", "--delete", "work").assert_error("has jobs: 1 claimed, 1 ready", "--force deletes those that wait")
    forced = command(url, "queues", "--delete", "work", "--force", "--json")
    assert [queue["counts"]["claimed"] for queue in forced.data] == [1]
    assert forced.data[0]["counts"]["ready"] == 0
    assert host.server.api("GET", f"queues/{host.name}") == []
    broker.submit([job("third")])  # it is made again
    assert [each.id for each in broker.claim(["work"], 1, "w", 15)] == ["third"]
    broker.close()


def test_messages_are_looked_at_and_stay_in_their_places(host: Host) -> None:
    url = host.url()
    broker = open_app_broker(url)
    broker.submit([job("first")])
    message = ServerMessage(
        body=b'{"n": 1}', id="mine", content_type="application/json", reply_to="answers", correlation_id="c 1", priority=3,
        headers={"colour": "red"}, type="their",
    )  # fmt: skip
    assert broker.postbox.send_message("work", message) == "mine"
    broker.postbox.send_message("work", ServerMessage(body=b"\xff\x00"))
    found = broker.queues.peek("work", 10)
    assert [(each.type, each.body, each.redelivered) for each in found] == [
        ("nursery-tasks.job", b"", False), ("their", b'{"n": 1}', False), (None, b"\xff\x00", False),
    ]  # fmt: skip
    assert msgspec.structs.replace(found[1], headers={"colour": "red"}) == message
    assert (found[1].headers["colour"], found[1].headers.get("x-delivery-count", 0)) == ("red", 0)
    assert [each["redelivered"] for each in command(url, "peek", "work", "--json").data] == [True] * 3
    two = command(url, "peek", "work", "--limit", "2")
    assert two.err == "2 messages of queue 'work'\n"
    assert "a job of this queue is ready" in two.out
    assert [line.split(None, 1)[1] for line in two.out.splitlines() if line.startswith("body")][1] == '{"n": 1}'
    assert "correlation id  c 1" in two.out
    assert broker.queues.drop_messages("work") == 3
    assert command(url, "peek", "work").err == "no message waits in queue 'work'\n"
    command(url, "peek", "nowhere").assert_error("there is no queue 'nursery-tasks.nowhere'", "queues --create nowhere")
    broker.close()


def test_purging_deletes_messages_and_jobs(host: Host) -> None:
    url = host.url()
    broker = open_app_broker(url)
    broker.submit([job("first"), job("second")])
    broker.postbox.send_message("work", ServerMessage(body=b"from elsewhere"))
    assert command(url, "purge", "work", "--yes", "--state", "dead").out == "0 jobs deleted\n"
    assert len(broker.queues.peek("work", 10)) == 3
    assert command(url, "purge", "work", "--yes", "--json").data["messages"] == 3
    assert broker.queues.peek("work", 10) == []
    assert broker.outcomes(["first", "second"]) == [None, None]
    assert command(url, "purge", "empty", "--yes").out == "0 jobs deleted\n"
    broker.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_sent_is_run_and_answered(host: Host, tmp_path: Path, backend: str) -> None:
    url = host.url()
    app = App(url)

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(queue="notes", raw=True)
    async def note(body: bytes) -> str:
        return f"res-{body.decode()}"

    (tmp_path / "letter").write_text('{"task": "add", "args": [2, 2]}')
    reply = ("--reply-to", "answers", "--correlation-id", "c1", "--content-type", "application/json")
    first = command(url, "send", "default", '{"task": "add", "args": [1, 2]}', *reply)
    assert re.fullmatch("[0-9a-f]{32}\n", first.out)
    assert command(url, "send", "default", "--file", f"{tmp_path}/letter", "--id", "mine").out == "mine\n"
    run_it = program if backend == "asyncio" else command  # one process of its own is enough
    assert run_it(url, "send", "notes", "--reply-to", "answers", "--id", "raw", "--json", stdin=b"hello").data == {
        "queue": "notes", "id": "raw",
    }  # fmt: skip

    async def work() -> None:
        async with app, app.open_worker(queues=["default", "notes"]):
            assert await result_of(app, "mine") == 4
            assert await result_of(app, "raw") == "res-hello"
            assert await result_of(app, first.out.strip()) == 3

    async def limited() -> None:
        with fail_after(SECONDS):
            await work()

    run(limited, backend=backend)
    broker = open_app_broker(url)
    assert sorted(broker.replies.take_replies("answers", 10)) == [b"res-hello", b'{"id":"c1","response":3}']
    broker.close()


def test_without_a_store_there_are_only_messages(host: Host) -> None:
    url = host.url(store="")
    made = command(url, "queues", "--create", "default")
    assert (made.code, made.err) == (0, "queue 'default' made\n")
    assert command(url, "send", "default", '{"task": "add", "args": [1, 2]}', "--reply-to", "answers").code == 0
    assert command(url, "send", "default", "not json").code == 0
    command(url, "queues", "--delete", "default").assert_error("messages 2, consumers 0", "--force")
    listed = command(host.url(store="", api_port=host.server.api_port), "queues").out
    assert [line.split()[0] for line in listed.splitlines()] == ["queue", "dead.default", "default"]  # the server is asked
    app = App(url)

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    async def work() -> None:
        with fail_after(SECONDS):
            async with app, app.open_worker(queues=["default"]):
                broker: Any = app.connection.gateway.broker
                while True:
                    dead = broker.queues.transport_queue("dead.default")
                    if dead is not None and dead.ready:
                        break
                    await sleep(0.05)

    run(work)
    [dead] = command(url, "peek", "dead.default", "--json").data
    assert dead["body"] == "not json"
    command(url, "purge", "dead.default", "--yes", "--state", "dead").assert_error("without a store", code=2)
    command(url, "purge", "dead.default").assert_error("this deletes 1 job of queue 'dead.default'", code=2)
    assert command(url, "purge", "dead.default", "--yes").out == "0 jobs and 1 message deleted\n"
    assert command(url, "queues", "--delete", "default").err == "queue 'default' deleted\n"
    command(url, "queues").assert_error("the management API does not answer", "rabbitmq-plugins enable")


def test_what_a_broker_without_a_server_of_messages_says(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    open_broker(url).close()
    command(url, "queues", "--create", "work").assert_error("has no queues at a server: here a queue is nothing but its jobs")
    command(url, "peek", "work").assert_error("has no queues at a server", "nursery-tasks jobs --queue work")
    command("memory:", "send", "work", "hello").assert_error("the jobs of memory: live inside one program")
    command(url, "send", "work", "hello", "--file", "x").assert_error("both say what to send", code=2)
    command(url, "send", "work", "--file", "/nowhere/x").assert_error("--file /nowhere/x: No such file")
    command(url, "queues", "--force").assert_error("nothing is deleted", code=2)
