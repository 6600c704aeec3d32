"""What a job in a process gets and gives: arguments, results, itself, errors; the same as from a thread."""

from __future__ import annotations

import datetime
import os
import statistics
import time
from typing import Any

import process_tasks
import pytest
from host_tools import ASYNCIO, TRIO, UVLOOP, hosts_of, register
from process_tasks import KeywordOnly, Point, Secret, app
from support import unchecked, until_state, working

from nursery_tasks import App, JobState, Retry
from nursery_tasks.errors import InvalidArguments, NotSerializable, PayloadTooLarge, RemoteError


@pytest.fixture
def app_of_tasks() -> App:
    """The app of the module itself, not open."""
    return app


async def test_arguments_and_results_are_converted_there(app_of_tasks: App) -> None:
    async with working(app_of_tasks, processes=1):
        moved = await process_tasks.shift.run(Point(1, 2), 3, day=datetime.date(2026, 1, 5))
        assert moved == Point(4, 7)
        assert await process_tasks.double.run(number=21) == 42
        assert await process_tasks.echo.run([1, {"a": None}, "ü", 1.5]) == [1, {"a": None}, "ü", 1.5]
        assert await process_tasks.reveal.run(Secret("hidden")) == "hidden"


async def test_five_megabytes_go_there_and_back(app_of_tasks: App) -> None:
    async with working(app_of_tasks, processes=1):
        data = os.urandom(5_000_000)
        assert await process_tasks.length.run(data) == 5_000_000
        text = "é" * 2_500_000
        assert await process_tasks.echo.run(text) == text


@UVLOOP
async def test_msgpack_goes_through_untouched() -> None:
    packed = App("memory:", codec="msgpack")
    echo = register(packed, process_tasks.echo)
    async with working(packed, processes=1):
        assert await echo.run({"a": [1, 2.5, None, "x"], "b": float("inf")}) == {"a": [1, 2.5, None, "x"], "b": float("inf")}


async def test_a_handler_knows_its_job(app: App) -> None:
    about = register(app, process_tasks.about_me)
    async with working(app, processes=1, name="here") as worker:
        handle = await about.options(tags=["red", "blue"], headers={"tenant": "green"}, queue="default").enqueue()
        said: dict[str, Any] = await handle
        (host,) = hosts_of(worker)
        assert said == {
            "pid": host.pid,
            "id": handle.id,
            "task": "about_me",
            "attempt": 1,
            "queue": "default",
            "worker": "here",
            "parent": None,
            "tags": ["red", "blue"],
            "headers": {"tenant": "green"},
            "state": {},
            "leads": True,
        }
        assert host.pid != os.getpid()


async def test_a_warm_trivial_job_takes_under_ten_milliseconds(memory_app: App) -> None:
    # In memory, where it takes 0.4 ms: what a broker adds is no matter of processes, and the machine may be busy.
    double = register(memory_app, process_tasks.double)
    async with working(memory_app, processes=1):
        await double.run(1)
        took: list[float] = []
        for number in range(50):
            began = time.perf_counter()
            assert await double.run(number) == 2 * number
            took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.010


@TRIO
async def test_a_class_can_be_a_task_in_a_process(app_of_tasks: App) -> None:
    async with working(app_of_tasks, processes=1):
        assert await process_tasks.halve.run(3) == 1.5
    assert process_tasks.halve.spec.kill_after_seconds == 1


# --- errors ----------------------------------------------------------------------------------------------------------------


WAYS = [
    "exit",
    "ctrl-c",
    "generator exit",
    "stop iteration",
    "keyword only",
    "group",
    "cause",
    "retry",
    "unencodable result",
    "set",
    "large result",
    "coroutine",
]


@TRIO
async def test_the_stored_outcome_is_what_a_thread_would_have_given() -> None:
    here = App("memory:")
    by_process = register(here, process_tasks.fail)
    by_thread = here.task(name="in a thread".replace(" ", "-"))(process_tasks.fail.spec.function)
    async with working(here, processes=1, slots=2, owns_signals=True):
        for way in WAYS:
            outcomes: list[Any] = []
            for task in (by_process, by_thread):
                handle = await task.enqueue(way)
                await until_state(here, handle.id, JobState.FAILED)
                outcomes.append(await handle.outcome())
            there, thread = outcomes
            assert there.state is thread.state
            assert there.attempt == thread.attempt, way
            for name in ("type", "args", "state", "notes"):
                found, expected = getattr(there.error, name), getattr(thread.error, name)
                assert named_alike(found) == named_alike(expected), (way, name)
            assert named_alike(there.error.text) == named_alike(thread.error.text), way
            assert cause_types(there.error) == cause_types(thread.error), way
            assert [member.type for member in there.error.members] == [member.type for member in thread.error.members]
            assert there.error.type.rpartition(".")[2] in there.error.traceback


def named_alike(value: Any) -> Any:
    return str(value).replace("in-a-thread", "fail")


def cause_types(failure: Any) -> list[str]:
    found: list[str] = []
    while failure.cause is not None:
        failure = failure.cause
        found.append(failure.type)
    return found


@TRIO
async def test_a_keyword_only_exception_comes_back_as_itself(memory_app: App) -> None:
    fail = register(memory_app, process_tasks.fail)
    memory_app.error(KeywordOnly)
    async with working(memory_app, processes=1):
        with pytest.raises(KeywordOnly) as caught:
            await fail.run("keyword only")
        assert caught.value.code == 7
        assert "process_tasks.py" in str(caught.value.__notes__)


@ASYNCIO
async def test_an_unencodable_argument_is_refused_at_the_call_and_harms_nobody(memory_app: App) -> None:
    echo, double = register(memory_app, process_tasks.echo, process_tasks.double)
    async with working(memory_app, processes=1):
        with pytest.raises(NotSerializable):
            await echo.run(object())
        assert [await double.run(number) for number in range(3)] == [0, 2, 4]


@TRIO
async def test_arguments_that_do_not_fit_fail_the_job_without_another_try(memory_app: App) -> None:
    double = register(memory_app, process_tasks.double, retry=5)
    async with working(memory_app, processes=1):
        with pytest.raises(InvalidArguments, match="argument 'number'"):
            await unchecked(memory_app, "double", "nonsense").run()
        handle = memory_app.handle((await unchecked(memory_app, "double", "nonsense").enqueue()).id)
        await until_state(memory_app, handle.id, JobState.FAILED)
        outcome = await handle.outcome()
        assert outcome is not None
        assert outcome.attempt == 1
        assert await double.run(4) == 8


@UVLOOP
async def test_results_that_cannot_travel_are_the_same_errors_and_final(memory_app: App) -> None:
    fail = register(memory_app, process_tasks.fail, retry=Retry(5, wait=0))
    async with working(memory_app, processes=1):
        with pytest.raises(NotSerializable, match="the result of fail"):
            await fail.run("unencodable result")
        with pytest.raises(PayloadTooLarge, match="the result of fail"):
            await fail.run("large result")


async def test_system_exit_in_a_function_costs_nobody_else_anything(memory_app: App) -> None:
    fail, about = register(memory_app, process_tasks.fail, process_tasks.about_me)
    async with working(memory_app, processes=1):
        before = (await about.run())["pid"]
        with pytest.raises(RemoteError, match="SystemExit: 3"):
            await fail.run("exit")
        assert (await about.run())["pid"] == before


@ASYNCIO
async def test_retries_go_by_the_classes_that_the_process_knows(memory_app: App) -> None:
    until_third = register(memory_app, process_tasks.fail_until, retry=Retry(4, on=(OSError,), wait=0))
    async with working(memory_app, processes=1):
        assert await until_third.run(3) == 3
        with pytest.raises(OSError, match="not yet"):
            await until_third.options(retry=Retry(4, on=(KeyError,), wait=0)).run(3)


@UVLOOP
async def test_a_job_in_a_process_can_submit_to_a_durable_broker(tmp_path: Any) -> None:
    here = App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    submit, _double = register(here, process_tasks.submit, process_tasks.double)
    async with working(here, processes=1):
        parent = await submit.enqueue(here.url)
        child = here.handle(await parent)
        assert await child == 8
