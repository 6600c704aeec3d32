"""One item that a broker does not take, among many that it does: the others neither wait for it nor fail with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from anyio import Event, create_task_group, wait_all_tasks_blocked
from support import until, working

from nursery_tasks import App, JobState, Retry
from nursery_tasks.brokers.protocol import refusal
from nursery_tasks.errors import BrokerRefused, BrokerUnavailable, RemoteError
from nursery_tasks.model.delivery import Finished, Retried, Settlement
from nursery_tasks.testing import FaultyBroker
from nursery_tasks.worker import aside

BAD = "bad"


def is_bad(item: Settlement) -> bool:
    return item.delivery.id == BAD and isinstance(item, Finished | Retried)


def task_of(app: App) -> tuple[object, Event]:
    go = Event()

    @app.task(name="work", retry=None)
    async def work(number: int) -> int:
        await go.wait()
        return number

    return work, go


async def ask_all(app: App, go: Event) -> list[int]:
    """Have twenty jobs end together with a bad one, and return their results."""
    handles = [await app.job("work", number).enqueue() for number in range(10)]
    await app.job("work", 0).with_options(id=BAD).enqueue()
    handles += [await app.job("work", number).enqueue() for number in range(10, 20)]
    go.set()
    return [await handle for handle in handles]


async def test_an_outcome_that_the_broker_refuses_waits_alone_until_it_is_taken(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aside, "PAUSE_SECONDS", 0.02)
    _, go = task_of(memory_app)

    def refuse(args: tuple[Any, ...]) -> None:
        if any(is_bad(item) for item in args[0]):
            raise BrokerRefused("test", "this queue is full")

    end = faulty.before("settle", refuse)
    async with working(memory_app, slots=32):
        assert await ask_all(memory_app, go) == list(range(20))
        await until(lambda: BAD in caplog.text)  # the others may have been stored before it was tried
        [refusal_said] = [record.getMessage() for record in caplog.records if BAD in record.getMessage()]
        assert "this queue is full" in refusal_said
        before = faulty.calls["settle"]
        await until(lambda: faulty.calls["settle"] > before + 2)  # it is tried again and again, without another line
        assert len([record for record in caplog.records if BAD in record.getMessage()]) == 1
        end()
        assert await memory_app.handle(BAD) == 0


async def test_a_broker_says_itself_which_outcomes_it_has_refused(
    memory_app: App, faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "PAUSE_SECONDS", 0.02)
    _, go = task_of(memory_app)
    refusing = [True]
    settle = faulty.settle

    def settle_some(settlements: Sequence[Settlement]) -> list[bool]:
        good = [item for item in settlements if not (refusing and is_bad(item))]
        answers = iter(settle(good))
        if len(good) == len(settlements):
            return list(answers)
        refused = BrokerRefused("test", "no room")
        raise refusal([refused if refusing and is_bad(item) else next(answers) for item in settlements])

    monkeypatch.setattr(faulty, "settle", settle_some)
    async with working(memory_app, slots=32):
        assert await ask_all(memory_app, go) == list(range(20))
        assert await memory_app.handle(BAD).status() not in (JobState.SUCCEEDED, JobState.FAILED)
        refusing.clear()
        assert await memory_app.handle(BAD) == 0


async def test_an_outcome_over_which_a_broker_stumbles_fails_its_job_and_no_other(
    memory_app: App, faulty: FaultyBroker, caplog: pytest.LogCaptureFixture
) -> None:
    _, go = task_of(memory_app)

    def stumble(args: tuple[Any, ...]) -> None:
        if any(is_bad(item) and isinstance(item, Finished) and item.state is JobState.SUCCEEDED for item in args[0]):
            raise TypeError("a string of 255 bytes at most")

    faulty.before("settle", stumble)
    with caplog.at_level(logging.ERROR, "nursery_tasks"):
        async with working(memory_app, slots=32):
            assert await ask_all(memory_app, go) == list(range(20))
            with pytest.raises(RemoteError, match="could not store how the job ended"):
                await memory_app.handle(BAD)
            assert await memory_app.job("work", 5).run() == 5
    assert [record.getMessage() for record in caplog.records] == [f"what became of job {BAD} cannot be stored"]


async def test_a_retry_over_which_a_broker_stumbles_is_made_without_its_error(memory_app: App, faulty: FaultyBroker) -> None:
    attempts = list[int]()

    @memory_app.task(retry=Retry(3, wait=0))
    async def flaky() -> str:
        attempts.append(1)
        if len(attempts) < 2:
            raise OSError("odd")
        return "well"

    def stumble(args: tuple[Any, ...]) -> None:
        if any(isinstance(item, Retried) and item.failure is not None for item in args[0]):
            raise ValueError("odd")

    faulty.before("settle", stumble)
    async with working(memory_app):
        assert await flaky.run() == "well"


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])  # Trio wakes the three jobs in any order
async def test_what_was_set_aside_when_the_broker_went_away_is_counted_once(memory_app: App, faulty: FaultyBroker) -> None:
    _, go = task_of(memory_app)
    alone, away = list[int](), list[int]()

    def refuse(args: tuple[Any, ...]) -> None:
        if any(is_bad(item) for item in args[0]):
            if len(args[0]) == 1:
                alone.append(1)
            raise BrokerRefused("test", "this queue is full")
        if alone:
            away.append(1)
            raise BrokerUnavailable("test", "it is gone")

    faulty.before("settle", refuse)
    async with working(memory_app, slots=32, drain=0) as worker:
        handles = [await memory_app.job("work", 0).with_options(id=job_id).enqueue() for job_id in ("before", BAD, "after")]
        await until(lambda: len(worker.running) == len(handles))
        go.set()
        await until(lambda: away)
    assert sorted(each.id for each in worker.unstored.ended) == ["after", BAD]


async def test_a_refused_submission_is_its_callers_and_nobody_elses(memory_app: App, faulty: FaultyBroker) -> None:
    _, go = task_of(memory_app)
    go.set()

    def refuse(args: tuple[Any, ...]) -> None:
        if any(job.id == BAD for job in args[0]):
            raise BrokerRefused("test", "there is no such queue")

    faulty.before("submit", refuse)

    answers: dict[int, object] = {}

    async def ask(number: int) -> None:
        try:
            job = memory_app.job("work", number).with_options(id=BAD if number == 5 else f"job-{number}")
            answers[number] = await job.enqueue()
        except BrokerRefused as error:
            answers[number] = error

    async with working(memory_app, slots=8):
        stall = faulty.stall("submit")
        async with create_task_group() as asking:
            asking.start_soon(ask, 100)
            await until(lambda: stall.reached)
            for number in range(12):  # these gather meanwhile, and go out in one call
                asking.start_soon(ask, number)
            await wait_all_tasks_blocked()
            stall.release()
    assert {number for number, answer in answers.items() if isinstance(answer, BrokerRefused)} == {5}
    assert all(handle.created for number, handle in answers.items() if number != 5)  # type: ignore[attr-defined]
