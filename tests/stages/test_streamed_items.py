"""Handlers that make more items of one message than leave in one step."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after, sleep
from process_stages import app as process_app
from process_stages import channel
from redis_server import fresh_url
from stage_tools import StagedApp, bodies, message, until_worked_off
from support import DEADLINE, SECONDS_APART, until, working

from nursery_tasks import App, Reject, current_job
from nursery_tasks.brokers.needed import outbox_of, states_of
from nursery_tasks.model.outgoing import StateRecord
from nursery_tasks.model.states import JobState
from nursery_tasks.worker.streaming import PREFIX

PROGRAM = Path(__file__).parent / "streaming_program.py"
COUNT = 2_500


def numbers(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


async def kept(app: App) -> list[StateRecord]:
    """Return what is stored of streams."""
    gateway = app.connection.gateway
    return await gateway.call(states_of(gateway.broker).list_states, PREFIX, 10)


@pytest.mark.parametrize("kind", ["async generator", "generator", "list", "coroutine"])
async def test_all_items_go_out_in_their_order(staged: StagedApp, kind: str) -> None:
    app = staged.app

    async def generate(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    def iterate(count: int) -> Iterator[int]:
        yield from range(count)

    def give(count: int) -> list[int]:
        return list(range(count))

    async def give_later(count: int) -> list[int]:
        return list(range(count))

    functions: dict[str, Any] = {"async generator": generate, "generator": iterate, "list": give, "coroutine": give_later}
    app.handler("a:in", reply="b:out", many=True, buffer=700)(functions[kind])
    staged.a.put("in", message(COUNT, id="one", correlation_id="c"))
    async with working(app):
        assert await bodies(staged.b, "out", COUNT) == numbers(COUNT)
        sent = staged.b.waiting("out")
        assert len({each.id for each in sent}) == COUNT
        assert {each.correlation_id for each in sent} == {"c"}


async def test_no_more_items_are_made_than_there_is_room_for(staged: StagedApp) -> None:
    app, made = staged.app, 0

    @app.handler("a:in", reply="b:out", many=True, buffer=100)
    async def flood(count: int) -> AsyncIterator[int]:
        nonlocal made
        for made in range(1, count + 1):
            yield made

    stall = staged.b.stall("send")
    staged.a.put("in", message(1_000_000, id="one"))
    async with working(app):
        await until(lambda: made > 1_000)
        await sleep(0.5)
        assert made < 3_000
        gateway = app.connection.gateway
        [record] = await gateway.call(outbox_of(gateway.broker).list_outboxes, 10)
        assert record.count <= 200
        for job in await app.jobs.list():
            await app.jobs.cancel(job.id)
        stall.release()


async def test_an_attempt_passes_over_what_the_one_before_has_put_out(staged: StagedApp) -> None:
    app = staged.app

    @app.handler("a:in", reply="b:out", many=True, retry=2)
    async def stumble(count: int) -> AsyncIterator[int]:
        for number in range(count):
            if number == 2_100 and current_job().attempt == 1:
                raise ConnectionError("away")
            yield number

    staged.a.put("in", message(COUNT, id="one"))
    async with working(app):
        assert await bodies(staged.b, "out", COUNT) == numbers(COUNT)
        assert len(await kept(app)) == 1


async def test_the_same_id_later_is_another_job(staged: StagedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a job must not swallow the items of another one, after the first was forgotten."""
    monkeypatch.setattr("nursery_tasks.worker.streaming.SAME_SECONDS", 0.0)
    app = staged.app

    @app.handler("a:in", reply="b:out", many=True, result_ttl=0)
    async def count_up(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async with working(app):
        staged.a.put("in", message(COUNT, id="one"))
        assert await bodies(staged.b, "out", COUNT) == numbers(COUNT)
        await until(lambda: not staged.a.unsettled("in"))
        await until_worked_off(app, "a.in")
        await app.queues.purge("a.in", states=[JobState.SUCCEEDED])
        staged.a.put("in", message(COUNT, id="one"))
        assert await bodies(staged.b, "out", 2 * COUNT) == numbers(COUNT) * 2


async def test_what_is_kept_of_a_stream_goes_with_its_success(staged: StagedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.streaming.CLEAN_SECONDS", 0.1)
    app = staged.app

    @app.handler("a:in", reply="b:out", many=True)
    async def maybe(count: int) -> AsyncIterator[int]:
        for number in range(abs(count)):
            yield number
        if count < 0:
            raise Reject("no more")

    async with working(app):
        staged.a.put("in", message(-COUNT, id="bad"))
        staged.a.put("in", message(COUNT, id="good"))
        await bodies(staged.b, "out", 2_000 + COUNT)  # the last ones of the bad job were not stored when it raised
        with fail_after(DEADLINE):
            while len(left := await kept(app)) != 1:  # noqa: ASYNC110 - what is looked at has no event
                await sleep(SECONDS_APART)
        [dead] = [job for job in await app.jobs.list() if job.state is JobState.DEAD]
        assert left[0].name == PREFIX + dead.id  # whoever runs it again goes on from there


async def test_handlers_in_processes_stream_too() -> None:
    counted, endlessly = (len(channel.waiting(place)) for place in ("counted", "endlessly"))  # of the other loop's test
    async with process_app, process_app.open_worker():
        channel.put("counts", message(COUNT, id="counts"))
        assert (await bodies(channel, "counted", counted + COUNT))[counted:] == numbers(COUNT)
        channel.put("odd", message(1_500, id="odd"))
        channel.put("endless", message(0, id="endless"))
        for place in ("odd", "endless"):
            await until(lambda place=place: not channel.waiting(place) and not channel.unsettled(place))
            await until_worked_off(process_app, f"a.{place}")
        failed = {job.task for job in await process_app.jobs.list() if job.state is JobState.FAILED}
        assert failed == {"count_to_what_cannot_travel", "count_until_told"}
        sent = [int(each.body) for each in channel.waiting("endlessly")[endlessly:]]
        assert sent == list(range(len(sent)))
        assert len(sent) >= 1_000


@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_a_worker_that_is_killed_in_the_middle_costs_no_item_and_doubles_none(broker: str, tmp_path: Path) -> None:
    """The messages of each step are stored with how far it is, so what goes into the queue is exact."""
    if broker == "sqlite":
        check_kills(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal", tmp_path / "log")
        return
    with fresh_url() as url:
        check_kills(url, tmp_path / "log")


def check_kills(url: str, log: Path) -> None:
    command = [sys.executable, str(PROGRAM), url, "5000", str(log)]
    for kill in range(2):
        before = log.stat().st_size if log.exists() else 0
        with subprocess.Popen(command) as victim:
            until_time = time.monotonic() + 30
            while not log.exists() or log.stat().st_size <= before + 4_000:
                assert victim.poll() is None, f"it has ended by itself after {kill} kills"
                assert time.monotonic() < until_time, f"it came no further after {kill} kills"
                time.sleep(0.01)
            victim.kill()
    last = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert {int(line) for line in log.read_text().split()} == set(range(5_000))
    assert int(last.stdout) == 5_000
