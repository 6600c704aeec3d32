"""Brokers against the memory broker: the same random calls, the same answers.

The examples are the same on each run. `make soak` looks for new ones; how many, `NURSERY_TASKS_EXAMPLES` says.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from broken_brokers import (
    CancelIsForgotten,
    CancelsDoNotAskForTheOwner,
    DebounceDoesNotWaitAgain,
    DebounceExpiresAsItsFirst,
    FailureIsShownAsOutcome,
    LastInFirstOut,
    LostOwnersDoNotWait,
    LostOwnersWaitForEver,
    NeighboursAreBlamed,
    OwnersKeepWhatIsRepeated,
    OwnersNeedNotBeThere,
    RemovalsBringNoJobs,
    ThrottleEndsWithItsJob,
    VersionsAreNotCompared,
    VersionsCountPerRow,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from rabbit_server import fresh_rabbit
from redis_server import fresh_url, open_redis_broker
from redis_topologies import fresh_cluster_url

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.model.states import ENDED, HELD, JobState
from nursery_tasks.testing.contract import ContractHarness, ManualClock
from nursery_tasks.testing.contract.machine import BrokerMachine

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]  # a shared machine; and a step may find nothing to do

QUICK = settings(
    max_examples=60, stateful_step_count=40, derandomize=True, database=None, deadline=None, suppress_health_check=SLOW
)
SOAK = settings(
    max_examples=int(os.environ.get("NURSERY_TASKS_EXAMPLES", "3000")),
    stateful_step_count=100,
    derandomize=False,
    deadline=None,
    suppress_health_check=SLOW,
    print_blob=True,
)


class MemoryMachine(BrokerMachine):
    """Two memory brokers: the answers are equal anyway, so this is about what always holds, inside too."""

    broker: type[MemoryBroker] = MemoryBroker

    def new_harness(self) -> ContractHarness:
        clock = ManualClock()
        return ContractHarness(lambda: self.broker(clock=clock), clock=clock)

    @invariant()
    def indexes_fit_the_jobs(self) -> None:
        table = self.twins.oracle._state.table
        jobs = table.jobs.values()
        assert table.held == {job.submitted.id: job for job in jobs if job.state in HELD}
        assert all(bool(job.token) == (job.state in HELD) for job in jobs)
        assert table.keys == {job.unique: job.submitted.id for job in jobs if job.unique and job.state not in ENDED}
        owned = {job.submitted.id: job.owner for job in jobs if job.owner is not None and job.state not in ENDED}
        assert {job_id: owner for owner, group in table.owned.items() for job_id in group} == owned
        owners = {*self.twins.oracle._state.leases._until, *(job.token for job in table.held.values())}
        assert all(job.owner in owners or job.cancel_asked for job in jobs if job.submitted.id in owned)
        assert [job.sequence for job in jobs] == sorted(job.sequence for job in jobs)
        order = self.twins.oracle._state.order
        for state, queued in (
            (JobState.READY, {entry[-1].submitted.id for heap in order._ready.values() for entry in heap}),
            (JobState.SCHEDULED, {job.submitted.id for job in order.due}),
        ):
            assert {job.submitted.id for job in jobs if job.state is state and job.gate is None} <= queued
        gates = table.gates
        ready = [job for job in jobs if job.state is JobState.READY]
        assert all((job.gate is not None) == (gates.next_of(job) is not None) for job in ready)
        assert all(job.gate is None or job.state is JobState.READY for job in jobs)
        lines = {
            gate.id: {entry[-1].submitted.id for entry in gate.line if entry[-1].gate is gate} for gate in gates._gates.values()
        }
        assert all(job.state not in ENDED and job.submitted.limits[0].ordered for job in jobs if job.has_turn)
        turns = [(job.submitted.limits[0].name, job.submitted.id) for job in jobs if job.has_turn]
        assert len({name for name, _ in turns}) == len(turns)
        assert all(
            job.has_turn for job in jobs if job.submitted.limits and job.submitted.limits[0].ordered and job.state in HELD
        )
        assert {job.submitted.id: job.gate.id for job in jobs if job.gate} == {
            job_id: gate_id for gate_id, line in lines.items() for job_id in line
        }
        assert {gate.id: gate.count for gate in gates._gates.values()} == {
            gate_id: len(line) for gate_id, line in lines.items()
        }
        held = [
            (limit.name, job.submitted.id)
            for job in table.held.values()
            for limit in job.submitted.limits
            if limit.most and not limit.ordered
        ] + turns
        assert sorted((name, job_id) for name, group in gates.held.items() for job_id in group) == sorted(held)
        schedules = self.twins.oracle._state.schedules
        assert schedules._looks == sorted(
            (row.look_at, row.name) for row in schedules._rows.values() if row.look_at is not None
        )
        now = self.twins.now()
        for gate in gates._gates.values():
            is_due = gate.opens_at is not None and gate.opens_at <= now
            assert gate.is_open or is_due or not gates.has_room(gate.limit, now)
            assert not gate.is_open or any(entry[1] == gate.id for entry in gates._open[gate.queue])


class SqliteMachine(BrokerMachine):
    def new_harness(self) -> ContractHarness:
        clock = ManualClock()
        folder = tempfile.TemporaryDirectory()
        return ContractHarness(
            lambda: SqliteBroker(f"{folder.name}/jobs.db", clock=clock), clock=clock, clean_up=folder.cleanup
        )


class RedisMachine(BrokerMachine):
    def fresh(self) -> AbstractContextManager[str]:
        return fresh_url()

    def new_harness(self) -> ContractHarness:
        clock = ManualClock()
        stack = ExitStack()
        url = stack.enter_context(self.fresh())
        return ContractHarness(lambda: open_redis_broker(url, clock), clock=clock, clean_up=stack.close)


class AmqpMachine(BrokerMachine):
    """RabbitMQ with a store that is in order by itself, so what is wrong is what comes between the two."""

    def new_harness(self) -> ContractHarness:
        clock = ManualClock()
        stack = ExitStack()
        store = MemoryBroker(clock=clock)
        open_amqp = stack.enter_context(fresh_rabbit(lambda: store, "classic"))
        return ContractHarness(open_amqp, clock=clock, clean_up=stack.close)


class ValkeyMachine(RedisMachine):
    def fresh(self) -> AbstractContextManager[str]:
        return fresh_url("valkey-server")


class ClusterMachine(RedisMachine):
    def fresh(self) -> AbstractContextManager[str]:
        return fresh_cluster_url()


class ToyMachine(BrokerMachine):
    exact_sweeps = False

    def new_harness(self) -> ContractHarness:
        from toy_broker import ToyBroker

        clock = ManualClock()
        return ContractHarness(lambda: ToyBroker(clock=clock), clock=clock)


MACHINES = {"memory": MemoryMachine, "sqlite": SqliteMachine, "redis": RedisMachine}
MORE_MACHINES = {**MACHINES, "valkey": ValkeyMachine, "cluster": ClusterMachine}


@pytest.mark.parametrize("name", MACHINES)
def test_a_broker_answers_as_the_memory_broker_does(name: str) -> None:
    run_state_machine_as_test(MACHINES[name], settings=QUICK)


def test_rabbitmq_answers_as_its_store_does() -> None:
    run_state_machine_as_test(AmqpMachine, settings=settings(QUICK, max_examples=15))


@pytest.mark.usefixtures("examples_can_be_imported")
def test_a_broker_with_few_features_is_compared_by_what_it_has() -> None:
    run_state_machine_as_test(ToyMachine, settings=QUICK)


@pytest.mark.soak
@pytest.mark.parametrize("name", MORE_MACHINES)
def test_a_broker_answers_as_the_memory_broker_does_in_many_more_cases(name: str) -> None:
    run_state_machine_as_test(MORE_MACHINES[name], settings=SOAK)


@pytest.mark.parametrize(
    "cls",
    [
        CancelIsForgotten,
        CancelsDoNotAskForTheOwner,
        DebounceDoesNotWaitAgain,
        DebounceExpiresAsItsFirst,
        FailureIsShownAsOutcome,
        LastInFirstOut,
        pytest.param(LostOwnersDoNotWait, marks=pytest.mark.thinned),  # it takes hundreds of runs; the suite finds it too
        LostOwnersWaitForEver,
        NeighboursAreBlamed,
        OwnersKeepWhatIsRepeated,
        OwnersNeedNotBeThere,
        RemovalsBringNoJobs,
        ThrottleEndsWithItsJob,
        VersionsAreNotCompared,
        pytest.param(VersionsCountPerRow, marks=pytest.mark.thinned),  # likewise
    ],
    ids=lambda cls: cls.__name__,
)
def test_the_machine_finds_what_is_broken(cls: Any) -> None:
    class BrokenMachine(MemoryMachine):
        broker = cls

    with pytest.raises(AssertionError, match=r"the memory broker says|held are|no move of|was given|never come back"):
        run_state_machine_as_test(BrokenMachine, settings=settings(QUICK, phases=[Phase.generate], max_examples=300))
