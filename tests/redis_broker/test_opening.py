"""What is said about a server that cannot be used, or should not be used like this."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import anyio
import pytest
import redis
from redis_server import RedisServer, free_port, need_server, open_redis_broker

from nursery_tasks.brokers.gateway import Gateway
from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.brokers.redis.checks import find_problem
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerFull, BrokerUnavailable, BrokerUnreachable, InvalidBrokerUrl
from nursery_tasks.model.delivery import Finished, Submission
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.schedules import put
from nursery_tasks.testing.contract.steps import packed


def job(job_id: str, payload: bytes = b"{}") -> Submission:
    return Submission(id=job_id, queue="work", task="tests.task", payload=payload)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://me:secret@h?colour=red", "has no option 'colour'"),
        ("redis://me:secret@h?prefix=a{b}", "prefix='a{b}' is not"),
        ("redis://me:secret@h?prefix=", "prefix='' is not"),
        ("redis://me:secret@h?durable=perhaps", "neither yes nor no"),
        ("redis://me:secret@h?timeout=soon", "no number of seconds"),
        ("redis://me:secret@h?timeout=0", "no number of seconds"),
        ("redis://me:secret@h/jobs", "no number of a database"),
        ("redis://me:secret@h:port/0", "its port is no number"),
        ("redis://me:secret@h?ssl_certfile=x", "has no option 'ssl_certfile'"),
        ("unix://?db=0", "it names no socket"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url: str, problem: str) -> None:
    with pytest.raises(InvalidBrokerUrl, match=problem) as caught:
        open_broker(url)
    assert "secret" not in str(caught.value)


def test_nobody_there_costs_one_sentence_with_the_next_step() -> None:
    with pytest.raises(BrokerUnreachable) as caught:
        open_broker(f"redis://me:secret@127.0.0.1:{free_port()}/0")
    assert "no connection" in str(caught.value)
    assert "is the server running, and is this its address?" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_something_else_that_listens_there_is_no_redis() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            link, _ = listener.accept()
            with link:
                link.recv(100)
                link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        with pytest.raises(BrokerUnreachable, match="no Redis server"):
            open_broker(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        thread.join()


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(BrokerUnreachable, match="no answer in time"),
    ):
        open_broker(f"redis://127.0.0.1:{listener.getsockname()[1]}/0?timeout=0.2")


@pytest.mark.parametrize(
    ("info", "durable", "problem", "step"),
    [
        ({"redis_version": "6.0.16"}, False, "version is 6.0.16", "update"),
        ({"cluster_enabled": "1"}, False, "part of a Cluster", "redis+cluster://"),
        ({"redis_mode": "sentinel"}, False, "this is a Sentinel", "redis+sentinel://"),
        ({"role": "slave", "master_host": "a", "master_port": "1"}, False, "a replica of a:1", "name the primary"),
        ({"maxmemory_policy": "allkeys-lru"}, False, "allkeys-lru", "set maxmemory-policy noeviction"),
        ({"aof_enabled": "0"}, True, "does not log", "set appendonly yes"),
        ({"aof_enabled": "0"}, False, "", ""),
        ({"maxmemory_policy": "volatile-lru"}, False, "answers to other programs", "set maxmemory-policy noeviction"),
        ({"maxmemory_policy": "noeviction", "aof_enabled": "1"}, True, "", ""),
    ],
)
def test_each_reason_to_refuse_a_server_names_the_setting(info: dict[str, str], durable: bool, problem: str, step: str) -> None:
    said = {"redis_version": "7.0.15", "role": "master", **info}
    version = tuple(int(part) for part in said["redis_version"].split("."))
    found = find_problem(said, version, durable=durable)
    assert bool(found[0]) == bool(problem)
    assert problem in found[0]
    assert step in found[1]


def start(folder: Path, *settings: str) -> RedisServer:
    """Return a server that `with` starts."""
    need_server()
    return RedisServer(folder, *settings)


def test_a_server_that_evicts_is_refused(tmp_path: Path) -> None:
    with (
        start(tmp_path, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server,
        pytest.raises(BrokerUnreachable, match="set maxmemory-policy noeviction"),
    ):
        open_broker(server.url)


def test_a_replica_is_refused(tmp_path: Path, server: RedisServer) -> None:
    with (
        start(tmp_path, "--replicaof", "127.0.0.1", str(server.port)) as replica,
        pytest.raises(BrokerUnreachable, match="name the primary"),
    ):
        open_broker(replica.url)


def test_a_server_that_forgets_is_warned_about_once_and_refused_when_that_was_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with start(tmp_path) as server:
        for _ in range(2):
            open_broker(server.url).close()
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "gone when it stops; set appendonly yes" in record.message
        with pytest.raises(BrokerUnreachable, match="set appendonly yes"):
            open_broker(f"{server.url}?durable=yes")


def test_a_server_that_logs_its_writes_is_not_warned_about(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    open_broker(f"{server.url}?durable=yes").close()
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def carry_a_look(broker: Broker) -> int:
    """Look the one job up on the event loop; returns how many links that took."""
    gateway = Gateway(broker)
    async with gateway.on_loop():
        assert [stored is not None for stored in await gateway.outcomes(["the one"])] == [True]
        links = len(gateway._carrier._links)
    gateway.close()
    return links


def test_a_password_a_database_and_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "the.sock"
    with start(tmp_path, "--requirepass", "sec/ret@1", "--unixsocket", str(path), "--appendonly", "yes") as server:
        with pytest.raises(BrokerUnreachable, match="refuses the user or the password"):
            open_broker(f"redis://:wrong@127.0.0.1:{server.port}/0")
        with pytest.raises(BrokerUnreachable, match="refuses the user or the password"):
            open_broker(f"redis://127.0.0.1:{server.port}/0")
        for url in (f"redis://:sec%2Fret%401@127.0.0.1:{server.port}/3", f"unix://:sec%2Fret%401@{path}?db=3"):
            broker = open_broker(url)
            broker.submit([job("the one")])
            assert anyio.run(carry_a_look, broker) == 1
            assert "ret" not in broker.name
            broker.close()
        broker = open_broker(f"redis://:sec%2Fret%401@127.0.0.1:{server.port}/0")
        assert broker.outcomes(["the one"]) == [None]  # it is in database 3
        broker.close()


def test_a_user_with_the_rights_of_the_how_to_page_can_do_everything(server: RedisServer) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/use-redis.md").read_text()
    (words,) = [line.split() for line in page.splitlines() if line.startswith("ACL SETUSER")]
    assert server.command(*words).startswith(b"+OK")
    broker = open_redis_broker(f"redis://jobs:secret@127.0.0.1:{server.port}/0")
    broker.listen(["work"], lambda hint: None)
    broker.submit([job("a")])
    assert [delivery.id for delivery in broker.claim(["work"], 1, "w", 15)] == ["a"]
    broker.sweep(10)
    assert len(broker.admin.list_jobs(JobFilter(), 10)) == len(broker.admin.list_queues()) == 1
    broker.close()
    with pytest.raises(BrokerUnavailable, match="this user may not"):
        open_redis_broker(f"redis://jobs:secret@127.0.0.1:{server.port}/0?prefix=other").submit([job("a")])


def test_prefixes_keep_apps_apart(server: RedisServer) -> None:
    one, other = (open_redis_broker(f"{server.url}?prefix={prefix}") for prefix in ("one", "other"))
    one.submit([job("a")])
    assert other.outcomes(["a"]) == [None]
    assert other.claim(["work"], 1, "w", 15) == []
    for broker in (one, other):
        broker.close()


def fill(broker: RedisBroker) -> None:
    for number in range(1000):
        broker.submit([job(f"big-{number}", b"x" * 10_000)])


def test_a_full_server_refuses_new_jobs_and_ends_those_that_it_has(tmp_path: Path) -> None:
    with start(tmp_path, "--appendonly", "yes", "--maxmemory", "4mb") as server:
        broker = open_redis_broker(server.url)
        broker.submit([job("first"), job("second")])
        version = put(broker, "a", 1.0, b"first")
        with pytest.raises(BrokerFull, match="raise its maxmemory"):
            fill(broker)
        stored = len(broker.admin.list_jobs(JobFilter(), 10_000))
        deliveries = broker.claim(["work"], 2, "w", 15)
        assert [delivery.id for delivery in deliveries] == ["first", "second"]
        ends = [Finished(delivery, JobState.SUCCEEDED, packed()) for delivery in deliveries]
        assert broker.settle(ends) == [True, True]
        with pytest.raises(BrokerUnavailable):
            broker.submit([job("one more")])
        with pytest.raises(BrokerFull, match="raise its maxmemory"):
            broker.schedules.fire(ScheduleChange("a", version, None, b"second", (job("one more"),)))
        assert [row.body for row in broker.schedules.look_at_schedules(10).rows] == [b"first"]
        assert broker.outcomes(["one more"]) == [None]
        assert len(broker.admin.list_jobs(JobFilter(), 10_000)) == stored
        broker.close()


def test_a_missing_driver_is_named_with_its_extra(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['redis'] = None\n")
    program = "from nursery_tasks.brokers.url import open_broker\nopen_broker('redis://:secret@h')"
    places = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places}, check=False
    )
    assert "pip install 'redis[hiredis]'" in ended.stderr
    assert "secret" not in ended.stderr.splitlines()[-1]


def test_a_user_who_may_not_publish_is_told_so_before_anything_is_stored(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        with redis.Redis(port=server.port, protocol=2) as client:
            client.execute_command("ACL", "SETUSER", "mute", "on", ">pw", "~{nursery-tasks}:*", "resetchannels", "+@all")
        with pytest.raises(BrokerUnreachable, match=r"may not use the channels .*'&\{PREFIX\}:\*'"):
            open_broker(f"redis://mute:pw@127.0.0.1:{server.port}/0")
        with redis.Redis(port=server.port, protocol=2) as client:
            client.execute_command("ACL", "SETUSER", "mute", "&{nursery-tasks}:*")
        broker = open_broker(f"redis://mute:pw@127.0.0.1:{server.port}/0")
        with redis.Redis(port=server.port, protocol=2) as client:
            client.execute_command("ACL", "SETUSER", "mute", "resetchannels")
        job = Submission(id="a", queue="work", task="t", payload=b"{}")
        assert broker.submit([job])[0].created  # hints are only hints
        broker.close()


def test_a_database_that_is_not_there_and_a_full_house_are_named(tmp_path: Path) -> None:
    with start(tmp_path, "--maxclients", "4", "--databases", "2") as server:
        with pytest.raises(BrokerUnreachable, match="no database of that number"):
            open_broker(f"redis://127.0.0.1:{server.port}/7")
        with ExitStack() as links:
            for _ in range(4):
                client = links.enter_context(redis.Redis(port=server.port, protocol=2))
                client.ping()
            with pytest.raises(BrokerUnreachable, match="takes no more connections"):
                open_broker(server.url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://hidden@127.0.0.1:1/0",
        "redis+sentinel://127.0.0.1:1/service?sentinel_pasword=hidden",
        "redis://127.0.0.1:1/0?Passwort=hidden",
        "redis://127.0.0.1:1/0?auth_token=hidden",
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidBrokerUrl) as caught:
        open_broker(url)
    assert "hidden" not in str(caught.value)
