"""A Cluster: one slot for each prefix, followed wherever it goes. Nothing that was accepted is lost, nothing is done twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import pytest
from redis_server import RedisServer, need_server, open_redis_broker
from redis_topologies import (
    SLOTS,
    Cluster,
    client,
    fresh_cluster_url,
    node_id,
    shared_cluster,
    told,
    url_of,
    wait_for,
)

from nursery_tasks.brokers.redis.cluster import slot_of
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnavailable, BrokerUnreachable
from nursery_tasks.model.delivery import Finished, Hint, Reply, Submission
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import packed

from .load import Load, start_worker, wait_for_the_end
from .test_links import Ear

PREFIX = "moving-3"
SLOT = slot_of(PREFIX)


def job(job_id: str) -> Submission:
    return Submission(id=job_id, queue="work", task="tests.task", payload=b'{"task":"tests.task"}')


@pytest.fixture
def cluster() -> Generator[Cluster, None, None]:
    """A cluster that the test may break; the slot of `PREFIX` is on the first node."""
    need_server()
    assert SLOT < SLOTS // 3
    with TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        yield cluster


@pytest.fixture
def replicated() -> Generator[Cluster, None, None]:
    """The same, where the first node has a replica."""
    need_server()
    with TemporaryDirectory() as folder, Cluster(Path(folder), replicas=1) as cluster:
        yield cluster


# --- where the keys are -------------------------------------------------------------------------------------------------------


def test_the_driver_computes_the_same_slot() -> None:
    from redis.crc import key_slot

    prefixes = ["nursery-tasks", "a", "orders.eu-1:x", "x" * 64]
    assert [slot_of(prefix) for prefix in prefixes] == [key_slot(f"{{{prefix}}}:seq".encode()) for prefix in prefixes]


def test_prefixes_are_spread_over_the_nodes_and_any_node_leads_to_them() -> None:
    with fresh_cluster_url() as url:
        cluster = shared_cluster()
        prefixes = [f"{url.partition('?prefix=')[2]}-{number}" for number in range(12)]
        try:
            for number, prefix in enumerate(prefixes):
                broker = open_broker(f"{url_of([cluster.primaries[number % 3]])}?prefix={prefix}")
                broker.submit([job("a")])
                assert [delivery.id for delivery in broker.claim(["work"], 5, "w", 15)] == ["a"]
                broker.close()
            found = [keys(node, prefix) for node in cluster.primaries for prefix in prefixes]
            assert sum(map(bool, found)) == len(prefixes)  # each prefix is on one node
            assert all(any(keys(node, prefix) for prefix in prefixes) for node in cluster.primaries)
        finally:
            for node in cluster.primaries:
                with client(node) as each:
                    for prefix in prefixes:
                        for key in keys(node, prefix):
                            each.delete(key)


def test_lists_of_other_programs_are_where_the_jobs_are() -> None:
    with fresh_cluster_url() as url:
        prefix = url.partition("?prefix=")[2]
        broker = open_broker(url)
        with client(shared_cluster().owner(slot_of(prefix))) as other:
            other.rpush(f"{{{prefix}}}:in:work", b'{"task": "add", "id": "a"}')
            other.rpush(f"{{{prefix}}}:raw:work", b"hello")
            message, body = broker.claim(["work"], 5, "w", 15)
            assert (message.id, message.raw, body.payload, body.raw) == ("a", False, b"hello", True)
            end = packed(JobState.SUCCEEDED)
            assert broker.settle([Finished(body, JobState.SUCCEEDED, end, Reply("answers", b"res-hello"))]) == [True]
            assert other.lpop(f"{{{prefix}}}:out:answers") == b"res-hello"
        broker.close()


def keys(node: RedisServer, prefix: str) -> list[Any]:
    with client(node) as each:
        return list(each.scan_iter(f"{{{prefix}}}:*", 1000))


def test_hints_come_from_whatever_node_the_url_names() -> None:
    with fresh_cluster_url() as url:
        prefix = url.partition("?prefix=")[2]
        brokers = [open_redis_broker(f"{url_of([node])}?prefix={prefix}") for node in shared_cluster().primaries]
        ears = [Ear() for _ in brokers]
        for broker, ear in zip(brokers, ears, strict=True):
            broker.listen(["work"], ear)
        brokers[0].submit([job("a")])
        for ear in ears:
            ear.wait_for(Hint("work", ("work",)))
        for broker in brokers:
            broker.close()


# --- what is said about it ----------------------------------------------------------------------------------------------------


def test_a_node_named_as_a_single_server_is_refused_with_the_right_url() -> None:
    with fresh_cluster_url(), pytest.raises(BrokerUnreachable, match=r"part of a Cluster.*redis\+cluster://"):
        open_broker(shared_cluster().primaries[0].url)


def test_a_server_that_is_no_part_of_a_cluster_is_refused_with_the_right_url(server: RedisServer) -> None:
    with pytest.raises(BrokerUnreachable, match=r"no part of a Cluster.*redis://host"):
        open_broker(url_of([server]))


def test_a_cluster_that_does_not_answer_is_told_in_a_sentence() -> None:
    with pytest.raises(BrokerUnreachable, match="no node of the Cluster tells where to go") as caught:
        open_broker("redis+cluster://me:secret@127.0.0.1:1,127.0.0.1:2")
    assert "127.0.0.1:1" in str(caught.value)
    assert "127.0.0.1:2" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_facts_name_the_slot_and_its_owner() -> None:
    with fresh_cluster_url() as url:
        broker = open_redis_broker(url)
        slot = slot_of(url.partition("?prefix=")[2])
        owner = shared_cluster().owner(slot)
        assert broker.facts.describe()["Cluster"] == f"3 nodes known, slot {slot} of this prefix on 127.0.0.1:{owner.port}"
        broker.close()


# --- a slot that moves --------------------------------------------------------------------------------------------------------


def begin_move(old: RedisServer, new: RedisServer) -> None:
    told(new, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", node_id(old))
    told(old, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", node_id(new))


def move_keys(old: RedisServer, new: RedisServer) -> None:
    with client(old) as source:
        while True:
            found: Any = source.execute_command("CLUSTER", "GETKEYSINSLOT", SLOT, 100)
            if not found:
                return
            source.execute_command("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *found)


def end_move(nodes: list[RedisServer], new: RedisServer) -> None:
    for node in (new, *(node for node in nodes if node is not new)):
        told(node, "CLUSTER", "SETSLOT", SLOT, "NODE", node_id(new))


def test_nothing_is_done_while_a_slot_moves_and_all_is_there_afterwards(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = cluster.primaries[0], cluster.primaries[1]
    broker = open_redis_broker(f"{cluster.url}?prefix={PREFIX}")
    ear = Ear()
    broker.listen(["work"], ear)
    broker.submit([job(f"job-{number}") for number in range(200)])
    (held,) = broker.claim(["work"], 1, "w", 15)
    begin_move(old, new)
    with monkeypatch.context() as patch:
        patch.setattr("nursery_tasks.brokers.redis.link.FOLLOW_SECONDS", 0.1)
        for half_way in (False, True):
            if half_way:
                with client(old) as source:
                    some: Any = source.execute_command("CLUSTER", "GETKEYSINSLOT", SLOT, 50)
                    source.execute_command("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *some)
            before = len(keys(old, PREFIX)), len(keys(new, PREFIX))
            for call in (
                lambda: broker.submit([job("meanwhile")]),
                lambda: broker.claim(["work"], 5, "w", 15),
                lambda: broker.settle([Finished(held, JobState.SUCCEEDED, packed())]),
                lambda: broker.outcomes(["job-1"]),
                lambda: broker.sweep(100),
            ):
                with pytest.raises(BrokerUnavailable, match="on the way to another node"):
                    call()
            assert (len(keys(old, PREFIX)), len(keys(new, PREFIX))) == before
    stored: list[Any] = []
    waiting = Thread(target=lambda: stored.append(broker.submit([job("meanwhile")])))  # waits for the end of the move
    waiting.start()
    move_keys(old, new)
    end_move(cluster.primaries, new)
    waiting.join()
    assert stored
    assert stored[0][0].created
    assert keys(old, PREFIX) == []
    assert broker.settle([Finished(held, JobState.SUCCEEDED, packed())]) == [True]
    assert len(broker.claim(["work"], 500, "w", 15)) == 200
    ear.heard.clear()
    broker.submit([job("later")])
    ear.wait_for(Hint("work", ("work",)))
    broker.close()


def test_a_slot_that_moves_under_load_costs_no_job_and_no_second_run(cluster: Cluster) -> None:
    """Two moves, to a node that has never seen the scripts and back; a thread submits, others claim and end."""
    url = f"{cluster.url}?prefix={PREFIX}"
    client_side, worker_side = open_redis_broker(url), open_redis_broker(url)
    stop, claimed = Event(), Counter[str]()
    refused: list[str] = []

    def work() -> None:
        outbox: list[Finished] = []
        while not stop.is_set():
            try:
                if not outbox:
                    deliveries = worker_side.claim(["default"], 50, "w", 60)
                    claimed.update(delivery.id for delivery in deliveries)
                    outbox = [Finished(delivery, JobState.SUCCEEDED, packed()) for delivery in deliveries]
                assert all(worker_side.settle(outbox))
                outbox = []
            except BrokerUnavailable as error:
                refused.append(str(error))
            time.sleep(0.002)

    load, worker = Load(client_side), Thread(target=work)
    worker.start()
    try:
        for old, new in ((0, 1), (1, 0)):
            load.wait_for_more(200)
            begin_move(cluster.primaries[old], cluster.primaries[new])
            time.sleep(0.3)  # what is tested is that calls meet the slot while it is on its way
            move_keys(cluster.primaries[old], cluster.primaries[new])
            end_move(cluster.primaries, cluster.primaries[new])
        load.wait_for_more(200)
    finally:
        load.stop()
    counts = wait_for_the_end(client_side, load.accepted)
    stop.set()
    worker.join()
    assert counts == {"succeeded": len(load.accepted)}
    assert set(claimed.values()) == {1}
    assert all("on the way to another node" in text for text in refused)  # on a machine where the moves take long
    client_side.close()
    worker_side.close()


def test_an_empty_slot_that_has_moved_is_followed_without_an_error(cluster: Cluster) -> None:
    broker = open_redis_broker(f"{cluster.url}?prefix={PREFIX}")
    first, _, last = cluster.primaries
    for number, (old, new) in enumerate(((first, last), (last, first))):
        begin_move(old, new)
        end_move(cluster.primaries, new)
        assert broker.claim(["work"], 1, "w", 15) == []
        assert broker.facts.describe()["Cluster"].endswith(f":{new.port}")
        assert broker._link.address.route.epoch == number + 2
    broker.close()


# --- a node that dies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.soak)])
def test_a_node_that_dies_under_load_loses_nothing_that_its_replica_had(
    replicated: Cluster, tmp_path: Path, backend: str
) -> None:
    """The worker's URL names only the node that dies: it has learned of the others. With `replicas=1` no job is lost."""
    victim, replica = replicated.nodes[0], replicated.nodes[3]
    options = f"prefix={PREFIX}&timeout=2&replicas=1"
    log = tmp_path / "log"
    worker = start_worker(f"{url_of([victim])}?{options}", log, backend)
    broker = open_redis_broker(f"{replicated.url}?{options}")
    load = Load(broker)
    try:
        wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") > 50, "work")
        replicated.be_patient(False)
        victim.kill()
        wait_for(lambda: b"role:master" in replica.command("INFO", "replication"), "the failover")
        replicated.be_patient(True)
        wait_for(lambda: load.repeated > 0, "a refusal")
        victim.start()  # it comes back as the replica of the one that has replaced it
        load.wait_for_more(200)
        load.stop()
        counts = wait_for_the_end(broker, load.accepted)
        assert worker.poll() is None
        assert counts == {"succeeded": len(load.accepted)}
    finally:
        load.stop()
        worker.kill()
        worker.wait()
        broker.close()
