"""Nothing is left of jobs that are gone: each index is emptied with them."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis_server import RedisServer, open_redis_broker

from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.model.delivery import Finished, Released, Reply, Retried, Started, Submission
from nursery_tasks.model.limits import Limit
from nursery_tasks.model.listing import JobFilter, WorkerRecord
from nursery_tasks.model.reasons import OWNER_ENDED, OWNER_GONE
from nursery_tasks.model.states import ENDED, WAITING, JobState
from nursery_tasks.model.windows import Window
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.contract.schedules import fire_stale, put, remove
from nursery_tasks.testing.contract.steps import job, packed

from .stored import LASTING, keys


def go_through_everything(broker: RedisBroker, clock: ManualClock) -> None:
    """Make jobs that between them are in every index, and take most of them to an end."""
    plain = {"queue": "work", "task": "t", "payload": b"{}", "keep_seconds": 5.0}
    broker.submit([Submission(id=f"key-{n}", key=f"k{n}", tags=("x",), **plain) for n in range(4)])  # type: ignore[arg-type]
    broker.submit([Submission(id="late", expires_seconds=3.0, **plain)])  # type: ignore[arg-type]
    broker.submit([Submission(id="later", delay_seconds=30.0, **plain)])  # type: ignore[arg-type]
    broker.submit([Submission(id="leased", owner=b"me", owner_seconds=5.0, priority=3, **plain)])  # type: ignore[arg-type]
    for name, window in (("quiet", Window("debounce:n")), ("first", Window("throttle:n", 5.0))):
        how: dict[str, Any] = {**plain, "window": window, "delay_seconds": 2.0}
        broker.submit([Submission(id=f"{name}-{n}", **{**how, "parent": f"p{n}", "queue": f"q{n}"}) for n in range(2)])
    *held, parent = broker.claim(["work"], 3, "worker", 15)
    broker.submit([Submission(id="child", parent=parent.id, owner=parent.token, **plain)])  # type: ignore[arg-type]
    broker.settle([Started(parent), *(Released(delivery, 1.0) for delivery in held[:1])])
    broker.settle([Finished(parent, JobState.FAILED, packed(JobState.FAILED))])
    broker.settle([Retried(delivery, 1.0, packed(JobState.FAILED)) for delivery in held[1:]])
    broker.admin.beat(WorkerRecord(name="worker", node="n", pid=1), 10)
    broker.admin.pause("work")
    broker.admin.resume("work")
    clock.advance(6)
    broker.sweep(100)
    broker.admin.requeue(["child", "late"])


@pytest.mark.parametrize("how", ["swept", "purged"])
def test_only_the_counter_and_the_layout_stay_when_all_jobs_are_gone(server: RedisServer, how: str) -> None:
    clock = ManualClock()
    broker = open_redis_broker(server.url, clock)
    go_through_everything(broker, clock)
    assert len(keys(server)) > 8
    if how == "purged":
        for queue in ("work", "q0", "q1"):
            broker.admin.purge(queue, WAITING | ENDED)
        broker.admin.beat(WorkerRecord(name="worker", node="n", pid=1), 0)
        broker.renew_owners([b"me"], 0)
    else:
        clock.advance(60)
        broker.sweep(100)
        for delivery in broker.claim(["work", "q0", "q1"], 100, "worker", 15):
            broker.settle([Finished(delivery, JobState.SUCCEEDED, packed())])
        clock.advance(15 * 86_400)
        assert broker.sweep(100).dropped
    assert keys(server) == LASTING
    assert broker.admin.list_queues() == []
    broker.close()


def test_a_job_whose_key_was_deleted_by_hand_does_not_stop_its_queue(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    broker.submit([Submission(id=job_id, queue="work", task="t", payload=b"{}") for job_id in ("a", "b")])
    with redis.Redis(port=server.port, protocol=2) as client:
        client.hdel("{nursery-tasks}:jobs:0000000000000", "s1", "m1", "p1")
    assert [delivery.id for delivery in broker.claim(["work"], 10, "worker", 15)] == ["b"]
    assert [found is None for found in broker.outcomes(["a", "b"])] == [True, False]
    broker.close()


@pytest.mark.parametrize("where", ["lease", "due", "expiring", "ended", "owned"])
def test_a_job_whose_key_was_deleted_by_hand_does_not_stop_the_sweeps(server: RedisServer, where: str) -> None:
    clock = ManualClock()
    broker = open_redis_broker(server.url, clock)
    how: dict[str, dict[str, Any]] = {
        "due": {"delay_seconds": 5.0},
        "expiring": {"expires_seconds": 5.0},
        "owned": {"owner": b"me", "owner_seconds": 5.0},
    }
    plain = {"queue": "work", "task": "t", "payload": b"{}", "keep_seconds": 1.0, **how.get(where, {})}
    broker.submit([Submission(id=job_id, **plain) for job_id in ("a", "b")])  # type: ignore[arg-type]
    if where in ("lease", "ended"):
        held = broker.claim(["work"], 2, "worker", 5)
        if where == "ended":
            broker.settle([Finished(delivery, JobState.SUCCEEDED, packed()) for delivery in held])
    with redis.Redis(port=server.port, protocol=2) as client:
        client.hdel("{nursery-tasks}:jobs:0000000000000", "s1", "m1", "p1")
    clock.advance(10)
    swept = broker.sweep(10)
    done = {"lease": swept.returned, "due": swept.due, "expiring": swept.expired, "ended": swept.dropped}
    assert done == {each: int(each == where) for each in done}
    if where == "owned":
        assert cancelled(broker, ["b"]) == 1
    assert len(broker.admin.list_jobs(JobFilter(), 10)) == (where != "ended")
    broker.admin.purge("work", WAITING | ENDED)
    assert broker.admin.list_jobs(JobFilter(), 10) == []
    broker.close()


def test_limits_locks_and_messages_leave_nothing_behind(server: RedisServer) -> None:
    clock = ManualClock()
    broker = open_redis_broker(server.url, clock)
    limits = (Limit("few", most=1), Limit("slow", interval_seconds=60.0), Limit("none", most=1, rejects=True))
    jobs = [
        Submission(id=f"{limit.name}-{n}", queue="work", task="t", payload=b"{}", limits=(limit,))
        for limit in limits
        for n in (1, 2)
    ]
    broker.submit(jobs)
    held = broker.claim(["work"], 10, "worker", 15)
    assert sorted(delivery.id for delivery in held) == ["few-1", "none-1", "slow-1"]
    assert broker.locks.lock("name", b"one", 5, wait=False)
    assert not broker.locks.lock("name", b"two", 5, wait=True)
    with redis.Redis(port=server.port, protocol=2) as client:
        client.rpush("{nursery-tasks}:in:work", b'{"task": "t", "reply_to": "answers"}', b"nobody can read this")
    clock.advance(60)
    broker.sweep(100)
    for _ in range(5):
        for delivery in broker.claim(["work"], 10, "worker", 15):
            reply = Reply("answers", b"1") if delivery.id not in {job.id for job in jobs} else None
            broker.settle([Finished(delivery, JobState.SUCCEEDED, packed(), reply)])
        clock.advance(61)
        broker.sweep(100)
    broker.settle([Finished(delivery, JobState.SUCCEEDED, packed()) for delivery in held])
    assert broker.replies.take_replies("answers", 10) == [b"1", b"1"]
    broker.admin.purge("work", ENDED)
    assert keys(server) == LASTING
    broker.close()


def test_schedules_leave_nothing_behind(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    versions = {name: put(broker, name, moment) for name, moment in (("due", 1.0), ("paused", None), ("moved", 1.0))}
    versions["moved"] = put(broker, "moved", None, version=versions["moved"])
    fire_stale(broker, "due", 0, job("late"))
    fire_stale(broker, "ghost", 1)
    for name, version in versions.items():
        remove(broker, name, version)
    assert keys(server) == LASTING
    broker.close()


@pytest.mark.parametrize("how", ["look", "list"])
def test_a_schedule_whose_key_was_deleted_by_hand_does_not_stay_the_most_overdue(server: RedisServer, how: str) -> None:
    broker = open_redis_broker(server.url)
    put(broker, "gone", 1.0)
    put(broker, "there", 2.0)
    with redis.Redis(port=server.port, protocol=2) as client:
        client.delete("{nursery-tasks}:schedule:gone")
    schedules = broker.schedules
    look = (lambda: schedules.look_at_schedules(1).rows) if how == "look" else (lambda: schedules.list_schedules(1))
    assert [[row.name for row in look()] for _ in range(2)][-1] == ["there"]
    put(broker, "gone", 3.0)
    broker.close()


def test_a_long_list_of_schedules_is_several_calls(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    names = [f"schedule-{number:04}" for number in range(250)]
    for name in names:
        put(broker, name)
    for limit in (1, 99, 100, 101, 250, 1_000):
        assert [row.name for row in broker.schedules.list_schedules(limit)] == names[:limit]
    assert [row.name for row in broker.schedules.list_schedules(150, names[99])] == names[100:]
    broker.close()


def test_an_owner_that_comes_back_does_not_wait_until_all_it_had_is_cancelled(server: RedisServer) -> None:
    clock = ManualClock()
    broker = open_redis_broker(f"{server.url}?timeout=30", clock)

    def owned(*names: str) -> list[Submission]:
        return [Submission(id=name, queue="work", task="t", payload=b"{}", owner=b"me", owner_seconds=5.0) for name in names]

    names = [f"job-{n}" for n in range(6_000)]
    for begin in range(0, 6_000, 2_000):
        broker.submit(owned(*names[begin : begin + 2_000]))
    broker.renew_owners([b"me"], 0)
    assert cancelled(broker, names) == 5_000
    more = [f"more-{n}" for n in range(6_000)]
    for begin in range(0, 6_000, 2_000):
        broker.submit(owned(*more[begin : begin + 2_000]))
    assert cancelled(broker, names) == 6_000
    clock.advance(6)
    broker.sweep(1)
    broker.submit(owned("last"))
    assert cancelled(broker, more) < 6_000
    while broker.sweep(2_000).more:
        pass
    assert cancelled(broker, more) == 6_000
    found = broker.outcomes(["last"])[0]
    assert found is not None
    assert found.state is JobState.READY
    broker.renew_owners([b"me"], 0)
    broker.admin.purge("work", ENDED, 20_000)
    assert keys(server) == LASTING
    broker.close()


@pytest.mark.parametrize("how", ["held", "settled"])
def test_an_owner_of_thousands_lets_them_go_in_several_steps(server: RedisServer, how: str) -> None:
    """One step cancels 5,000 jobs at most, so that it does not stop the server; the sweeps go on from there."""
    broker = open_redis_broker(f"{server.url}?timeout=30")
    broker.submit([Submission(id="parent", queue="parents", task="t", payload=b"{}")])
    (parent,) = broker.claim(["parents"], 1, "worker", 60)
    owner, seconds = (b"me", 60.0) if how == "held" else (parent.token, 0.0)
    names = [f"job-{n}" for n in range(6_000)]
    for begin in range(0, 6_000, 2_000):
        broker.submit(
            [
                Submission(id=name, queue="work", task="t", payload=b"{}", owner=owner, owner_seconds=seconds)
                for name in names[begin : begin + 2_000]
            ]
        )
    if how == "held":
        assert broker.renew_owners([owner], 0) == [True]
        assert broker.renew_owners([owner], 60) == [False]  # nobody can have it back
    assert broker.settle([Finished(parent, JobState.SUCCEEDED, packed())]) == [True]
    assert cancelled(broker, names) == 5_000
    sweeps = 0
    while broker.sweep(500).more:
        sweeps += 1
    assert sweeps == 2
    assert cancelled(broker, names) == 6_000
    outcome = broker.outcomes([names[-1]])[0]
    assert outcome is not None
    assert (OWNER_GONE if how == "held" else OWNER_ENDED).encode() in (outcome.outcome or b"")
    broker.admin.purge("work", ENDED, 10_000)
    broker.admin.purge("parents", ENDED)
    assert keys(server) == [*LASTING, "{nursery-tasks}:swept"]
    broker.close()


def cancelled(broker: RedisBroker, names: list[str]) -> int:
    return sum(found is not None and found.state is JobState.CANCELLED for found in broker.outcomes(names))


def test_a_large_batch_is_one_step(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    jobs = [Submission(id=f"job-{n}", queue="work", task="t", payload=b"{}", key=f"k{n}", owner=b"me", owner_seconds=60.0)
            for n in range(10_000)]  # fmt: skip
    assert all(receipt.created for receipt in broker.submit(jobs))
    assert not any(receipt.created for receipt in broker.submit(jobs))
    deliveries = broker.claim(["work"], 10_000, "worker", 15)
    assert [delivery.id for delivery in deliveries] == [job.id for job in jobs]
    assert len({delivery.token for delivery in deliveries}) == 10_000
    assert all(broker.settle([Finished(delivery, JobState.SUCCEEDED, packed()) for delivery in deliveries[:9_000]]))
    assert len(broker.renew(deliveries, 15)) == 10_000
    found = broker.outcomes([job.id for job in jobs])
    assert sum(each is not None and each.state is JobState.SUCCEEDED for each in found) == 9_000
    assert broker.renew_owners([b"me"], 0) == [True]
    assert broker.admin.purge("work", ENDED, 20_000) == 9_000
    broker.close()


def test_the_children_of_a_job_are_found_without_a_look_at_all_others(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    plain = {"queue": "work", "task": "t", "payload": b"{}"}
    broker.submit([Submission(id="top", **plain)])  # type: ignore[arg-type]
    for place in range(2):
        broker.submit([Submission(id=f"child-{place}", parent="top", **plain)])  # type: ignore[arg-type]
        broker.submit([Submission(id=f"other-{place}-{n}", **plain) for n in range(3_000)])  # type: ignore[arg-type]
    wanted = JobFilter(parent="top")
    with redis.Redis(port=server.port, protocol=2) as client:
        client.config_resetstat()
        assert [record.id for record in broker.admin.list_jobs(wanted, 10)] == ["child-0", "child-1"]
        loads = client.info("commandstats")["cmdstat_hmget"]["calls"]
    assert loads == 4  # two for each child
    assert [record.id for record in broker.admin.list_jobs(wanted, 10, newest_first=True)] == ["child-1", "child-0"]
    first = broker.admin.list_jobs(wanted, 1)[0]
    assert [record.id for record in broker.admin.list_jobs(wanted, 10, after=first.cursor)] == ["child-1"]
    assert broker.admin.list_jobs(JobFilter(parent="child-0"), 10) == []
    broker.close()
