"""Every sentence of the contract, for each broker that comes with the package and for one that a user might write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from carried_broker import Loop
from rabbit_server import fresh_rabbit, fresh_storeless_rabbit
from redis_server import fresh_url, open_redis_broker
from redis_topologies import fresh_cluster_url

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Broker, Feature
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract import Ability, Check, ContractHarness, ManualClock, Part, checks


def open_memory(folder: Path) -> ContractHarness:
    clock = ManualClock()
    return ContractHarness(lambda: MemoryBroker(clock=clock), clock=clock)


def open_sqlite(folder: Path) -> ContractHarness:
    clock = ManualClock()
    return ContractHarness(lambda: SqliteBroker(folder / "jobs.db", clock=clock), clock=clock)


def open_redis(folder: Path) -> ContractHarness:
    return on_a_server(fresh_url())


def open_redis_on_asyncio(folder: Path) -> ContractHarness:
    return on_a_loop("asyncio")


def open_redis_on_trio(folder: Path) -> ContractHarness:
    return on_a_loop("trio")


def on_a_loop(backend: str) -> ContractHarness:
    """A server whose calls an event loop carries."""
    stack = ExitStack()
    url = stack.enter_context(fresh_url())
    loop = Loop(backend)
    stack.callback(loop.close)
    clock = ManualClock()
    return ContractHarness(lambda: loop.carry(open_redis_broker(url, clock)), clock=clock, clean_up=stack.close)


def open_valkey(folder: Path) -> ContractHarness:
    return on_a_server(fresh_url("valkey-server"))


def open_cluster(folder: Path) -> ContractHarness:
    return on_a_server(fresh_cluster_url())


def on_a_server(fresh: AbstractContextManager[str]) -> ContractHarness:
    clock = ManualClock()
    stack = ExitStack()
    url = stack.enter_context(fresh)
    return ContractHarness(lambda: open_redis_broker(url, clock), clock=clock, clean_up=stack.close)


class LastingMemory(MemoryBroker):
    """A store for RabbitMQ that costs no time of its own: one table behind all brokers that open it, kept when they close."""

    features = MemoryBroker.features | {Feature.DURABLE, Feature.SHARED}

    def close(self) -> None:
        """Stay open: there may be others, and what comes later must find the jobs."""


def open_amqp(folder: Path) -> ContractHarness:
    clock = ManualClock()
    store = LastingMemory(clock=clock)
    return on_rabbitmq(fresh_rabbit(lambda: store, "classic"), clock)


def open_amqp_sqlite(folder: Path) -> ContractHarness:
    clock = ManualClock()
    return on_rabbitmq(fresh_rabbit(lambda: SqliteBroker(folder / "jobs.db", clock=clock)), clock)


def open_amqp_redis(folder: Path) -> ContractHarness:
    clock = ManualClock()
    stack = ExitStack()
    url = stack.enter_context(fresh_url())
    return on_rabbitmq(fresh_rabbit(lambda: open_redis_broker(url, clock), "classic"), clock, stack)


def open_amqp_storeless(folder: Path) -> ContractHarness:
    return on_rabbitmq(fresh_storeless_rabbit())


def on_rabbitmq(
    fresh: AbstractContextManager[Callable[[], Broker]], clock: ManualClock | None = None, stack: ExitStack | None = None
) -> ContractHarness:
    stack = stack or ExitStack()
    return ContractHarness(stack.enter_context(fresh), clock=clock, clean_up=stack.close)


def open_toy(folder: Path) -> ContractHarness:
    from toy_broker import ToyBroker

    clock = ManualClock()
    return ContractHarness(lambda: ToyBroker(clock=clock), clock=clock)


@dataclass(frozen=True)
class Candidate:
    """One broker, and what it can do: a check that needs more says nothing about it, and is not even collected."""

    open: Callable[[Path], ContractHarness]
    abilities: frozenset[Ability]
    clock: bool = True  # whether it has one that a test can move
    topics: frozenset[str] | None = None  # the named sample where another candidate says the rest as well; None: all


# Through RabbitMQ go messages that say that there is work. A memory store behind it shows what they may break in every topic.
# With the stores that people use it is only asked about what messages can change.
MESSAGES = frozenset(
    {
        "close and keep",
        "delay",
        "deliver",
        "foreign",
        "hints",
        "lease",
        "order",
        "outbox",
        "parked jobs",
        "pauses",
        "queues",
        "release and retry",
        "requeue",
        "schedules that fire",
    }
)
# Valkey and a Cluster run the scripts that Redis runs. They may differ in how scripts are loaded and keys are found, and in who
# tells of what has changed.
SCRIPTS = frozenset(
    {
        "close and keep",
        "delay",
        "deliver",
        "ends",
        "event log",
        "foreign",
        "hints",
        "lease",
        "limits",
        "locks",
        "outbox",
        "pauses",
        "queues",
        "schedules",
        "schedules that fire",
        "states",
        "workflows",
    }
)

# An event loop carries the transitions of jobs and some calls of the parts; what they say is the same. Each loop has its half.
ON_ASYNCIO = frozenset({"bounded queues", "close and keep", "deliver", "outbox", "owners", "settle"})
ON_TRIO = frozenset({"at most once", "cancel", "lease", "locks", "outcomes", "stale tokens", "states"})

IN_MEMORY: frozenset[Ability] = MemoryBroker.features | {
    *(Part.ADMIN, Part.LIMITS, Part.LOCKS, Part.REPLIES, Part.OUTBOX, Part.STATES, Part.PARKING, Part.PAUSES, Part.SCHEDULES),
    Part.EVENT_LOG,
    Part.ENDS,
}
STORED: frozenset[Ability] = IN_MEMORY | {Feature.DURABLE, Feature.SHARED, Part.FACTS, Part.POSTBOX}
AT_A_SERVER: frozenset[Ability] = frozenset({Part.REPLIES, Part.FACTS, Part.POSTBOX, Part.QUEUES, Part.PREFETCH})

BROKERS = {
    "memory": Candidate(open_memory, IN_MEMORY),
    "sqlite": Candidate(open_sqlite, STORED),
    "redis": Candidate(open_redis, STORED),
    "redis on asyncio": Candidate(open_redis_on_asyncio, STORED, topics=ON_ASYNCIO),
    "redis on trio": Candidate(open_redis_on_trio, STORED, topics=ON_TRIO),
    "valkey": Candidate(open_valkey, STORED, topics=SCRIPTS),
    "cluster": Candidate(open_cluster, STORED, topics=SCRIPTS),
    "amqp": Candidate(open_amqp, LastingMemory.features | IN_MEMORY | AT_A_SERVER),
    "amqp with sqlite": Candidate(open_amqp_sqlite, STORED | AT_A_SERVER, topics=MESSAGES),
    "amqp with redis": Candidate(open_amqp_redis, STORED | AT_A_SERVER, topics=MESSAGES),
    "amqp-storeless": Candidate(open_amqp_storeless, AT_A_SERVER | {Feature.DELAYS}, clock=False),
    "toy": Candidate(open_toy, frozenset()),
}
PAIRS = [
    pytest.param(
        tested,
        check,
        id=f"{name}-{check.topic}-{check.name}".replace(" ", "_"),
        marks=[] if tested.topics is None or check.topic in tested.topics else [pytest.mark.thinned],
    )
    for name, tested in BROKERS.items()
    for check in checks
    if check.needs <= tested.abilities and (tested.clock or not check.clock)
]


@pytest.mark.parametrize("sample", [MESSAGES, SCRIPTS, ON_ASYNCIO | ON_TRIO], ids=["messages", "scripts", "carried"])
def test_a_sample_names_topics_that_exist(sample: frozenset[str]) -> None:
    assert sample <= {check.topic for check in checks}


@pytest.mark.parametrize(("tested", "check"), PAIRS)
@pytest.mark.usefixtures("examples_can_be_imported")
def test_the_broker_keeps_its_contract(tested: Candidate, check: Check, tmp_path: Path) -> None:
    harness = tested.open(tmp_path)
    try:
        assert harness.abilities == tested.abilities
        check.run(harness)
    finally:
        harness.close()
