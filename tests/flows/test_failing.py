"""What goes wrong in flows: the same errors in each of the three ways, and nothing left running."""

from __future__ import annotations

import pytest
from anyio import move_on_after
from support import DEADLINE, Gate, gather, states, until, working
from ways import result

from nursery_tasks import App, JobState, Retry, current_job, parallel, parallel_map, sequence
from nursery_tasks.errors import InvalidArguments, JobCancelled, JobTimedOut


async def test_what_fails_ends_a_sequence_and_comes_out_as_it_is(app: App, how: str) -> None:
    ran: list[str] = []

    @app.task
    async def fail(n: int) -> int:
        raise ValueError(f"not {n}")

    @app.task
    async def after(n: int) -> None:
        ran.append("after")

    async with working(app):
        with pytest.raises(ValueError, match="not 3"):
            await result(sequence(fail, after), how, 3)
        with pytest.raises(InvalidArguments, match=r"fail: argument 'n': Expected `int`, got `str`"):
            await result(sequence(fail, after), how, "three")
        with pytest.raises(InvalidArguments, match="parallel_map: it takes a list, and got str 'abc'"):
            await result(parallel_map(fail), how, "abc")
    assert ran == []


async def test_fail_fast_cancels_the_others_and_raises_a_group(app: App, how: str) -> None:
    gate = Gate()
    reasons: list[str | None] = []

    @app.task
    async def hang(n: int) -> None:
        try:
            await gate.pass_through()
        finally:
            reasons.append(current_job().cancel_reason)

    @app.task
    async def fail(n: int) -> None:
        await gate.wait_for(2)
        raise ValueError(n)

    flow = parallel(hang, fail, sequence(hang, hang))
    async with working(app):
        with pytest.raises(ExceptionGroup) as caught:
            await result(flow, how, 3)
        assert caught.value.message == "1 of 3 branches failed"
        assert [(type(error), error.args) for error in caught.value.exceptions] == [(ValueError, (3,))]
        assert gate.inside == 0
        assert reasons == [None if how == "run_local" else "a branch beside it ended with ValueError"] * 2


async def test_groups_of_errors_nest_as_the_groups_do(app: App, how: str) -> None:
    @app.task
    async def fail(n: int) -> None:
        raise KeyError(n)

    flow = sequence(parallel(fail, parallel(fail.job(), sequence(fail), policy="wait_all"), policy="wait_all"), fail)
    async with working(app):
        with pytest.raises(ExceptionGroup, match="2 of 2 branches failed") as caught:
            await result(flow, how, 1)
        first, inner = caught.value.exceptions
        assert isinstance(first, KeyError)
        assert isinstance(inner, ExceptionGroup)
        assert [type(error) for error in inner.exceptions] == [KeyError, KeyError]


async def test_wait_all_lets_the_others_end(app: App, how: str) -> None:
    ended: list[int] = []

    @app.task
    async def odd(n: int) -> int:
        if n % 2 == 0:
            raise ValueError(n)
        ended.append(n)
        return n

    flow = parallel_map(odd, policy="wait_all", limit=2)
    async with working(app):
        assert await result(flow, how, [1, 3]) == [1, 3]
        with pytest.raises(ExceptionGroup, match="2 of 5 branches failed") as caught:
            await result(flow, how, [1, 2, 3, 4, 5])
        assert [error.args for error in caught.value.exceptions] == [(2,), (4,)]
    assert ended[2:] == [1, 3, 5]


async def test_first_success_cancels_the_others(app: App, how: str) -> None:
    gate = Gate()

    @app.task
    async def hang(n: int) -> str:
        await gate.pass_through()
        return "late"

    @app.task
    async def fail(n: int) -> str:
        raise ValueError(n)

    @app.task
    async def win(n: int) -> str:
        await gate.wait_for(1)
        return "first"

    async with working(app):
        assert await result(parallel(fail, hang, win, policy="first_success"), how, 1) == "first"
        assert gate.inside == 0
        with pytest.raises(ExceptionGroup, match="none of 2 branches succeeded") as caught:
            await result(parallel(fail, sequence(fail), policy="first_success"), how, 1)
        assert [type(error) for error in caught.value.exceptions] == [ValueError, ValueError]
        with pytest.raises(ExceptionGroup, match="none of 0 branches succeeded"):
            await result(parallel_map(fail, policy="first_success"), how, [])


async def test_a_branch_that_times_out_is_cancelled_or_dies_lets_its_group_join(app: App, how: str) -> None:
    @app.task(timeout=0.05)
    async def slow(n: int) -> None:
        await Gate().pass_through()

    @app.task
    async def exits(n: int) -> None:
        raise SystemExit(3)

    flow = parallel(slow, exits, policy="wait_all") if how != "run_local" else parallel(slow, policy="wait_all")
    async with working(app):
        with pytest.raises(ExceptionGroup) as caught:
            await result(flow, how, 1)
        assert isinstance(caught.value.exceptions[0], JobTimedOut)
        assert len(caught.value.exceptions) == (1 if how == "run_local" else 2)


async def test_a_branch_that_somebody_cancels_is_a_failure_of_the_group(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang(n: int) -> None:
        await gate.pass_through()

    async with working(app):

        async def cancel_one() -> None:
            await gate.wait_for(2)
            [running] = [job for job, state in states(app).items() if state is not JobState.READY][:1]
            await app.handle(running).cancel("not this one")

        async def run() -> None:
            with pytest.raises(ExceptionGroup) as caught:
                await parallel(hang, hang).run(1)
            [error] = caught.value.exceptions
            assert isinstance(error, JobCancelled)
            assert error.reason == "not this one"

        await gather(run, cancel_one)
        assert gate.inside == 0


async def test_retries_hold_in_each_way(memory_app: App, how: str) -> None:
    attempts: list[int] = []

    @memory_app.task(retry=Retry(3, wait=0, on=OSError))
    async def third(n: int) -> int:
        attempts.append(current_job().attempt)
        if current_job().attempt < 3:
            raise OSError(n)
        return n

    @memory_app.task
    def asks(n: int) -> int:
        if current_job().attempt == 1:
            raise Retry(2, wait=0)
        raise Retry(2, wait=0) from ValueError("the reason")

    async with working(memory_app):
        assert await result(sequence(third, third), how, 7) == 7
        assert attempts == [1, 2, 3] * 2
        with pytest.raises(ValueError, match="the reason"):
            await result(sequence(asks), how, 7)


async def test_a_cancel_in_the_middle_leaves_nothing_running(app: App, how: str) -> None:
    gate = Gate()
    later: list[int] = []

    @app.task
    async def hang(n: int) -> None:
        await gate.pass_through()

    @app.task
    async def after(n: list[None]) -> None:
        later.append(1)

    flow = sequence(parallel(hang, parallel(hang, sequence(hang))), after)
    async with working(app):
        if how == "enqueue":
            handle = await flow.enqueue(1)
            await gate.wait_for(3)
            assert await handle.cancel("enough") == "cancelled"
        else:
            with move_on_after(DEADLINE) as scope:

                async def cancel() -> None:
                    await gate.wait_for(3)
                    scope.cancel()

                await gather(lambda: result(flow, how, 1), cancel)
        assert gate.inside == 0
        assert later == []
        assert set(states(app).values()) <= {JobState.CANCELLED}


async def test_a_timeout_of_the_flow_ends_all_of_it(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang(n: int) -> None:
        await gate.pass_through()

    async with working(app):
        handle = await parallel(hang, hang).job(1).with_options(timeout=0.2).enqueue()
        with pytest.raises(JobTimedOut):
            await handle
        await until(lambda: gate.inside == 0)
        with move_on_after(0.2) as scope:
            await parallel(hang, hang).run(1)
        assert scope.cancelled_caught
        assert gate.inside == 0
