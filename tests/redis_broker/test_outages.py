"""The server dies and comes back: what was accepted is there, what runs goes on, and the worker needs nobody's help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest
from anyio import create_task_group, fail_after, sleep, sleep_forever
from proxy import Proxy
from rabbit_server import fresh_rabbit_url
from redis_server import RedisServer, open_redis_broker
from redis_topologies import told
from support import Gate, until, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import Submission

from . import outage_program

OUTAGE_SECONDS = 10.0
JOB_SECONDS = 4.0
DEADLINE = 40.0
LOG_LINES = 10
SHORT_LEASE = 4.0
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
    monkeypatch.setattr("nursery_tasks.brokers.redis.hints.ANSWER_SECONDS", 1.0)
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


@pytest.fixture(params=["redis", "amqp_with_redis"])
def any_url(request: pytest.FixtureRequest, server: RedisServer) -> Generator[str, None, None]:
    """A broker whose jobs are in `server`."""
    if request.param == "redis":
        yield server.url
    else:
        with fresh_rabbit_url(server.url) as url:
            yield url


async def test_work_that_ended_during_an_outage_is_stored_though_every_lease_was_over_when_it_ended(
    server: RedisServer, any_url: str
) -> None:
    """Another worker that is there at once must not take the job before its own has said what became of it."""
    app, beside = App(any_url), App(any_url)
    gate, runs, stale = Gate(), [], []

    async def work() -> int:
        runs.append(1)
        await gate.pass_through()
        return len(runs)

    for each in (app, beside):
        each.task(name="work")(work)
        each.subscribe(lambda event: stale.append(event) if event.kind is EventKind.STALE else None)
    with fail_after(DEADLINE):
        async with app, beside, app.open_worker(lease=SHORT_LEASE):
            job = await app.job("work").enqueue()
            await gate.wait_for(1)
            async with beside.open_worker(lease=SHORT_LEASE):
                server.kill()
                gate.open()
                await sleep(SHORT_LEASE + 1)  # what is tested is how long the server is away
                server.start()
                async with App(any_url) as fresh, fresh.open_worker(lease=SHORT_LEASE):  # sweeps before anything else
                    assert await job == 1
    assert len(runs) == 1
    assert not stale


async def test_a_program_that_awaits_a_job_keeps_it_over_an_outage_that_was_longer_than_its_own_lease(
    server: RedisServer,
) -> None:
    app = App(server.url, owner_lease=SHORT_LEASE)
    gate = Gate()

    @app.task
    async def work() -> str:
        await gate.pass_through()
        return "done"

    with fail_after(DEADLINE):
        async with app, app.open_worker(lease=60), create_task_group() as around:

            async def break_the_server() -> None:
                await gate.wait_for(1)
                server.kill()
                await sleep(SHORT_LEASE + 1)
                server.start()
                async with App(server.url) as fresh, fresh.open_worker():
                    gate.open()

            around.start_soon(break_the_server)
            assert await work.run() == "done"


async def test_a_worker_that_is_cut_off_alone_stops_its_handlers_before_another_one_has_the_job(
    server: RedisServer, proxy: Proxy
) -> None:
    app, beside = App(f"redis://127.0.0.1:{proxy.port}/0?timeout=0.5"), App(server.url)
    began: list[str] = []
    left: list[str] = []

    async def work() -> str:
        worker = str(current_job().worker)
        began.append(worker)
        if worker == "beside":
            return f"{worker}, {len(left)} left"
        try:
            await sleep_forever()
        finally:
            left.append(worker)
        raise AssertionError  # nobody lets it go on

    for each in (app, beside):
        each.task(name="work")(work)
    with fail_after(DEADLINE):
        async with app, beside, app.open_worker(lease=SHORT_LEASE, name="cut-off"):
            job = await app.job("work").enqueue()
            await until(lambda: began == ["cut-off"])
            async with beside.open_worker(lease=SHORT_LEASE, name="beside"):
                proxy.refuse()
                proxy.cut_all()
                assert await beside.handle(job.id).result() == "beside, 1 left"
            proxy.refuse(False)  # or else the worker waits for its broker as long as it may when it stops


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
