"""The fakes that tests of jobs use, themselves tested."""

from __future__ import annotations

from threading import Thread

import pytest

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Hint, Submission
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.testing import FaultyBroker

JOB = Submission(id="a", queue="q", task="t", payload=b"{}")


def test_the_faulty_broker_is_a_broker_with_an_admin_side() -> None:
    broker = FaultyBroker(MemoryBroker())
    assert isinstance(broker, Broker)
    assert broker.admin
    broker.submit([JOB])
    assert broker.admin.list_queues()[0].depth == 1
    assert broker.calls == {"submit": 1, "list_queues": 1}


def test_a_failing_call_has_no_effect_unless_it_is_asked_to() -> None:
    broker = FaultyBroker(MemoryBroker())
    with broker.failing("submit"), pytest.raises(BrokerUnavailable, match="out of order"):
        broker.submit([JOB])
    assert broker.outcomes(["a"]) == [None]
    broker.fail("submit", times=1, effect=True, error=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        broker.submit([JOB])
    assert not broker.submit([JOB])[0].created


def test_a_stalled_call_goes_on_when_it_is_released() -> None:
    broker = FaultyBroker(MemoryBroker(), threads=True)
    stall = broker.stall("submit")
    caller = Thread(target=broker.submit, args=[[JOB]])
    caller.start()
    assert stall.wait_until_reached()
    assert broker.outcomes(["a"]) == [None]
    stall.release()
    caller.join()
    assert broker.outcomes(["a"]) != [None]


def test_a_broker_on_the_event_loop_must_not_stall() -> None:
    with pytest.raises(ValueError, match="threads=True"):
        FaultyBroker(MemoryBroker()).stall("claim")


def test_hints_can_be_lost() -> None:
    broker = FaultyBroker(MemoryBroker())
    heard: list[Hint] = []
    broker.listen(["work"], heard.append)
    broker.submit([JOB])
    broker.hints = False
    broker.submit([Submission(id="b", queue="q", task="t", payload=b"{}")])
    assert heard == [Hint("work", ("q",))]


def test_the_lease_of_an_owner_can_fail_and_stall_like_any_call() -> None:
    broker = FaultyBroker(MemoryBroker(), threads=True)
    broker.submit([Submission(id="a", queue="q", task="t", payload=b"{}", owner=b"o", owner_seconds=15.0)])
    with broker.failing("renew_owners"), pytest.raises(BrokerUnavailable):
        broker.renew_owners([b"o"], 0.0)
    stall = broker.stall("renew_owners")
    caller = Thread(target=broker.renew_owners, args=[[b"o"], 0.0])
    caller.start()
    assert stall.wait_until_reached()
    assert [record.cancel_reason for record in broker.admin.list_jobs(JobFilter(), 10, newest_first=True)] == [None]
    stall.release()
    caller.join()
    assert [record.cancel_reason for record in broker.admin.list_jobs(JobFilter(), 10)] == ["its owner is gone"]
