"""The server dies and comes back: what was accepted is there, what runs goes on, and the worker needs nobody's help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest
from anyio import fail_after
from proxy import Proxy
from redis_server import RedisServer, open_redis_broker
from redis_topologies import told
from support import Gate, until, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Submission

from . import outage_program

OUTAGE_SECONDS = 10.0
JOB_SECONDS = 4.0
DEADLINE = 40.0
LOG_LINES = 10
LOOPS = ["asyncio", *[pytest.param(loop, marks=pytest.mark.soak) for loop in ("uvloop", "trio")]]


def test_what_was_accepted_is_there_after_a_kill(server: RedisServer) -> None:
    broker = open_redis_broker(f"{server.url}?timeout=2")
    accepted: list[str] = []
    refused = 0

    def submit_all() -> None:
        nonlocal refused
        for number in range(2_000):
            batch = [f"job-{number}-{each}" for each in range(5)]
            jobs = [Submission(id=job_id, queue="work", task="t", payload=b"{}") for job_id in batch]
            try:
                broker.submit(jobs)
                accepted.extend(batch)
            except BrokerUnavailable:
                refused += 1
                return

    thread = Thread(target=submit_all)
    thread.start()
    while len(accepted) < 500:
        time.sleep(0.001)
    server.kill()
    thread.join()
    server.start()
    assert refused == 1
    assert 500 <= len(accepted) < 10_000
    assert None not in broker.outcomes(accepted)
    claimed = broker.claim(["work"], 20_000, "w", 15)
    assert {*accepted} <= {delivery.id for delivery in claimed}
    broker.close()


@pytest.mark.parametrize(("how", "problem"), [("killed", "no connection"), ("frozen", "no answer in time")])
async def test_who_submits_meanwhile_is_told_in_time_and_repeats_it(server: RedisServer, how: str, problem: str) -> None:
    app = App(f"{server.url}?timeout=1")
    async with app:
        await app.job("work", 1).enqueue()
        server.kill() if how == "killed" else server.send(signal.SIGSTOP)
        with fail_after(5), pytest.raises(BrokerUnavailable, match=problem):
            await app.job("work", 2).with_options(id="the-same").enqueue()
        server.start() if how == "killed" else server.send(signal.SIGCONT)
        handle = await app.job("work", 2).with_options(id="the-same").enqueue()
        assert handle.id == "the-same"
        assert await handle.status() is JobState.READY


async def test_a_worker_does_not_wait_for_the_end_of_its_pause_when_the_server_is_back(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(server.url)
    gate = Gate()

    @app.task
    async def wait() -> int:
        await gate.pass_through()
        return 1

    async with working(app, slots=2):
        first = await wait.enqueue()
        await gate.wait_for(1)
        with monkeypatch.context() as patch:
            patch.setattr("nursery_tasks.worker.backoff.FIRST_SECONDS", 60.0)
            server.kill()
            gate.open()
            await until(lambda: "cannot claim" in caplog.text and "cannot store outcomes" in caplog.text)
            server.start()
            assert await first == 1
            assert await wait.run() == 1


async def test_a_link_that_is_half_open_costs_a_timeout_and_no_job(
    server: RedisServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every link of the worker falls silent, and nobody tells it; what runs goes on, and its outcome comes by a new link."""
    monkeypatch.setattr("nursery_tasks.brokers.redis.hints.QUIET_SECONDS", 0.2)
    app = App(f"redis://127.0.0.1:{proxy.port}/0?timeout=0.5")
    gate = Gate()

    @app.task
    async def wait() -> int:
        await gate.pass_through()
        return current_job().attempt

    async with working(app, slots=2):
        handle = await wait.enqueue()
        await gate.wait_for(1)
        proxy.stall_all()
        gate.open()
        assert await handle == 1
        assert await wait.run() == 1
    assert gate.entered == 2


@pytest.mark.parametrize("backend", LOOPS)
def test_a_worker_gets_over_an_outage_by_itself(server: RedisServer, tmp_path: Path, backend: str) -> None:
    """Jobs that ran when the server died end once, with their results; what came after runs; the log stays short."""
    password = "the/sec ret"
    told(server, "CONFIG", "SET", "requirepass", password)
    server.settings = (*server.settings, "--requirepass", password)
    url = server.url.replace("://", f"://:{quote(password, safe='')}@")
    log = tmp_path / "log"
    worker = subprocess.Popen(
        [sys.executable, outage_program.__file__, backend],
        env={**os.environ, "NURSERY_TASKS_BROKER": url, "LOG": str(log)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    client = App(url)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        during = client.sync.enqueue_many([client.job("work", number, JOB_SECONDS) for number in range(10)])
        end = time.monotonic() + DEADLINE
        while not log.exists() or len(log.read_text().split()) < 10:
            assert time.monotonic() < end
            time.sleep(0.01)
        server.kill()
        with pytest.raises(BrokerUnavailable) as refused:
            client.sync.enqueue(client.job("work", 99, 0.0))
        time.sleep(OUTAGE_SECONDS)  # what is tested is how long the server is away
        server.start()
        assert [handle.result(timeout=DEADLINE) for handle in during] == list(range(10))
        after = client.sync.enqueue_many([client.job("work", number, 0.0) for number in range(10, 20)])
        back = time.monotonic()
        assert [handle.result(timeout=DEADLINE) for handle in after] == list(range(10, 20))
        assert time.monotonic() - back < 10
        assert worker.poll() is None
        assert Counter(log.read_text().split()) == {str(number): 1 for number in range(20)}
    finally:
        client.sync.close()
        worker.terminate()
        said = worker.communicate(timeout=DEADLINE)[1]
    print(f"\n{OUTAGE_SECONDS:g} s outage, {JOB_SECONDS:g} s jobs, {backend}: {len(said.splitlines())} log lines\n{said}")
    assert len(said.splitlines()) <= LOG_LINES, said
    assert "ret" not in said + f"{refused.value!r} {client!r}"
