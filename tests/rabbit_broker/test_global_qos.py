"""`global_qos`: one prefetch for all queues of a worker together."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiormq.exceptions import ConnectionInternalError

from nursery_tasks.brokers.amqp.errors import to_broker_error
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerRefused, BrokerUnavailable, InvalidBrokerUrl
from nursery_tasks.model.delivery import Released, Submission

from .conftest import Host

JOBS = 6


def open_filled(url: str, *queues: str) -> Any:
    """Open a broker and submit jobs to each of these queues."""
    broker = open_broker(url)
    for queue in queues:
        broker.submit([Submission(id=f"{queue}-{n}", queue=queue, task="t", payload=b'{"task":"t"}') for n in range(JOBS)])
    return broker


def held(broker: Any, total: int, *queues: str) -> list[int]:
    """Return how many messages of each queue a worker holds that can run a hundred jobs: once *total* are there and stay."""
    feed = broker.prefetch.feed(queues, 100)
    end = time.monotonic() + 30
    before: list[int] = []
    while True:
        found = [JOBS - broker.queues.transport_queue(queue).ready for queue in queues]
        if sum(found) >= total and found == before:
            feed.close()
            return found
        before = found
        assert time.monotonic() < end, found
        time.sleep(0.1)


def test_one_prefetch_for_all_queues_of_a_worker(host: Host) -> None:
    together = open_filled(host.url(queue_type="classic", prefetch=2, global_qos="yes", api_port=1), "a", "b")
    assert sum(held(together, 2, "a", "b")) == 2
    [delivery] = together.claim(["a", "b"], 1, "w", 15)
    assert together.settle([Released(delivery)]) == [True]
    assert sum(held(together, 2, "a", "b")) == 2  # what a release says to the server does not end it
    together.close()
    each = open_broker(host.url(queue_type="classic", prefetch=2, api_port=1))
    assert held(each, 4, "a", "b") == [2, 2]
    each.close()


def test_one_queue_may_have_it_in_a_worker_of_its_own(host: Host) -> None:
    url = host.url(queue_type__a="classic", prefetch__a=3, global_qos__a="yes", prefetch__b=2, api_port=1)
    broker = open_filled(url, "a", "b")
    assert held(broker, 3, "a") == [3]
    assert held(broker, 2, "b") == [2]
    with pytest.raises(BrokerRefused, match="the queue 'a' is one prefetch for all queues of a worker, and that of 'b'"):
        broker.prefetch.feed(["b", "a"], 10)
    assert held(broker, 3, "a") == [3]  # nothing is left of what was refused
    broker.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"global_qos": "yes"}, "global_qos=yes: quorum queues have no such thing; add queue_type=classic"),
        ({"global_qos__a": "yes"}, r"global_qos\.a=yes: quorum queues .* add queue_type\.a=classic"),
        ({"global_qos": "yes", "queue_type": "classic", "queue_type__b": "quorum"}, r"global_qos\.b=yes: quorum"),
    ],
)
def test_a_url_that_wants_it_of_quorum_queues_is_refused(host: Host, options: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidBrokerUrl, match=said):
        open_broker(host.url(**options))


def test_a_server_that_does_not_have_it_is_asked_before_the_worker_begins(host: Host) -> None:
    open_filled(host.url(), "a").close()  # a quorum queue
    broker = open_broker(host.url(declare="no", global_qos="yes"))
    with pytest.raises(BrokerUnavailable, match=r"no prefetch for all queues .*; leave out global_qos=yes"):
        broker.prefetch.feed(["a"], 10)
    broker.close()


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ("global_qos", "the server has no prefetch for all queues of a worker together"),
        ("transient_nonexcl_queues", "leave out durable=no"),
    ],
)
def test_what_newer_servers_say_is_understood(feature: str, said: str) -> None:
    text = f"INTERNAL_ERROR - Feature `{feature}` is deprecated.\nBy default, this feature is not permitted anymore."
    assert said in str(to_broker_error("amqp://h", ConnectionInternalError(text)))
