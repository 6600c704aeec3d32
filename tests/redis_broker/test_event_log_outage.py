"""The server is away for three seconds: who follows the log of events misses nothing, and sees nothing twice."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from anyio import create_task_group, fail_after, sleep
from redis_server import RedisServer
from support import until, working

from nursery_tasks import App, current_job
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.events import JobEvent

from . import logging_program

OUTAGE_SECONDS = 3.0
DEADLINE = 40.0
KINDS = ("queued", "started", "succeeded")


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_no_event_is_missing_after_three_seconds_without_the_server(server: RedisServer, how: str) -> None:
    app = App(f"{server.url}?timeout=1", event_log=3600)
    seen: list[JobEvent] = []
    sent: list[str] = []
    ran: list[str] = []

    @app.task
    async def work() -> None:
        ran.append(current_job().id)

    async def submit() -> None:
        for number in itertools.count():
            job = work.options(id=f"job-{number}").job()
            while True:
                try:
                    await job.enqueue()
                    break
                except BrokerUnavailable:
                    await sleep(0.05)
            sent.append(f"job-{number}")
            await sleep(0.002)

    async def follow() -> None:
        async with app.follow(task="work") as events:
            ready.append(True)
            async for event in events:
                seen.append(event)
                if event.kind == "succeeded":
                    succeeded.add(event.job_id)

    ready: list[bool] = []
    succeeded: set[str] = set()
    with fail_after(DEADLINE):
        async with working(app, slots=4):
            async with create_task_group() as group:
                group.start_soon(follow)
                await until(lambda: ready)
                group.start_soon(submit)
                await until(lambda: len(seen) >= 300)
                server.kill() if how == "killed" else server.send(signal.SIGSTOP)
                await sleep(OUTAGE_SECONDS)
                before = len(sent)
                server.start() if how == "killed" else server.send(signal.SIGCONT)
                await until(lambda: len(sent) >= before + 200)
                last = sent[-1]
                await until(lambda: last in succeeded)
                group.cancel_scope.cancel()
            middle = seen[len(seen) // 3]
            async with app.follow(task="work", since=middle.cursor) as events:
                again = [await anext(events) for _ in range(len(seen) - len(seen) // 3 - 1)]
    assert again == seen[len(seen) // 3 + 1 :]
    counts = Counter((event.job_id, event.kind) for event in seen)
    # What a claim has taken whose answer was lost comes back with its lease, and has not run here. And a submission whose
    # answer was lost is repeated by its id, and stores nothing: nobody tells that the first one did.
    whole = ran[: ran.index(last) + 1]
    assert len(whole) > 200  # some of them before the outage, and some after it
    missing = [(job_id, kind) for job_id in whole for kind in KINDS if counts[job_id, kind] == 0]
    assert [each for each in missing if each[1] != "queued"] == []
    assert len(missing) <= 1
    doubled = {each: count for each, count in counts.items() if count > 1 and each[1] in ("queued", "succeeded")}
    assert doubled == {}
    assert len({event.id for event in seen}) == len(seen)
    assert [event for event in seen if event.kind == "gap"] == []


async def test_what_a_killed_worker_has_appended_stays(server: RedisServer, tmp_path: Path) -> None:
    app = App(server.url)
    program = [sys.executable, str(Path(logging_program.__file__))]
    with subprocess.Popen(program, env={**os.environ, "NURSERY_TASKS_BROKER": server.url}) as worker:  # noqa: ASYNC220 - a moment
        try:
            with fail_after(DEADLINE):
                async with app, app.follow(since="start", kinds=["started", "ended"]) as events:
                    handle = await app.job("nap", 3600).enqueue()
                    event = await anext(events)
                    assert (event.kind, event.job_id) == ("started", handle.id)
                    worker.kill()
                    worker.wait()
                    async with app.follow(since="start", job=handle.id) as again:
                        assert (await anext(again)).id == event.id
                        assert again.cursor == event.cursor
        finally:
            worker.kill()
