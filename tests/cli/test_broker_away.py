"""A worker that is stopped while its broker is away: it uses its drain, and says what it knows of its jobs."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cli_shell import Running, Shell, eventually
from redis_server import RedisServer, need_server

from nursery_tasks import App, JobState

MODULE = """
from pathlib import Path

import anyio

from nursery_tasks import App

app = App()


@app.task
async def work() -> str:
    Path("began").touch()
    while not Path("end").exists():
        await anyio.sleep(0.01)
    return "done"
"""
TERM = signal.SIGTERM


@pytest.fixture
def server() -> Generator[RedisServer, None, None]:
    need_server()
    with TemporaryDirectory() as folder, RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def app(shell: Shell, server: RedisServer) -> Generator[App, None, None]:
    shell.environment["NURSERY_TASKS_BROKER"] = server.url
    shell.write("away.py", MODULE)
    app = App(server.url)
    yield app
    app.sync.close()


def begin(shell: Shell, app: App, *options: str) -> tuple[Running, str]:
    """Start a worker, and return when it runs a job."""
    worker = shell.worker(*options, app="away:app")
    handle = app.sync.enqueue(app.job("work"))
    eventually((shell.directory / "began").exists)
    eventually(lambda: handle.status() is JobState.STARTED)
    return worker, handle.id


def let_it_end(shell: Shell, worker: Running) -> None:
    (shell.directory / "end").touch()
    worker.wait_for("succeeded")


def test_an_outcome_that_cannot_be_stored_is_no_success(shell: Shell, app: App, server: RedisServer) -> None:
    worker, job_id = begin(shell, app, "--drain", "2")
    server.kill()
    let_it_end(shell, worker)
    worker.send(TERM)
    worker.wait_for("waiting for the broker")
    ended = worker.end()
    assert ended.code == 4
    assert "1 job ended here; the broker was away: 1 outcome not stored; they come back when their leases are over" in ended.out
    assert "what these jobs came to is not stored, as far as is known, so they may run again" in ended.err
    assert f"work {job_id}" in ended.err


def test_an_outcome_is_stored_when_the_broker_comes_back_within_the_drain(shell: Shell, app: App, server: RedisServer) -> None:
    worker, job_id = begin(shell, app, "--drain", "20")
    server.kill()
    let_it_end(shell, worker)
    worker.send(TERM)
    worker.wait_for("waiting for the broker")
    server.start()
    ended = worker.end()
    assert ended.code == 0
    assert app.sync.handle(job_id).result(timeout=5) == "done"
    assert "1 job ended here\n" in ended.out + "\n"


def test_jobs_that_reach_nobody_are_not_said_to_be_given_back(shell: Shell, app: App, server: RedisServer) -> None:
    worker, job_id = begin(shell, app, "--drain", "0.5", "--json")
    server.kill()
    worker.send(TERM)
    worker.wait_for("worker-cancelling")
    ended = worker.end()
    assert ended.code == 4
    stopped = json.loads(ended.out.splitlines()[-1])
    told = ("event", "exit_code", "interrupted", "not_stored", "not_given_back")
    assert [stopped[name] for name in told] == ["worker-stopped", 4, 1, 0, 1]
    assert f"work {job_id}" in "".join(line for line in ended.out.splitlines() if json.loads(line)["event"] == "log")


def test_a_second_signal_gives_the_outcomes_up(shell: Shell, app: App, server: RedisServer) -> None:
    worker, _ = begin(shell, app, "--drain", "600")
    server.kill()
    let_it_end(shell, worker)
    worker.send(TERM)
    worker.wait_for("a second signal (Ctrl-C) gives up")
    worker.send(TERM)
    assert worker.end().code == 4  # within the deadline of the test, which is far below the drain


def test_a_crew_says_so_too(shell: Shell, app: App, server: RedisServer) -> None:
    worker = shell.start("run", "away:app", "--max-jobs", "9", "--drain", "0.5")
    worker.wait_for("to stop")
    handle = app.sync.enqueue(app.job("work"))
    eventually((shell.directory / "began").exists)
    eventually(lambda: handle.status() is JobState.STARTED)
    server.kill()
    worker.send(TERM)
    ended = worker.end()
    assert ended.code == 4
    assert "the broker was away: 1 job not given back; they come back when their leases are over" in ended.out
    assert "given back to the queue" not in ended.out
