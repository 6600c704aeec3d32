"""RabbitMQ without a store, end to end: real worker processes, real callers, and both killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after, move_on_after, sleep, to_thread
from proxy import Proxy
from support import working

from nursery_tasks import App, CancelAnswer, Concurrency, Debounce, Throttle
from nursery_tasks.brokers.amqp.storeless import StorelessBroker
from nursery_tasks.brokers.needed import schedules_of
from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnavailable, JobCancelled, NotSupported, UnknownJob
from nursery_tasks.model.delivery import Delivery, LeaseState, Released, Renewal, Retried, Started, Submission
from nursery_tasks.model.reasons import workers_died
from nursery_tasks.model.states import JobState

from . import storeless_program
from .conftest import Host, dead_letters
from .storeless_program import add, fail, gated, slow, stamp, third_time

LOOPS = ["asyncio", "trio"]
SECONDS = 40.0
FOLDER = Path(storeless_program.__file__).parent


@dataclass
class Crew:
    """Worker processes on a virtual host of their own, and the file that their handlers write to."""

    url: str
    log: Path
    started: list[subprocess.Popen[bytes]]

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    async def until_line(self, line: str, times: int = 1) -> None:
        with fail_after(SECONDS):
            while self.lines().count(line) < times:  # noqa: ASYNC110 - another process writes it
                await sleep(0.02)

    def start(self, backend: str = "asyncio", slots: int = 8) -> subprocess.Popen[bytes]:
        words = ["run", "storeless_program:app", "--backend", backend, "--slots", str(slots), "--queues", "default", "--quiet"]
        return self._start(["-m", "nursery_tasks", *words])

    def call(self, name: str) -> subprocess.Popen[bytes]:
        """Start a program that awaits a job of this name."""
        return self._start([str(FOLDER / "storeless_program.py"), name])

    def _start(self, words: list[str]) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(FOLDER), *filter(None, sys.path)])
        environment = {**os.environ, "BROKER": self.url, "LOG": str(self.log), "PYTHONPATH": path}
        process = subprocess.Popen([sys.executable, *words], env=environment)
        self.started.append(process)
        return process


@pytest.fixture
def crew(host: Host, tmp_path: Path) -> Generator[Crew, None, None]:
    crew = Crew(host.url(store=""), tmp_path / "log", [])
    yield crew
    for process in crew.started:
        process.kill()
        process.wait()


@pytest.fixture
def app(crew: Crew) -> Generator[App, None, None]:
    """The app of the program, open to be used here: this process sends, and the others work."""
    broker = open_broker(crew.url)
    with storeless_program.app.use_broker(broker):
        yield storeless_program.app
    broker.close()


# --- what works -----------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_results_errors_retries_and_delays(crew: Crew, app: App, anyio_backend: str) -> None:
    crew.start(anyio_backend)
    with fail_after(SECONDS):
        async with app:
            assert await add.run(1, 2) == 3
            handles = await app.enqueue_many([add.job(n, n) for n in range(100)])
            assert [await handle for handle in handles] == [2 * n for n in range(100)]
            with pytest.raises(ValueError, match="no such file"):
                await fail.run("no such file")
            assert await third_time.run() == 3
            began = time.time()
            late = [await stamp.options(delay=seconds).enqueue(f"{seconds}") for seconds in (1.6, 0.3, 0.9)]
            moments = [await handle - began for handle in late]
    assert all(moment >= seconds for moment, seconds in zip(moments, (1.6, 0.3, 0.9), strict=True))
    assert [line for line in crew.lines() if line.startswith("ran")] == ["ran 0.3", "ran 0.9", "ran 1.6"]
    assert [line for line in crew.lines() if line.startswith("attempt")] == ["attempt 1", "attempt 2", "attempt 3"]


@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_a_cancel_reaches_what_runs_and_what_waits(crew: Crew, app: App, anyio_backend: str) -> None:
    crew.start(anyio_backend, slots=1)
    with fail_after(SECONDS):
        async with app:
            running = await slow.enqueue("runs", 60.0)
            await crew.until_line("began runs")
            waiting = await slow.enqueue("waits", 60.0)
            assert await waiting.cancel("not wanted") is CancelAnswer.CANCELLED
            assert await running.cancel("not wanted") is CancelAnswer.CANCELLED
            for handle in (running, waiting):
                with pytest.raises(JobCancelled, match="not wanted"):
                    await handle
            with move_on_after(SECONDS) as scope:  # awaited is owned: it ends with whoever awaits it
                scope.deadline = anyio.current_time() + 1.5
                await slow.run("owned", 60.0)
            assert scope.cancelled_caught
            assert await add.run(1, 1) == 2
    assert crew.lines() == ["began runs", "cancelled runs", "began owned", "cancelled owned"]


def test_a_worker_that_starts_later_hears_of_cancels(host: Host) -> None:
    client, worker = open_broker(host.url(store="")), open_broker(host.url(store=""))
    client.submit([job("a", 3), job("b", 3)])
    assert client.cancel(["a"], "not wanted") == [CancelAnswer.CANCELLED]
    assert [delivery.id for delivery in claim_all(worker, 1)] == ["b"]
    assert worker.claim(["work"], 10, "w", 15.0) == []
    worker.close()
    client.close()


def test_anybody_may_cancel_what_waits_where_workers_run(host: Host) -> None:
    client, other, worker = (open_broker(host.url(store="")) for _ in range(3))
    assert worker.claim(["work"], 10, "w", 15.0) == []  # it is a worker from now on
    client.submit([job("a", 3)])
    assert other.cancel(["a"], "not wanted") == [CancelAnswer.UNKNOWN]  # nobody holds it, and only the client knows it
    end = time.monotonic() + SECONDS
    while client.outcomes(["a"])[0].state is not JobState.CANCELLED:  # type: ignore[union-attr]
        assert worker.claim(["work"], 10, "w", 15.0) == []
        assert time.monotonic() < end
    client.submit([job("b", 3)])
    [delivery] = claim_all(worker, 1)
    assert other.cancel(["b"], "stop") == [CancelAnswer.REQUESTED]
    assert worker.renew([delivery], 15.0) == [Renewal(LeaseState.CANCEL, "stop")]
    for broker in (worker, other, client):
        broker.close()


# --- what breaks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_job_of_a_killed_worker_runs_again(crew: Crew, app: App) -> None:
    worker = crew.start(slots=1)
    with fail_after(SECONDS):
        async with app:
            handle = await slow.enqueue("again", 1.0)
            await crew.until_line("began again")
            worker.kill()
            crew.start("trio", slots=1)
            assert await handle == "again"
    assert crew.lines() == ["began again", "began again", "ended again"]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_a_killed_caller_awaited_is_cancelled(crew: Crew) -> None:
    crew.start()
    caller = crew.call("owned")
    await crew.until_line("began owned")
    caller.kill()
    await crew.until_line("cancelled owned")


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_both_sides_go_on_when_all_connections_were_closed(crew: Crew, app: App, host: Host) -> None:
    crew.start()
    with fail_after(SECONDS):
        async with app:
            handle = await gated.enqueue("over it")
            await crew.until_line("began over it")
            await to_thread.run_sync(host.close_all_connections)
            await crew.until_line("cancelled over it")  # what runs when the link breaks is given up, and begins again
            await crew.until_line("began over it", times=2)
            Path(f"{crew.log}.open").touch()
            assert await handle == "over it"
            done = 0
            while done < 10:
                try:
                    assert await add.run(done, 1) == done + 1
                    done += 1
                except BrokerUnavailable:
                    continue
    assert crew.lines().count("ended over it") == 1


def test_a_program_without_a_loop_gets_its_results(crew: Crew, app: App) -> None:
    crew.start()
    assert app.sync.run(add.job(1, 2)) == 3
    handles = app.sync.enqueue_many([add.job(n, n) for n in range(20)])
    assert [handle.result(timeout=SECONDS) for handle in handles] == [2 * n for n in range(20)]
    with pytest.raises(ValueError, match="no such file"):
        app.sync.run(fail.job("no such file"))
    asleep = app.sync.enqueue(slow.job("asleep", 60.0))
    while "began asleep" not in crew.lines():
        time.sleep(0.02)
    assert asleep.cancel(wait=SECONDS) is CancelAnswer.CANCELLED


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_an_outcome_waits_for_a_caller_whose_link_is_broken(crew: Crew, host: Host) -> None:
    crew.start()
    with Proxy(host.server.port) as proxy:
        broker = open_broker(host.url(proxy.port, store="", timeout=2))
        with storeless_program.app.use_broker(broker), fail_after(SECONDS):
            async with storeless_program.app:
                handle = await slow.enqueue("meanwhile", 1.0)
                await crew.until_line("began meanwhile")
                proxy.refuse()
                proxy.cut_all()
                await crew.until_line("ended meanwhile")
                proxy.refuse(False)
                assert await handle == "meanwhile"
        broker.close()


# --- what has failed for good ---------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_fails_for_good_is_put_aside_with_its_reason(host: Host) -> None:
    app = App(host.url(store=""))

    @app.task(retry=None)
    async def work(text: str) -> str:
        if text == "bad":
            raise ValueError("no such file")
        return text

    async with working(app, slots=2):
        with pytest.raises(ValueError, match="no such file"):
            await work.run("bad")
        exchange = f"exchanges/{host.name}/nursery-tasks/publish"
        message = {"routing_key": "default", "payload": "\x01 no job", "payload_encoding": "string"}
        await to_thread.run_sync(host.server.api, "POST", exchange, {**message, "properties": {"type": "nursery-tasks.parcel"}})
        assert await work.run("good") == "good"
        found = await to_thread.run_sync(dead_letters, host, "default", 2)
    failed, unreadable = (each["properties"]["headers"] for each in found)
    assert (failed["nursery-tasks-state"], failed["nursery-tasks-attempts"]) == ("failed", 1)
    assert failed["nursery-tasks-reason"] == "ValueError: no such file"
    assert b"work" in b64decode(found[0]["payload"])
    assert unreadable["nursery-tasks-state"] == "unreadable"
    assert "cannot be decoded" in unreadable["nursery-tasks-reason"]
    assert b64decode(found[1]["payload"]) == b"\x01 no job"


def die_with(url: str, count: int, name: str) -> None:
    """Have a worker claim so many jobs, start one of them, and die."""
    command = [sys.executable, str(FOLDER / "storeless_victim.py"), url, str(count), name]
    assert subprocess.run(command, timeout=SECONDS, check=False).returncode == -signal.SIGKILL


def claim_all(broker: Broker, count: int) -> list[Delivery]:
    """Claim until so many jobs are there."""
    found: list[Delivery] = []
    end = time.monotonic() + SECONDS
    while len(found) < count and time.monotonic() < end:
        found += broker.claim(["work"], count - len(found), "w", 15.0)
    return found


def job(job_id: str, max_crashes: int) -> Submission:
    return Submission(job_id, "work", "tests.task", b'{"task":"tests.task"}', max_crashes=max_crashes)


def test_only_the_job_that_was_started_is_blamed_for_a_crash(host: Host) -> None:
    url = host.url(store="")
    broker = open_broker(url)
    names = ["beside-1", "killer", "beside-2", "beside-3"]
    broker.submit([job(name, max_crashes=1) for name in names])
    die_with(url, len(names), "killer")
    found = claim_all(broker, 3)
    assert sorted(delivery.id for delivery in found) == ["beside-1", "beside-2", "beside-3"]
    assert {(delivery.attempt, delivery.crashes) for delivery in found} == {(1, 0)}
    assert min(delivery.lapses for delivery in found) > 0
    [dead] = broker.outcomes(["killer"])
    assert dead is not None
    assert dead.state is JobState.DEAD
    assert workers_died(1).encode() in (dead.outcome or b"")
    [letter] = dead_letters(host, "work", 1)
    assert letter["properties"]["headers"]["nursery-tasks-reason"] == workers_died(1)
    broker.close()


def test_crashes_add_up_and_a_lost_link_is_none(host: Host) -> None:
    url = host.url(store="")
    with Proxy(host.server.port) as proxy:
        broker = open_broker(host.url(proxy.port, store=""))
        broker.submit([job("a", max_crashes=2)])
        die_with(url, 1, "a")  # not counted: nothing had made it suspicious
        [delivery] = claim_all(broker, 1)
        assert broker.settle([Started(delivery)]) == [True]
        proxy.cut_all()
        end = time.monotonic() + SECONDS
        while broker.renew([delivery], 15.0) != [Renewal(LeaseState.LOST)]:
            assert time.monotonic() < end
            time.sleep(0.01)
        while True:  # a worker does so each second
            with suppress(BrokerUnavailable):
                broker.sweep(10)
                break
        [delivery] = claim_all(broker, 1)
        assert (delivery.crashes, delivery.attempt) == (0, 1)
        assert broker.settle([Released(delivery)]) == [True]
        die_with(url, 1, "a")
        [delivery] = claim_all(broker, 1)
        assert (delivery.crashes, delivery.attempt) == (1, 2)
        assert broker.settle([Retried(delivery, 0.0)]) == [True]
        [delivery] = claim_all(broker, 1)
        assert (delivery.crashes, delivery.attempt) == (1, 3)
        assert broker.settle([Released(delivery)]) == [True]
        die_with(url, 1, "a")
        while broker.outcomes(["a"])[0].state is not JobState.DEAD:  # type: ignore[union-attr]
            assert broker.claim(["work"], 1, "w", 15.0) == []
            assert time.monotonic() < end + SECONDS
        broker.close()


def test_looks_at_queues_that_are_not_there_leave_the_line_up(host: Host) -> None:
    """The server closes a channel for each; the driver may use its number again before the server knows that it is free."""
    broker = open_broker(host.url(store=""))
    assert isinstance(broker, StorelessBroker)
    broker.submit([job("a", max_crashes=1)])
    [delivery] = claim_all(broker, 1)
    assert broker.settle([Started(delivery)]) == [True]  # now there is a mark, and each job is looked up
    for _ in range(5):
        assert broker._transport.count_crashes([f"job-{number}" for number in range(64)]) == [0] * 64
    assert broker._transport.count_crashes(["a"]) == [1]
    broker.close()


# --- what needs a store ---------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_needs_a_store_says_so(host: Host) -> None:
    app = App(host.url(store=""))

    @app.task
    async def work() -> None: ...

    async with app:
        calls: list[Callable[[], Any]] = [
            work.options(key="k").enqueue,
            work.options(limits=[Concurrency(1, name="x")]).enqueue,
            work.options(delivery="at_most_once").enqueue,
            work.options(debounce=Debounce(2)).enqueue,
            work.options(throttle=Throttle(2)).run,
            app.handle("somebody-elses").status,
            app.handle("somebody-elses").result,
            app.workers,
        ]
        for call in calls:
            with pytest.raises((NotSupported, UnknownJob)) as caught:
                await call()
            assert "store='redis://..." in str(caught.value)
            assert len(str(caught.value).splitlines()) <= 3
        with pytest.raises(NotSupported, match="has no locks; give it a store"):
            async with app.lock("x"):
                pass
        with pytest.raises(NotSupported, match=r"has no schedules; give it a store: App\(\.\.\., store="):
            schedules_of(app.connection.gateway.broker)


def test_the_doctor_says_what_there_is(crew: Crew) -> None:
    command = [sys.executable, "-m", "nursery_tasks", "doctor", "--broker", crew.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout
    assert "store none: a job is its message" in done.stdout
    assert "-> give it a store" in done.stdout
