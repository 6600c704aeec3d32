"""Every sentence of the contract, for each broker that comes with the package and for one that a user might write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from rabbit_server import fresh_bare_rabbit, fresh_rabbit
from redis_server import fresh_url, open_redis_broker
from redis_topologies import fresh_cluster_url

from nursery_tasks.brokers.amqp.bare import BareBroker
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Feature
from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract import Check, ContractHarness, ManualClock, checks


def open_memory(folder: Path) -> ContractHarness:
    clock = ManualClock()
    return ContractHarness(lambda: MemoryBroker(clock=clock), clock=clock)


def open_sqlite(folder: Path) -> ContractHarness:
    clock = ManualClock()
    return ContractHarness(lambda: SqliteBroker(folder / "jobs.db", clock=clock), clock=clock)


def open_redis(folder: Path) -> ContractHarness:
    return on_a_server(fresh_url())


def open_valkey(folder: Path) -> ContractHarness:
    return on_a_server(fresh_url("valkey-server"))


def open_cluster(folder: Path) -> ContractHarness:
    return on_a_server(fresh_cluster_url())


def on_a_server(fresh: AbstractContextManager[str]) -> ContractHarness:
    clock = ManualClock()
    stack = ExitStack()
    url = stack.enter_context(fresh)
    return ContractHarness(lambda: open_redis_broker(url, clock), clock=clock, clean_up=stack.close)


def open_amqp_sqlite(folder: Path) -> ContractHarness:
    clock = ManualClock()
    stack = ExitStack()
    open_amqp = stack.enter_context(fresh_rabbit(lambda: SqliteBroker(folder / "jobs.db", clock=clock)))
    return ContractHarness(open_amqp, clock=clock, clean_up=stack.close)


def open_amqp_redis(folder: Path) -> ContractHarness:
    clock = ManualClock()
    stack = ExitStack()
    url = stack.enter_context(fresh_url())
    open_amqp = stack.enter_context(fresh_rabbit(lambda: open_redis_broker(url, clock), "classic"))
    return ContractHarness(open_amqp, clock=clock, clean_up=stack.close)


def open_amqp_bare(folder: Path) -> ContractHarness:
    stack = ExitStack()
    return ContractHarness(stack.enter_context(fresh_bare_rabbit()), clean_up=stack.close)


def open_toy(folder: Path) -> ContractHarness:
    from toy_broker import ToyBroker

    clock = ManualClock()
    return ContractHarness(lambda: ToyBroker(clock=clock), clock=clock)


@dataclass(frozen=True)
class Candidate:
    """One broker, and what it can do: a check that needs more says nothing about it, and is not even collected."""

    open: Callable[[Path], ContractHarness]
    features: frozenset[Feature]
    clock: bool = True  # whether it has one that a test can move


BROKERS = {
    "memory": Candidate(open_memory, MemoryBroker.features),
    "sqlite": Candidate(open_sqlite, SqliteBroker.features),
    "redis": Candidate(open_redis, RedisBroker.features),
    "valkey": Candidate(open_valkey, RedisBroker.features),
    "cluster": Candidate(open_cluster, RedisBroker.features),
    "amqp with sqlite": Candidate(open_amqp_sqlite, SqliteBroker.features),
    "amqp with redis": Candidate(open_amqp_redis, RedisBroker.features),
    "amqp-bare": Candidate(open_amqp_bare, BareBroker.features, clock=False),
    "toy": Candidate(open_toy, frozenset()),
}
PAIRS = [
    pytest.param(tested, check, id=f"{name}-{check.topic}-{check.name}".replace(" ", "_"))
    for name, tested in BROKERS.items()
    for check in checks
    if check.needs <= tested.features and (tested.clock or not check.clock)
]


@pytest.mark.parametrize(("tested", "check"), PAIRS)
@pytest.mark.usefixtures("examples_can_be_imported")
def test_the_broker_keeps_its_contract(tested: Candidate, check: Check, tmp_path: Path) -> None:
    harness = tested.open(tmp_path)
    try:
        assert harness.features == tested.features
        check.run(harness)
    finally:
        harness.close()
