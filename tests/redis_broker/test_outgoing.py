"""Messages on their way out, in the server: what is left of them, and what people do to their keys by hand."""

from __future__ import annotations

import pytest
import redis
from redis_server import RedisServer, open_redis_broker

from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.outgoing import Outgoing
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.outbox import bodies, counts, places, put, sends
from nursery_tasks.testing.contract.steps import expect_state, settle, submit_and_claim

from .stored import LASTING, keys


def test_messages_and_states_leave_nothing_behind(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    put(broker, ("a", b"1"), ("b", b"2"))
    version = broker.states.put_state("s", 0, b"", [Outgoing("a", b"3")])
    for name in ("a", "b"):
        broker.outbox.drop_outgoing(name, places(broker, name)[-1])
    broker.states.delete_state("s", version)
    assert keys(server) == LASTING
    broker.close()


def test_a_key_that_is_another_thing_by_now_loses_no_message(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    delivery = submit_and_claim(broker)
    with redis.Redis(port=server.port, protocol=2) as client:
        client.set("{nursery-tasks}:outgoing:a", b"mine")
        with pytest.raises(BrokerUnavailable, match="outgoing:a is no stream"):
            broker.settle([sends(delivery, ("b", b"0"), ("a", b"1"))])
        with pytest.raises(BrokerUnavailable, match="outgoing:a is no stream"):
            broker.states.put_state("s", 0, b"", [Outgoing("b", b"0"), Outgoing("a", b"1")])
        expect_state(broker, JobState.CLAIMED, "a")
        assert (broker.states.get_state("s"), counts(broker)) == (None, [])
        client.delete("{nursery-tasks}:outgoing:a")
    settle(broker, sends(delivery, ("b", b"0"), ("a", b"1")))
    assert (bodies(broker), bodies(broker, "b")) == ([b"1"], [b"0"])
    broker.close()


def test_a_line_whose_key_was_deleted_by_hand_is_not_listed(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    put(broker, ("a", b"1"), ("b", b"2"))
    with redis.Redis(port=server.port, protocol=2) as client:
        client.delete("{nursery-tasks}:outgoing:a")
    assert (counts(broker), bodies(broker)) == ([("b", 1)], [])
    put(broker, ("a", b"3"))
    assert counts(broker) == [("a", 1), ("b", 1)]
    broker.close()


def test_a_long_list_of_outboxes_and_states_is_several_calls(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    names = [f"place-{number:04}" for number in range(250)]
    put(broker, *((name, b"1") for name in names))
    for name in names:
        broker.states.put_state(name, 0, b"")
    for limit in (1, 99, 100, 101, 250, 1_000):
        assert [name for name, _ in counts(broker, limit)] == names[:limit]
        assert [record.name for record in broker.states.list_states("place", limit)] == names[:limit]
    assert [record.name for record in broker.states.list_states("place", 150, names[99])] == names[100:]
    broker.close()
