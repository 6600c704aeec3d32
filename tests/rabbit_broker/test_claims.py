"""What becomes of messages between the server and the store, and that nothing in that takes a job back that was claimed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pika
import pytest

from nursery_tasks.brokers.amqp.stored import StoredBroker
from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.listing import JobFilter, QueueRecord

from .conftest import Host

SECONDS = 40.0


def job(job_id: str, queue: str = "work") -> Submission:
    return Submission(id=job_id, queue=queue, task="tests.task", payload=b'{"task":"tests.task"}')


def open_amqp(host: Host, **options: object) -> StoredBroker:
    broker = open_broker(host.url(**options))
    assert isinstance(broker, StoredBroker)
    return broker


def claim(broker: Broker, queue: str = "work") -> list[str]:
    return [delivery.id for delivery in broker.claim([queue], 10, "w", 15)]


def eventually(find: Callable[[], Any]) -> Any:
    """Ask again and again; return the first answer that is worth something."""
    end = time.monotonic() + SECONDS
    while not (found := find()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def refuse(*args: object) -> list[QueueRecord]:
    raise BrokerUnavailable("store", "it is gone", "wait")


def is_refused(broker: Broker) -> bool:
    try:
        claim(broker)
    except BrokerUnavailable:
        return True
    return False


def push(host: Host, body: bytes, queue: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{host.server.port}/{host.name}")) as link:
        link.channel().basic_publish("nursery-tasks", queue, body, mandatory=True)


def test_a_claim_without_a_message_does_not_hide_that_the_store_is_away(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = open_amqp(host)
    broker.submit([job("one")])
    with monkeypatch.context() as patch:
        patch.setattr(broker._store, "claim", refuse)
        eventually(lambda: is_refused(broker))  # when the message is here the store is asked for the job
        patch.setattr(broker._claiming, "_messages", lambda queues, limit: [])
        with pytest.raises(BrokerUnavailable):
            claim(broker)
    assert eventually(lambda: claim(broker)) == ["one"]
    broker.close()


def test_jobs_stay_claimed_when_the_store_cannot_say_what_else_there_is(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = open_amqp(host)
    broker.submit([job("first"), job("second")])
    broker.cancel(["second"], None)  # its message will find nothing
    monkeypatch.setattr(broker._store.admin, "list_queues", refuse)
    assert claim(broker) == ["first"]
    broker.close()


def test_a_sweep_counts_although_the_store_cannot_say_where(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = open_amqp(host)
    broker.submit([msgspec.structs.replace(job("late"), delay_seconds=0.01)])
    monkeypatch.setattr(broker._store.admin, "list_queues", refuse)
    assert eventually(lambda: broker.sweep(10).due) == 1
    assert eventually(lambda: claim(broker)) == ["late"]  # by the net
    broker.close()


def test_what_others_send_to_a_paused_queue_is_stored_and_not_sent_to_and_fro(host: Host) -> None:
    """A server drops a message that came back too often."""
    broker = open_amqp(host)
    feed = broker.prefetch.feed(["paused"], 4)
    broker.admin.pause("paused")
    push(host, b'{"task": "tests.task"}', "paused")

    def stored() -> list[Any]:
        assert claim(broker, "paused") == []
        return broker.admin.list_jobs(JobFilter(), 10)

    eventually(stored)
    feed.close()
    messages = eventually(lambda: broker._transport.fetch(broker._transport.address.topology("paused"), 1))
    assert [message.is_ours for message in messages] == [True]
    broker._transport.receiver.give_back(messages)
    broker.admin.resume("paused")
    assert len(eventually(lambda: claim(broker, "paused"))) == 1
    broker.close()


def test_giving_back_goes_on_after_a_call_that_the_driver_has_cancelled(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, other = open_amqp(host), open_amqp(host)
    receiver, calls = broker._transport.receiver, list[str]()

    async def cancelled(channel: object, tag: str) -> None:
        calls.append(tag)
        raise asyncio.CancelledError

    monkeypatch.setattr(receiver, "_cancel", cancelled)
    feed = broker.prefetch.feed(["work"], 4)
    for name in ("first", "second"):
        eventually(
            lambda: claim(broker) or receiver._consumers["work"].tag
        )  # it is served, after the link was given up as well
        calls.clear()
        broker.submit([job(name)])
        eventually(lambda: calls)  # nobody here has claimed it
        assert eventually(lambda: claim(other)) == [name]
    feed.close()
    other.close()
    broker.close()
