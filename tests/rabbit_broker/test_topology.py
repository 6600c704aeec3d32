"""Exchanges, queues and keys that are the user's."""

from __future__ import annotations

import time

import pytest
from anyio import fail_after

from nursery_tasks import App
from nursery_tasks.brokers.amqp.address import read_address
from nursery_tasks.brokers.amqp.storeless.topology import to_storeless
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnavailable, BrokerUnreachable, InvalidBrokerUrl
from nursery_tasks.model.delivery import Submission

from .conftest import Host

SECONDS = 40.0


def job(job_id: str, queue: str = "work") -> Submission:
    return Submission(id=job_id, queue=queue, task="tests.task", payload=b'{"task":"tests.task"}')


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_jobs_go_through_an_exchange_a_queue_and_a_key_of_the_users(host: Host) -> None:
    names = {"exchange__orders": "Olive.x", "queue__orders": "Olive.q", "routing_key__orders": "Olive.k"}
    app = App(host.url(**names))

    @app.task(queue="orders")
    async def order(number: int) -> int:
        return number

    @app.task
    async def other(number: int) -> int:
        return number

    with fail_after(SECONDS):
        async with app, app.open_worker(queues=["orders", "default"]):
            assert await order.run(1) == 1
            assert await other.run(2) == 2
    queue = host.queue("Olive.q")
    assert queue["durable"] is True
    assert queue["arguments"] == {"x-queue-type": "quorum"}
    bindings = host.server.api("GET", f"bindings/{host.name}/e/Olive.x/q/Olive.q")
    assert [each["routing_key"] for each in bindings] == ["Olive.k"]
    assert host.queue("nursery-tasks.default")["durable"] is True


def test_what_exists_is_used_and_nothing_is_declared(host: Host) -> None:
    server, vhost = host.server, host.name
    url = host.url(declare="no", exchange="Olive.x", queue="Olive.q", routing_key="Olive.k")
    broker = open_broker(url)
    with pytest.raises(BrokerUnavailable, match=r"Olive\.x"):
        broker.submit([job("early")])
    server.api("PUT", f"exchanges/{vhost}/Olive.x", {"type": "topic", "durable": False})
    with pytest.raises(BrokerUnavailable, match="no queue takes the message"):
        broker.submit([job("early")])
    server.api("PUT", f"queues/{vhost}/Olive.q", {"durable": False, "arguments": {"x-max-length": 100}})
    server.api("POST", f"bindings/{vhost}/e/Olive.x/q/Olive.q", {"routing_key": "Olive.#"})
    assert broker.submit([job("first")])[0].created
    assert sorted(delivery.id for delivery in broker.claim(["work"], 10, "w", 15)) == ["early"]
    broker.close()


def test_a_queue_that_is_different_is_named_with_what_to_do(host: Host) -> None:
    host.server.api("PUT", f"queues/{host.name}/nursery-tasks.work", {"durable": True, "arguments": {}})
    broker = open_broker(host.url())
    with pytest.raises(BrokerUnavailable) as caught:
        broker.submit([job("first")])
    text = str(caught.value)
    assert "the queue 'nursery-tasks.work' exists with x-queue-type" in text
    assert "quorum was asked for" in text
    assert "set queue_type= in the URL to what it has, or declare=no to use it as it is, or delete the queue" in text
    broker.close()
    broker = open_broker(host.url(declare="no", exchange="", routing_key="nursery-tasks.{queue}"))
    broker.submit([job("second")])
    assert len(broker.claim(["work"], 10, "w", 15)) == 1
    broker.close()


def test_a_queue_that_is_full_refuses(host: Host) -> None:
    options = {"x-max-length": 2, "x-overflow": "reject-publish", "queue_type": "classic"}
    broker = open_broker(host.url(**options))
    with pytest.raises(BrokerUnavailable, match="takes no more messages"):
        broker.submit([job(f"job-{number}") for number in range(5)])
    broker.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("amqp://me:secret@h/?store=amqp://h", "its store is an AMQP server, too"),
        ("amqp://me:secret@h/?store=memory:&colour=red", "has no option 'colour'"),
        ("amqp://me:secret@h/?store=memory:&cafile=x", "has no option 'cafile'"),
        ("amqp://me:secret@h/?store=memory:&durable=perhaps", "durable='perhaps' is neither yes nor no"),
        ("amqp://me:secret@h/?store=memory:&queue_type=stream", "neither quorum nor classic"),
        ("amqp://me:secret@h/?store=memory:&exchange_type.a=x", "exchange_type.a='x' is neither direct"),
        ("amqp://me:secret@h/?store=memory:&prefetch=0", "prefetch='0' is no number"),
        ("amqp://me:secret@h/?store=memory:&timeout=soon", "no number of seconds"),
        ("amqp://me:secret@h/?store=memory:&heartbeat=0.5", "no whole number of seconds"),
        ("amqp://me:secret@h/?store=memory:&prefix=", "prefix='' is no name"),
        ("amqp://me:secret@h/?store=memory:&queue=", "names no queue"),
        ("amqp://me:secret@h:port/?store=memory:", "its port is no number"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url: str, problem: str) -> None:
    with pytest.raises(InvalidBrokerUrl) as caught:
        open_broker(url)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_the_management_plugin_says_of_a_queue_and_what_is_known_without_it(host: Host) -> None:
    plugin, none = (open_broker(host.url(api_port=port)) for port in (host.server.api_port, 1))
    assert plugin.queues
    assert none.queues
    assert plugin.queues.transport_queue("work") is None
    plugin.submit([job("first"), job("second")])
    assert len(plugin.claim(["work"], 1, "w", 15)) == 1
    simple = none.queues.transport_queue("work")
    assert simple is not None
    assert (simple.ready, simple.unacknowledged, simple.memory_bytes) == (1, None, None)
    end = time.monotonic() + 30
    while (found := plugin.queues.transport_queue("work")) is None or found.memory_bytes is None or not found.unacknowledged:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    assert (found.ready, found.unacknowledged) == (1, 1)
    plugin.close()
    none.close()


@pytest.mark.parametrize("store", ["redis://me:secret@h/0", "redis%3A%2F%2Fme%3Asecret%40h%2F0"])
def test_the_password_of_the_store_is_not_shown(store: str) -> None:
    app = App(f"amqp://you:secret@h/?store={store}&prefix=a")
    assert "secret" not in app.shown_url
    assert "secret" not in repr(app)
    assert "secret" not in App("amqp://you:secret@h/", store="redis://me:secret@h/0?db=3").shown_url


def test_queues_are_known_by_their_names_at_the_server() -> None:
    ours = ["a", "dead.a", "delay.3", "box.1f", ""]
    names = [*(f"nursery-tasks.{name}" for name in ours), "Olive.q", "other"]
    address = read_address("amqp://h", {"queue.green": "Olive.q", "queue.gone": "Gone.q"}, "amqp://h")
    assert address.queues_among(names) == ["a", "box.1f", "dead.a", "delay.3", "green"]
    assert to_storeless(address).queues_among(names) == ["a", "dead.a", "green"]
    assert read_address("amqp://h", {"queue": "q-{queue}-x"}, "amqp://h").queues_among(["q-a-x", "q-b"]) == ["a"]


def test_options_for_one_queue_win() -> None:
    options = {"queue": "all.{queue}", "queue.mails": "mails", "x-max-length.mails": "7", "x-max-length": "5", "prefetch": "3"}
    address = read_address("amqp://h", options, "amqp://h")
    assert address.topology("other").name == "all.other"
    assert address.topology("mails").name == "mails"
    assert address.topology("mails").arguments == {"x-queue-type": "quorum", "x-max-length": 7}
    assert address.topology("other").arguments == {"x-queue-type": "quorum", "x-max-length": 5}
    assert address.topology("other").prefetch == 3
    active = read_address("amqp://h", {"x-single-active-consumer": "true"}, "amqp://h").topology("other").arguments
    assert active["x-single-active-consumer"] is True


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(BrokerUnreachable, match="no connection") as caught:
        open_broker("amqp://me:secret@127.0.0.1:1/?store=memory:")
    assert "secret" not in str(caught.value)


def test_a_virtual_host_that_is_missing_is_named(host: Host) -> None:
    with pytest.raises(BrokerUnreachable, match="refuses this virtual host"):
        open_broker(f"amqp://guest:guest@127.0.0.1:{host.server.port}/nowhere?store=memory:")
