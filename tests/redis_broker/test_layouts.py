"""Data that was stored by an older version: it is taken over, and that version's workers are kept away from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis_server import RedisServer, open_redis_broker

from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.errors import BrokerUnavailable, BrokerUnreachable
from nursery_tasks.model.delivery import Delivery, Finished, LeaseState, Renewal
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.model.reasons import OWNER_ENDED
from nursery_tasks.model.states import ENDED, WAITING, JobState
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.contract.steps import claim, expect_cancelled, expect_state, ids_of, packed, repeat, settle, submit

from .stored import LASTING, keys

# What layout 1 has stored when `ManualClock` begins: its keys as commands, bytes as Latin-1; and what its workers hold.
LAYOUT_1: dict[str, Any] = json.loads((Path(__file__).parent / "layout_1.json").read_text())
P = "{nursery-tasks}:"
READY = ["urgent", "child", "leased", "ready", "12345678901234567890123456789012", "keyed"]  # in their order
KEPT = ["done", "failed", "cancelled", "gone", "held", "started", "parent", "turn-1", "turn-2", "rate-1", "rate-2", "retried"]


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port, protocol=2) as client:
        yield client


def fill(client: redis.Redis) -> dict[str, Delivery]:
    """Store what layout 1 has stored; return what its workers hold."""
    for command in LAYOUT_1["commands"]:
        client.execute_command(*(part.encode("latin-1") for part in command))  # type: ignore[no-untyped-call]
    return {row["id"]: to_delivery(row) for row in LAYOUT_1["held"]}


def to_delivery(row: dict[str, Any]) -> Delivery:
    packed_parts = {name: row[name].encode("latin-1") for name in ("payload", "token", "address")}
    return Delivery(**{**row, **packed_parts})


def listed(broker: RedisBroker) -> list[str]:
    return [record.id for record in broker.admin.list_jobs(JobFilter(), 100)]


def test_jobs_of_layout_1_go_on(server: RedisServer, client: redis.Redis) -> None:
    held, clock = fill(client), ManualClock()
    with closing(open_redis_broker(server.url, clock)) as broker:
        assert not [*client.scan_iter(f"{P}j:*"), *client.scan_iter(f"{P}all")]
        assert listed(broker) == [*KEPT, "parked", *READY[1:5], "urgent", "keyed", "later", "expiring", "quiet"]
        assert broker.renew(list(held.values()), 15) == [Renewal(LeaseState.HELD)] * 4
        for job_id, state in (("done", JobState.SUCCEEDED), ("failed", JobState.FAILED), ("started", JobState.STARTED)):
            expect_state(broker, state, job_id)
        expect_cancelled(broker, "cancelled", "no more")
        started = broker.admin.job("started")
        assert started is not None
        assert started.progress == b"half"
        repeat(broker, "done", "ready")

        settle(broker, *(Finished(held[name], JobState.SUCCEEDED, packed()) for name in ("held", "started", "turn-1")))
        assert ids_of(claim(broker)) == [READY[0], "turn-2", *READY[1:]]
        settle(broker, Finished(held["parent"], JobState.SUCCEEDED, packed()))
        child = broker.admin.job("child")
        assert child is not None
        assert (child.parent, child.cancel_reason) == ("parent", OWNER_ENDED)
        assert ids_of(claim(broker, names=["task:t2"])) == ["parked"]

        clock.advance(6)
        swept = broker.sweep(100)
        assert (swept.due, swept.orphaned) == (2, 1)  # `expiring` and `quiet`; `leased`
        clock.advance(55)
        swept = broker.sweep(100)
        assert (swept.expired, swept.due) == (1, 2)  # `later` and `retried`
        early = ["urgent", "turn-2", "rate-2", "retried", "parked"]
        assert ids_of(claim(broker)) == [*early, "ready", READY[4], "keyed", "later", "quiet"]


def test_nothing_of_layout_1_is_left_when_its_jobs_are_gone(server: RedisServer, client: redis.Redis) -> None:
    held, clock = fill(client), ManualClock()
    with closing(open_redis_broker(server.url, clock)) as broker:
        settle(broker, *(Finished(delivery, JobState.SUCCEEDED, packed()) for delivery in held.values()))
        clock.advance(61)
        broker.sweep(100)
        broker.admin.purge("work", WAITING | ENDED)
        broker.sweep(100)
    assert keys(server) == LASTING


def test_workers_of_layout_1_are_kept_away(server: RedisServer, client: redis.Redis) -> None:
    """Its claims and sweeps began with one of these each, and would have dropped the numbers of jobs that they did not find."""
    with closing(open_redis_broker(server.url)) as broker:
        submit(broker, "a")
        for key in ("closed", "owners"):
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                client.zrangebyscore(f"{P}{key}", "-inf", 1)
        client.flushall()  # somebody begins anew, and the workers go on
        broker.sweep(10)
        assert client.get(f"{P}layout") == b"2"
        assert {client.type(f"{P}{key}") for key in ("closed", "owners")} == {b"string"}


@pytest.mark.parametrize("how", ["claim", "sweep", "look"])
def test_what_a_client_of_layout_1_still_submits_is_run(server: RedisServer, client: redis.Redis, how: str) -> None:
    with closing(open_redis_broker(server.url, ManualClock())) as broker:
        late = [row for row in LAYOUT_1["commands"] if row[1] == f"{P}j:00000000000016"]
        client.execute_command(*(part.encode("latin-1") for part in late[0]))  # type: ignore[no-untyped-call]
        client.hset(f"{P}ids", "ready", "00000000000016")
        for index in ("all", "ready:work"):
            client.zadd(f"{P}{index}", {"00000000000016": 16})
        client.hset(f"{P}counts", "1work", 1)
        if how == "look":
            expect_state(broker, JobState.READY, "ready")
        elif how == "sweep":
            broker.sweep(10)
            assert listed(broker) == ["ready"]
        repeat(broker, "ready")
        assert ids_of(claim(broker)) == ["ready"]
        assert listed(broker) == ["ready"]


def test_data_of_a_newer_layout_is_left_alone(server: RedisServer, client: redis.Redis) -> None:
    with closing(open_redis_broker(server.url)) as broker:
        submit(broker, "a")
        client.set(f"{P}layout", 3)
        with pytest.raises(BrokerUnavailable, match="another version of nursery-tasks"):
            claim(broker)
        with pytest.raises(BrokerUnreachable, match="use one version for all workers and clients"):
            open_redis_broker(server.url)
        client.set(f"{P}layout", 2)
        assert ids_of(claim(broker)) == ["a"]
