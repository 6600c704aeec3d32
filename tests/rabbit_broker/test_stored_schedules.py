"""A change of a schedule and the messages for its jobs: the store has both in one step, and the server hears of it later."""

from __future__ import annotations

import pytest

from nursery_tasks.brokers.amqp.stored import StoredBroker
from nursery_tasks.errors import BrokerFull, BrokerUnavailable
from nursery_tasks.model.delivery import Receipt
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.testing.contract.schedules import fire, fire_stale, put, row_of
from nursery_tasks.testing.contract.steps import job

from .conftest import Host, Stranger
from .test_claims import claim, eventually, open_amqp

FULL = {"queue_type": "classic", "x-max-length.full": 0, "x-overflow.full": "reject-publish"}


def away(*args: object) -> None:
    raise BrokerUnavailable("amqp", "the link broke", "wait")


def expect_stored(broker: StoredBroker, version: int, job_id: str) -> None:
    assert row_of(broker, "a").version != version
    assert broker.outcomes([job_id]) != [None]
    fire_stale(broker, "a", version, job(job_id))


def test_there_is_a_message_for_each_job_that_may_be_ready(host: Host, stranger: Stranger) -> None:
    broker = open_amqp(host)
    fire(broker, "a", 0, None, b"", job("now"), job("later", delay_seconds=60.0), job("at once", start_at=1.0))
    assert stranger.count("nursery-tasks.work") == 2
    fire_stale(broker, "a", 0, job("late"))
    put(broker, "b")
    assert stranger.count("nursery-tasks.work") == 2
    assert eventually(lambda: claim(broker)) != []
    broker.close()


def test_a_queue_that_takes_no_message_is_named_and_the_change_stands(host: Host) -> None:
    full = open_amqp(host, **FULL)
    version = put(full, "a")
    with pytest.raises(BrokerFull) as caught:
        fire(full, "a", version, None, b"", job("good"), job("bad", queue="full"))
    good, bad = caught.value.answers or ()
    assert (good, type(bad)) == (Receipt("good", True), BrokerFull)
    expect_stored(full, version, "bad")
    assert claim(full, "full") == ["bad"]  # without a message, as it is known that there is none
    full.close()


def test_a_change_stands_whose_messages_were_lost(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = open_amqp(host)
    version = put(broker, "a")
    with monkeypatch.context() as patch:
        patch.setattr(broker._transport, "send_each", away)
        with pytest.raises(BrokerUnavailable, match="the link broke"):
            fire(broker, "a", version, None, b"", job("one"))
    expect_stored(broker, version, "one")
    assert claim(broker) == ["one"]
    broker.close()


def test_what_cannot_be_told_is_not_changed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = open_amqp(host)
    version = put(broker, "a", None, b"first")
    monkeypatch.setattr(broker._transport, "check_open", away)
    with pytest.raises(BrokerUnavailable, match="the link broke"):
        broker.schedules.fire(ScheduleChange("a", version, None, b"second", (job("one"),)))
    assert row_of(broker, "a").body == b"first"
    assert broker.outcomes(["one"]) == [None]
    put(broker, "a", None, b"third", version)  # without jobs there is nothing to tell
    broker.close()
