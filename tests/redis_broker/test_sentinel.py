"""Servers that a Sentinel watches: the primary is found, and found again when it is another one."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from proxy import Proxy
from redis_server import need_server, open_redis_broker
from redis_topologies import Watched, client, told, wait_for

from nursery_tasks.brokers.url import open_broker, redacted
from nursery_tasks.errors import BrokerUnavailable, BrokerUnreachable
from nursery_tasks.model.delivery import Hint, Submission
from nursery_tasks.model.schedule import ScheduleChange

from .load import Load, start_worker, wait_for_the_end
from .test_links import Ear


def job(job_id: str) -> Submission:
    return Submission(id=job_id, queue="work", task="tests.task", payload=b'{"task":"tests.task"}')


@pytest.fixture
def watched() -> Generator[Watched, None, None]:
    need_server()
    with TemporaryDirectory() as folder, Watched(Path(folder)) as watched:
        yield watched


# --- what is said -------------------------------------------------------------------------------------------------------------


def test_a_service_that_no_sentinel_knows_is_told(watched: Watched) -> None:
    with pytest.raises(BrokerUnreachable, match=r"no Sentinel knows the service 'other'.*SENTINEL MASTERS lists them"):
        open_broker(watched.url.replace("/jobs/", "/other/"))


def test_one_sentinel_that_answers_is_enough_and_none_is_told(watched: Watched) -> None:
    broker = open_redis_broker(watched.url.replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:", 1))
    assert broker.facts.describe()["Sentinel"] == f"2 named, service jobs, primary 127.0.0.1:{watched.servers[0].port}"
    broker.close()
    with pytest.raises(BrokerUnreachable, match=r"no Sentinel answers: 127.0.0.1:1: .*; 127.0.0.1:2: "):
        open_broker("redis+sentinel://127.0.0.1:1,127.0.0.1:2/jobs")


def test_sentinels_and_servers_that_are_mixed_up_are_told_with_the_right_url(watched: Watched) -> None:
    with pytest.raises(BrokerUnreachable, match=r"this is a Sentinel; write the URL as redis\+sentinel://"):
        open_broker(watched.sentinel.url)
    with pytest.raises(BrokerUnreachable, match=r"no Sentinel answers: .*unknown command"):
        open_broker(f"redis+sentinel://127.0.0.1:{watched.servers[0].port}/jobs")


def test_the_servers_and_the_sentinels_have_passwords_of_their_own_and_none_is_shown() -> None:
    need_server()
    passwords = ("--requirepass", "sec/ret@1", "--masterauth", "sec/ret@1")
    with TemporaryDirectory() as folder:
        watched = Watched(Path(folder), *passwords, password="sec/ret@1", sentinel_password="hid&den")
        with watched:
            good = watched.url.replace("://", "://:sec%2Fret%401@") + "?sentinel_password=hid%26den"
            broker = open_broker(good)
            broker.submit([job("a")])
            wrong = (good.replace("%401@", "%402@"), good.replace("hid%26den", "hidden"), good.partition("?")[0])
            texts = [broker.name, repr(broker), redacted(good)]
            broker.close()
            for url in wrong:
                with pytest.raises(BrokerUnreachable, match="password") as caught:
                    open_broker(url)
                texts.append(f"{caught.value!r} {caught.value}")
    assert not [text for text in texts if "ret" in text or "den" in text]


# --- a primary that is another one --------------------------------------------------------------------------------------------


def test_a_primary_that_becomes_a_replica_is_left_without_an_error(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it refuses was not done, so it is repeated elsewhere; and who listens there goes, too."""
    monkeypatch.setattr("nursery_tasks.brokers.redis.hints.QUIET_SECONDS", 0.1)
    old = watched.servers[0]
    broker = open_redis_broker(f"{watched.url}?timeout=2")
    ear = Ear()
    broker.listen(["work"], ear)
    broker.submit([job("before")])
    ear.wait_for(Hint("work", ("work",)))
    wait_for(watched.asks_for_failover, "a Sentinel that takes the replica for a good one")
    new = watched.wait_for_failover(old)
    told(old, "REPLICAOF", "127.0.0.1", new.port)  # its Sentinel does that after some seconds, and closes all connections
    ear.heard.clear()
    assert broker.submit([job("after")])[0].created
    ear.wait_for(Hint("work"))  # look at everything
    with client(old) as found:
        wait_for(lambda: not found.pubsub_numsub("{nursery-tasks}:hint:work")[0][1], "the end of the old subscription")
    broker.submit([job("later")])
    ear.wait_for(Hint("work", ("work",)))
    with client(new) as found:
        assert found.hexists("{nursery-tasks}:jobs:0000000000000", "s2")
    assert broker.facts.describe()["Sentinel"].endswith(f":{new.port}")
    broker.close()


def stored(broker: object, job_id: str) -> bool:
    try:
        return bool(broker.submit([job(job_id)]))  # type: ignore[attr-defined]
    except BrokerUnavailable:
        return False


def test_a_primary_that_was_made_a_replica_by_hand_takes_nothing_and_nobody_believes_that_its_queues_are_empty(
    watched: Watched,
) -> None:
    one, two = watched.servers
    broker = open_redis_broker(f"{watched.url}?replicas=1")
    broker.submit([job("a")])
    watched.sentinel.stop()
    told(two, "REPLICAOF", "NO", "ONE")
    told(one, "REPLICAOF", "127.0.0.1", two.port)
    for call in (lambda: broker.submit([job("b")]), lambda: broker.claim(["other"], 1, "w", 15)):
        with pytest.raises(BrokerUnavailable, match="no Sentinel answers"):
            call()
    broker.close()
    new = open_redis_broker(two.url)
    assert [delivery.id for delivery in new.claim(["work"], 5, "w", 15)] == ["a"]
    new.close()


def test_a_sentinel_that_is_behind_names_a_replica_which_is_not_used(watched: Watched) -> None:
    one, two = watched.servers
    told(watched.sentinel, "SENTINEL", "FLUSHCONFIG")
    told(two, "REPLICAOF", "NO", "ONE")
    told(one, "REPLICAOF", "127.0.0.1", two.port)
    with pytest.raises(BrokerUnreachable, match=r"name 127.0.0.1:\d+ as the primary, and it is a replica; a failover is"):
        open_broker(watched.url)


def test_a_primary_without_its_replica_takes_nothing_when_that_is_its_setting(watched: Watched) -> None:
    one, two = watched.servers
    told(one, "CONFIG", "SET", "min-replicas-max-lag", 1)
    told(one, "CONFIG", "SET", "min-replicas-to-write", 1)
    broker = open_redis_broker(watched.url)
    broker.submit([job("a")])
    two.kill()
    wait_for(lambda: not stored(broker, "b"), "a refusal")
    with pytest.raises(BrokerUnavailable, match=r"misses its replicas \(min-replicas-to-write\)"):
        broker.submit([job("c")])
    two.start()
    wait_for(lambda: stored(broker, "c"), "the replica")
    assert [found is not None for found in broker.outcomes(["a", "c"])] == [True, True]
    broker.close()


def test_what_is_not_on_a_replica_is_not_said_to_be_accepted(watched: Watched) -> None:
    broker = open_redis_broker(f"{watched.url}?replicas=1&timeout=0.5")
    wait_for(lambda: stored(broker, "a"), "a submission")  # a machine that is busy may need more than the half second
    watched.servers[1].kill()
    with pytest.raises(BrokerUnavailable, match=r"too few replicas have it \(0 of 1\).*see \?replicas="):
        broker.submit([job("b")])
    with pytest.raises(BrokerUnavailable, match="too few replicas"):
        broker.locks.lock("name", b"me", 15.0, True)
    with pytest.raises(BrokerUnavailable, match="too few replicas"):
        broker.schedules.fire(ScheduleChange("name", 0, None, b""))
    watched.servers[1].start()
    wait_for(lambda: stored(broker, "b"), "the replica")
    assert not broker.submit([job("b")])[0].created
    broker.close()


@pytest.mark.parametrize("backend", ["trio", *[pytest.param(name, marks=pytest.mark.soak) for name in ("asyncio", "uvloop")]])
def test_a_primary_that_dies_under_load_loses_nothing_that_its_replica_had(
    watched: Watched, tmp_path: Path, backend: str
) -> None:
    """The worker goes over to the new primary by itself, with what it runs; with `replicas=1` no accepted job is lost."""
    victim = watched.servers[0]
    url = f"{watched.url}?timeout=2&replicas=1"
    log = tmp_path / "log"
    worker = start_worker(url, log, backend)
    broker = open_redis_broker(url)
    load = Load(broker)
    try:
        wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") > 50, "work")
        watched.be_patient(False)
        victim.kill()
        new = watched.wait_for_failover(victim)
        watched.be_patient(True)
        wait_for(lambda: load.repeated > 0, "a refusal")
        victim.settings = (*victim.settings, "--replicaof", "127.0.0.1", str(new.port))
        victim.start()
        load.wait_for_more(200)
        load.stop()
        counts = wait_for_the_end(broker, load.accepted)
        assert worker.poll() is None
        assert counts == {"succeeded": len(load.accepted)}
        assert broker.facts.describe()["Sentinel"].endswith(f":{new.port}")
    finally:
        load.stop()
        worker.kill()
        worker.wait()
        broker.close()


def test_a_sentinel_that_hangs_costs_a_second_and_then_the_next_one_is_asked_first(watched: Watched) -> None:
    with Proxy(watched.sentinel.port) as hanging:
        hanging.on("stall", "to server")
        url = watched.url.replace("127.0.0.1:", f"127.0.0.1:{hanging.port},127.0.0.1:", 1)
        broker = open_redis_broker(url)
        assert broker.claim(["work"], 1, "w", 15) == []
        assert broker._link.address.route._places[0] == ("127.0.0.1", watched.sentinel.port)  # type: ignore[attr-defined]
        broker.close()
