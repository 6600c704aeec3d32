"""Whatever a handler does is the outcome of its job, and the worker keeps all its slots."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, current_time, fail_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from support import DEADLINE, Gate, History, gather, states, until, working

from nursery_tasks import App, JobState, Retry, Task, current_job
from nursery_tasks.errors import JobTimedOut, RemoteError
from nursery_tasks.events import EventKind

SLOTS = 3
ASYNCIO = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]


async def assert_full_capacity(app: App) -> None:
    """Run as many jobs at once as the worker has slots, twice."""
    for _ in range(2):
        gate = Gate()

        async def meet(gate: Gate = gate) -> None:
            await gate.pass_through()

        task = app.task(name="meet")(meet)
        async with create_task_group() as tg:
            for _ in range(SLOTS):
                tg.start_soon(task.run)
            await gate.wait_for(SLOTS)
            gate.open()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Nameless(BaseException):
    pass


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


BAD_DEEDS: dict[str, tuple[Callable[[], object], str]] = {
    "exit": (lambda: sys.exit(3), "SystemExit"),
    "ctrl-c": (raising(KeyboardInterrupt()), "SystemError"),
    "generator exit": (raising(GeneratorExit()), "GeneratorExit"),
    "stop iteration": (raising(StopIteration(1)), "RuntimeError"),
    "a base exception": (raising(Nameless("x")), "test_handlers.Nameless"),
    "a group of base exceptions": (raising(BaseExceptionGroup("g", [SystemExit(), KeyboardInterrupt()])), "BaseExceptionGroup"),
    "a group": (raising(ExceptionGroup("g", [ValueError()])), "ExceptionGroup"),
    "an error without text": (raising(Unprintable()), "test_handlers.Unprintable"),
    "an error with a lone surrogate": (raising(OSError("/tmp/\udcff")), "OSError"),
    "an error with an object": (raising(ValueError(object())), "ValueError"),
    "a result that cannot be encoded": (lambda: object(), "nursery_tasks.errors.NotSerializable"),
    "a result that holds itself": (lambda: (x := [0], x.append(x))[0], "nursery_tasks.errors.NotSerializable"),  # type: ignore[arg-type, func-returns-value]
    "recursion": (lambda: BAD_DEEDS["recursion"][0](), "RecursionError"),
}


DEEDS = [
    pytest.param(deed, where, id=f"{deed}-{where}")
    for where in ("loop", "thread", "child", "task", "thread that waits", "with a retry")
    for deed in BAD_DEEDS
]


@pytest.mark.parametrize(("deed", "where"), DEEDS)
async def test_a_bad_deed_of_a_handler_fails_its_job_and_costs_no_slot(memory_app: App, deed: str, where: str) -> None:
    await check_that_it_costs_no_slot(memory_app, deed, where)


async def check_that_it_costs_no_slot(memory_app: App, deed: str, where: str) -> None:
    act, type_name = BAD_DEEDS[deed]

    async def in_loop() -> Any:
        await checkpoint()
        return act()

    async def in_child() -> Any:
        async with create_task_group() as tg:
            tg.start_soon(in_loop)

    async def in_task() -> Any:
        return await (asyncio.create_task(in_loop()) if asyncio._get_running_loop() else in_loop())

    def waiting() -> Any:
        return current_job().wait(in_loop)

    options: dict[str, Any] = {"retry": Retry(2, wait=0)} if where == "with a retry" else {}
    function = {"thread": act, "child": in_child, "task": in_task, "thread that waits": waiting}.get(where, in_loop)
    bad = memory_app.task(name="bad", **options)(function)
    async with working(memory_app, slots=SLOTS, owns_signals=True):
        outcomes = []
        for _ in range(2 * SLOTS):
            job = await bad.enqueue()
            outcomes.append(await job.outcome())
        if where == "child" and deed.startswith("a result"):
            assert {outcome.state for outcome in outcomes} == {JobState.SUCCEEDED}
        else:
            assert {outcome.state for outcome in outcomes} == {JobState.FAILED}
            found = {outcome.error.type for outcome in outcomes if outcome.error}
            assert found <= {type_name, "ExceptionGroup", "BaseExceptionGroup", "SystemError", "RuntimeError"}
        await assert_full_capacity(memory_app)


async def test_ctrl_c_as_the_answer_to_a_timeout_or_a_cancel_is_told_like_any_other_error(memory_app: App) -> None:
    @memory_app.task
    async def stubborn() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    async with working(memory_app, owns_signals=True):
        late = await stubborn.options(timeout=0.05).enqueue()
        assert (await late.outcome()).reason == "timed out"
        unwanted = await stubborn.enqueue()
        await until(lambda: states(memory_app)[unwanted.id] is JobState.STARTED)
        await unwanted.cancel("no need")
        ended = await unwanted.outcome()
        assert (ended.state, ended.reason) == (JobState.CANCELLED, "no need")
        assert ended.error is not None
        assert ended.error.type == "SystemError"


async def test_ctrl_c_in_a_program_that_receives_no_signals_itself_ends_it_and_gives_the_job_back(tmp_path: Any) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")

    async def main() -> None:
        @app.task
        async def interrupted() -> None:
            raise KeyboardInterrupt

        async with working(app):
            await interrupted.options(id="a").enqueue()
            await anyio.sleep_forever()

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        await anyio.to_thread.run_sync(lambda: anyio.run(main, backend="trio"))
    async with app:
        assert states(app) == {"a": JobState.READY}


# --- cancellations that belong to nobody -------------------------------------------------------------------------------------


async def await_a_cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def await_a_cancelled_task() -> None:
    task = asyncio.get_running_loop().create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def raise_it() -> None:
    raise asyncio.CancelledError


async def have_a_child_cancelled() -> None:
    async with create_task_group() as tg:
        tg.start_soon(cancel_itself)
    await await_a_cancelled_future()


STRAYS = [await_a_cancelled_future, await_a_cancelled_task, cancel_itself, raise_it, have_a_child_cancelled]


@pytest.mark.parametrize("anyio_backend", ASYNCIO)
@pytest.mark.parametrize("stray", STRAYS)
async def test_a_stray_cancellation_fails_its_job_and_costs_no_slot(memory_app: App, stray: Callable[..., Any]) -> None:
    task = memory_app.task(stray)

    @memory_app.task
    async def fail() -> None:
        raise ValueError("mine")

    async with working(memory_app, slots=SLOTS):
        for _ in range(2 * SLOTS):
            with pytest.raises(RemoteError, match=r"StrayCancellation: .* that nobody here had asked for"):
                await task.run()
        for _ in range(2 * SLOTS):  # no slot remembers that it was once cancelled
            with pytest.raises(ValueError, match="mine"):
                await fail.run()
        await assert_full_capacity(memory_app)


@pytest.mark.parametrize("anyio_backend", ASYNCIO)
async def test_a_cancel_that_the_handler_has_not_met_yet_does_not_hit_the_next_job(memory_app: App) -> None:
    @memory_app.task
    async def leave_a_cancel() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "done"

    async with working(memory_app, slots=SLOTS):
        for _ in range(2 * SLOTS):
            assert await leave_a_cancel.run() == "done"
        await assert_full_capacity(memory_app)


@pytest.mark.parametrize("anyio_backend", ASYNCIO)
async def test_a_stray_cancellation_can_be_retried(memory_app: App) -> None:
    tries = []

    @memory_app.task(retry=Retry(3, wait=0))
    async def flaky() -> str:
        tries.append(current_job().attempt)
        if len(tries) < 3:
            await await_a_cancelled_future()
        return "done"

    async with working(memory_app):
        assert await flaky.run() == "done"
    assert tries == [1, 2, 3]


@pytest.mark.parametrize("anyio_backend", ASYNCIO)
async def test_timeouts_of_asyncio_work_inside_a_handler(memory_app: App) -> None:
    @memory_app.task(timeout=DEADLINE)
    async def patient() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        return "done"

    async with working(memory_app, slots=SLOTS):
        for _ in range(2 * SLOTS):
            assert await patient.run() == "done"
        await assert_full_capacity(memory_app)


async def test_a_handler_that_cancels_its_own_scopes_is_not_disturbed(memory_app: App) -> None:
    @memory_app.task(timeout=DEADLINE)
    async def tidy() -> str:
        with CancelScope() as scope:
            scope.cancel()
            await checkpoint()
        async with create_task_group() as tg:
            tg.start_soon(anyio.sleep_forever)
            tg.cancel_scope.cancel()
        return "done"

    async with working(memory_app, slots=SLOTS):
        for _ in range(2 * SLOTS):
            assert await tidy.run() == "done"
        await assert_full_capacity(memory_app)


# --- contexts ----------------------------------------------------------------------------------------------------------------

word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_context_variables_do_not_leak_from_one_job_to_the_next_of_its_slot(memory_app: App, kind: str) -> None:
    async def say_in_loop(new: str) -> tuple[str, str]:
        before = word.get()
        word.set(new)
        await checkpoint()
        return before, word.get()

    def say_in_thread(new: str) -> tuple[str, str]:
        before = word.get()
        word.set(new)
        return before, word.get()

    task = memory_app.task(name="say")(say_in_loop if kind == "loop" else say_in_thread)
    async with working(memory_app, slots=1):
        assert [await task.run(f"{n}") for n in range(5)] == [("none", f"{n}") for n in range(5)]
    assert word.get() == "none"


async def test_the_current_job_is_seen_in_children_and_in_threads_of_the_handler(memory_app: App) -> None:
    @memory_app.task
    async def look() -> set[str]:
        found = {current_job().id, await anyio.to_thread.run_sync(lambda: current_job().id)}

        async def child() -> None:
            found.add(current_job().id)
            await checkpoint()
            found.add(current_job().id)

        async with create_task_group() as tg:
            tg.start_soon(child)
        return found

    async with working(memory_app, slots=2):
        handles = [await look.enqueue() for _ in range(6)]
        assert [await handle for handle in handles] == [{handle.id} for handle in handles]


async def test_children_that_outlive_their_handlers_body_belong_to_the_attempt(memory_app: App) -> None:
    gate = Gate()

    @memory_app.task
    async def parent() -> None:
        async with create_task_group() as tg:
            tg.start_soon(gate.pass_through)

    async with working(memory_app):
        job = await parent.enqueue()
        await gate.wait_for(1)
        await job.cancel()
        assert gate.inside == 0


# --- time limits -------------------------------------------------------------------------------------------------------------


async def test_a_handler_that_takes_too_long_is_cancelled_and_told_as_timed_out(app: App) -> None:
    left: list[str] = []

    @app.task(timeout=0.05)
    async def slow() -> None:
        try:
            await anyio.sleep(DEADLINE)
        finally:
            left.append("cleaned up")

    async with working(app):
        job = await slow.enqueue()
        with pytest.raises(JobTimedOut, match=r"slow \(\w+\) ran longer than its timeout of 0.05 s") as caught:
            await job
        assert isinstance(caught.value, TimeoutError)
        outcome = await job.outcome()
    assert (outcome.state, outcome.reason, left) == (JobState.FAILED, "timed out", ["cleaned up"])


async def test_a_handler_that_swallows_its_timeout_has_not_succeeded(memory_app: App) -> None:
    @memory_app.task(timeout=0.05)
    async def stubborn(how: str) -> str:
        try:
            await anyio.sleep(DEADLINE)
        except BaseException:
            if how == "returns":
                return "I did it"
            raise ValueError("something else") from None
        return "never"

    async with working(memory_app):
        for how in ("returns", "raises"):
            with pytest.raises(JobTimedOut):
                await stubborn.run(how)


async def test_a_thread_that_overruns_is_timed_out_whatever_it_returns(memory_app: App) -> None:
    import time

    @memory_app.task(timeout=0.05)
    def slow() -> str:
        time.sleep(0.1)
        return "I did it"

    async with working(memory_app):
        with pytest.raises(JobTimedOut):
            await slow.run()


async def test_a_thread_leaves_early_when_it_looks(memory_app: App) -> None:
    import time

    from nursery_tasks import check_cancelled

    @memory_app.task(timeout=0.05)
    def loop() -> None:
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            check_cancelled()
            time.sleep(0.001)

    async with working(memory_app):
        with fail_after(DEADLINE / 2), pytest.raises(JobTimedOut):
            await loop.run()


async def test_a_job_may_change_or_lift_the_limit_of_its_task(memory_app: App) -> None:
    @memory_app.task(timeout=0.03)
    async def nap(seconds: float) -> str:
        await anyio.sleep(seconds)
        return "done"

    async with working(memory_app):
        assert await nap.options(timeout=None).run(0.06) == "done"
        assert await nap.options(timeout=DEADLINE).run(0.06) == "done"
        with pytest.raises(JobTimedOut, match=r"its timeout of 0.01 s"):
            await nap.options(timeout=0.01).run(0.06)


async def test_the_timeout_of_a_child_is_not_the_parents(memory_app: App) -> None:
    @memory_app.task(timeout=0.01)
    async def child() -> None:
        await anyio.sleep(DEADLINE)

    @memory_app.task(timeout=DEADLINE)
    async def parent() -> None:
        await child.options(id="child").run()

    async with working(memory_app):
        job = await parent.enqueue()
        with pytest.raises(JobTimedOut, match=r"child \(child\) ran longer than its timeout of 0.01 s"):
            await job
        outcome = await job.outcome()
        assert outcome.reason is None  # it did not time out itself


async def test_ten_timeouts_at_the_same_time_are_ten_timeouts(memory_app: App) -> None:
    history = History(memory_app)

    @memory_app.task(timeout=0.05)
    async def slow() -> None:
        await anyio.sleep(DEADLINE)

    async def run() -> bool:
        with pytest.raises(JobTimedOut):
            await slow.run()
        return True

    async with working(memory_app, slots=10):
        assert all(await gather(*[run] * 10))
    assert history.count(EventKind.FAILED) == 10


@pytest.mark.parametrize("timeout", [None, 5])
async def test_a_scope_that_a_handler_leaves_open_costs_no_slot(memory_app: App, timeout: float | None) -> None:
    # As an async generator leaves it that yields inside of one and is not read to its end: PEP 789.
    @memory_app.task(timeout=timeout)
    async def leak() -> None:
        CancelScope(deadline=current_time() + 0.05).__enter__()
        await checkpoint()

    async with working(memory_app, slots=1):
        await check_that_it_leaked_and_the_slot_goes_on(memory_app, leak)


@pytest.mark.parametrize("anyio_backend", ASYNCIO)
async def test_on_asyncio_a_group_that_a_handler_leaves_open_costs_no_slot(memory_app: App) -> None:
    ended = Event()

    async def hang() -> None:
        try:
            await sleep_forever()
        finally:
            ended.set()

    @memory_app.task
    async def leak() -> None:
        group = create_task_group()
        await group.__aenter__()
        group.start_soon(hang)
        await checkpoint()

    async with working(memory_app, slots=1):
        await check_that_it_leaked_and_the_slot_goes_on(memory_app, leak)
        await ended.wait()


async def check_that_it_leaked_and_the_slot_goes_on(app: App, leak: Task[[], None]) -> None:
    @app.task
    async def outlast() -> str:
        await sleep(0.1)
        return "done"

    outcome = await (await leak.enqueue()).outcome()
    assert outcome.state is JobState.FAILED
    assert outcome.error is not None
    assert "left a cancel scope open" in outcome.error.text
    for _ in range(2):
        assert await (await outlast.enqueue()) == "done"
