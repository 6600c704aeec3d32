"""Numbers from a generator through RabbitMQ and a Redis list into one sum, by one command; also while all of it is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rabbit_server import RabbitServer, need_server, shared_server
from redis_server import RedisServer
from redis_server import need_server as need_redis

EXAMPLE = Path(__file__).parents[2] / "examples" / "pipeline.py"
KILLED = """
from nursery_tasks.stages import publisher
from nursery_tasks.worker import forward_line

publisher.LOCK_LEASE_SECONDS = forward_line.LEASE_SECONDS = 2.0
from pipeline import app
"""


class Command:
    """`nursery-tasks run ... --until-done`, in a folder of its own."""

    def __init__(self, folder: Path, rabbit_url: str, redis_url: str, count: int) -> None:
        shutil.copy(EXAMPLE, folder)
        (folder / "killed.py").write_text(KILLED)
        self.folder = folder
        self.log = folder / "out"
        self.environment = {
            **os.environ,
            "NURSERY_TASKS_BROKER": f"sqlite:///{folder / 'jobs.db'}",
            "RABBITMQ_URL": rabbit_url,
            "REDIS_URL": redis_url,
            "COUNT": str(count),
        }

    @contextmanager
    def started(self, *more: str) -> Generator[subprocess.Popen[bytes], None, None]:
        words = [sys.executable, "-m", "nursery_tasks", "run", "killed:app", "--until-done", "--log-level", "info", *more]
        with self.log.open("ab") as log:
            process = subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        with process:
            try:
                yield process
            finally:
                process.kill()

    def shown(self) -> str:
        """Return all that it has shown, also in earlier runs."""
        return self.log.read_text() if self.log.exists() else ""

    def run(self, seconds: float, *more: str) -> str:
        """Run it to its end; returns what it has shown."""
        with self.started(*more) as process:
            code = process.wait(seconds)
        assert code == 0, self.shown()
        return self.shown()


def expected(count: int) -> str:
    return f"the sum is {sum(number * number for number in range(count))}\n"


@pytest.fixture
def redis(tmp_path: Path) -> Generator[RedisServer, None, None]:
    need_redis()
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.mark.timeout(120)
def test_one_command_gives_one_number_and_ends(tmp_path: Path, redis: RedisServer) -> None:
    need_server()
    server = shared_server()
    with server.virtual_host() as host:
        command = Command(tmp_path, f"{server.url}{host}", redis.url, 500)
        assert expected(500) in command.run(90)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ten_thousand_items(tmp_path: Path, redis: RedisServer, backend: str) -> None:
    need_server()
    server = shared_server()
    with server.virtual_host() as host:
        command = Command(tmp_path, f"{server.url}{host}", redis.url, 10_000)
        began = time.monotonic()
        shown = command.run(500, "--backend", backend)
        print(f"10,000 items in {time.monotonic() - began:.1f} s")
    assert expected(10_000) in shown


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_number_is_right_when_the_worker_is_killed_ten_times_and_both_servers_once(
    tmp_path: Path, redis: RedisServer
) -> None:
    need_server()
    (tmp_path / "rabbit").mkdir()
    with RabbitServer(tmp_path / "rabbit") as rabbit:
        command = Command(tmp_path, rabbit.url, redis.url, 10_000)
        for number in range(10):
            before = command.shown().count(" started")
            with command.started() as victim:
                while command.shown().count(" started") == before:
                    assert victim.poll() is None, command.shown()
                    time.sleep(0.02)
                time.sleep(0.3 + 0.1 * number)  # and a little further, wherever that is
                assert victim.poll() is None, command.shown()
                if number == 3:
                    rabbit.restart()
                if number == 6:
                    redis.kill()
                    redis.start()
        shown = command.run(600)
    sums = [line for line in shown.splitlines() if "the sum is" in line]
    assert len(sums) == 1, shown
    assert sums[0].endswith(expected(10_000).strip()), shown
