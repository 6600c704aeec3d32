"""A node of its own, on which everything goes wrong that can: alarms, consumer timeouts, restarts."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from anyio import fail_after, sleep, to_thread
from rabbit_server import RabbitServer, need_server
from redis_broker.load import Load, start_worker, wait_for_the_end

from nursery_tasks import App, Job, JobHandle
from nursery_tasks.brokers.url import open_broker, with_store
from nursery_tasks.errors import BrokerUnavailable

from .conftest import Host

SECONDS = 300.0
HASTY = "{consumer_timeout, 1000}, {channel_tick_interval, 500}"


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_worker_lives_through_alarms_and_consumer_timeouts(tmp_path: Path) -> None:
    need_server()
    with TemporaryDirectory() as folder:
        server = RabbitServer(Path(folder), HASTY)
        await to_thread.run_sync(server.start)
        try:
            with fail_after(SECONDS):
                await live_through(server, App(f"{server.url}?timeout=2", store=f"sqlite:///{tmp_path}/jobs.db"))
        finally:
            await to_thread.run_sync(server.kill)


async def live_through(server: RabbitServer, app: App) -> None:
    began: list[int] = []

    @app.task
    async def work(number: int, seconds: float = 0.0) -> int:
        began.append(number)
        await sleep(seconds)
        return number

    async with app, app.open_worker(slots=3):
        assert await work.run(1, 4.0) == 1  # longer than the server lets a message be held: it closes the channel
        assert await work.run(2) == 2
        await to_thread.run_sync(server.control, "set_vm_memory_high_watermark", "0.000001")
        problem = ""
        while "alarm" not in problem:  # the first message is how the server notices who publishes
            try:
                await work.options(id="3").enqueue(3)
            except BrokerUnavailable as error:
                problem = str(error)
        await to_thread.run_sync(server.control, "set_vm_memory_high_watermark", "0.5")
        assert await (await again(work.options(id="3").job(3))) == 3
        await app.enqueue_many([work.options(id=str(n)).job(n, 0.2) for n in range(4, 14)])
        await to_thread.run_sync(server.restart)
        assert await (await again(work.options(id="14").job(14))) == 14
        assert [await app.handle(str(n)) for n in range(4, 14)] == list(range(4, 14))
    assert Counter(began) == Counter(range(1, 15))


async def again(job: Job[int]) -> JobHandle[int]:
    """Submit a job until the broker takes it."""
    while True:
        try:
            return await job.enqueue()
        except BrokerUnavailable:
            await sleep(0.1)


def kill_all(tmp_path: Path, server: RabbitServer, url: str, kills: list[str]) -> None:
    """Kill workers and servers under load, and count what became of the jobs."""
    log = tmp_path / "log"
    broker = open_broker(url)
    workers = [start_worker(url, log, backend) for backend in ("asyncio", "trio")]
    load = Load(broker)
    try:
        for number, victim in enumerate(kills):
            load.wait_for_more(60)
            if victim == "server":
                server.restart()
            else:
                place = number % len(workers)
                workers[place].kill()
                workers[place].wait()
                workers[place] = start_worker(url, log, ("asyncio", "trio")[place])
            for place, worker in enumerate(workers):  # one that began while there was no server has ended
                if worker.poll() is not None:
                    workers[place] = start_worker(url, log, ("asyncio", "trio")[place])
        load.stop()
        counts = wait_for_the_end(broker, load.accepted)
    finally:
        load.stop()
        end(workers)
        broker.close()
    lines = Counter(log.read_text().split())
    print(
        f"\n{dict(Counter(kills))} killed: {len(load.accepted)} jobs accepted, {load.repeated} submissions repeated, "
        f"{counts}, {sum(lines.values()) - len(lines)} attempts repeated"
    )
    assert counts == {"succeeded": len(load.accepted)}


def end(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.kill()
        worker.wait()


def test_no_accepted_job_is_lost_when_workers_are_killed(tmp_path: Path, host: Host) -> None:
    kill_all(tmp_path, host.server, host.url(timeout=8), ["worker"] * 3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_accepted_job_is_lost_in_thirty_kills_of_workers_and_five_of_the_server(tmp_path: Path) -> None:
    need_server()
    began = time.monotonic()
    with TemporaryDirectory() as folder, RabbitServer(Path(folder)) as server:
        url = with_store(f"{server.url}?timeout=3", f"sqlite:///{tmp_path}/jobs.db")
        kill_all(tmp_path, server, url, (["worker"] * 6 + ["server"]) * 5)
    print(f"in {time.monotonic() - began:.0f} s")
