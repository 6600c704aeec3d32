"""Every sentence of the contract, for each broker that comes with the package and for one that a user might write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis_server import fresh_url, open_redis_broker

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract import Check, ContractHarness, ManualClock, checks


def open_memory(folder: Path) -> ContractHarness:
    clock = ManualClock()
    return ContractHarness(lambda: MemoryBroker(clock=clock), clock=clock)


def open_sqlite(folder: Path) -> ContractHarness:
    clock = ManualClock()
    return ContractHarness(lambda: SqliteBroker(folder / "jobs.db", clock=clock), clock=clock)


def open_redis(folder: Path) -> ContractHarness:
    clock = ManualClock()
    stack = ExitStack()
    url = stack.enter_context(fresh_url())
    return ContractHarness(lambda: open_redis_broker(url, clock), clock=clock, clean_up=stack.close)


def open_toy(folder: Path) -> ContractHarness:
    from toy_broker import ToyBroker

    clock = ManualClock()
    return ContractHarness(lambda: ToyBroker(clock=clock), clock=clock)


HARNESSES: dict[str, Callable[[Path], ContractHarness]] = {
    "memory": open_memory,
    "sqlite": open_sqlite,
    "redis": open_redis,
    "toy": open_toy,
}


@pytest.mark.parametrize("check", checks, ids=lambda check: f"{check.topic}-{check.name}".replace(" ", "_"))
@pytest.mark.parametrize("broker", HARNESSES)
@pytest.mark.usefixtures("examples_can_be_imported")
def test_the_broker_keeps_its_contract(check: Check, broker: str, tmp_path: Path) -> None:
    harness = HARNESSES[broker](tmp_path)
    try:
        why_not = check.why_not(harness)
        if why_not is not None:
            pytest.skip(why_not)
        check.run(harness)
    finally:
        harness.close()
