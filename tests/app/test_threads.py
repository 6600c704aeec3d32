"""The gateway's threads: few, used again, and gone when nobody needs them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from anyio import CancelScope, Event, create_task_group, fail_after, move_on_after
from anyio.lowlevel import checkpoint
from support import DEADLINE, until

from nursery_tasks.loop.threads import Call, Threads

T = TypeVar("T")
NAME = "nursery-tasks broker call"


async def make_call(threads: Threads, method: Callable[..., T], *args: Any) -> T:
    """Make a call and wait for it, as the gateway does."""
    done = Event()
    call = Call(method, args, lambda _: done.set())
    threads.start(call)
    try:
        await done.wait()
    finally:
        threads.give_up(call)
    return call.result()


def alive() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == NAME}


async def test_one_call_after_the_other_needs_one_thread() -> None:
    threads, before = Threads(4), alive()
    used = {await make_call(threads, threading.get_ident) for _ in range(20)}
    assert len(used) == 1
    assert len(alive() - before) == 1
    threads.close()
    await until(lambda: not alive() - before)


async def test_there_are_never_more_threads_than_said_and_every_call_has_its_turn() -> None:
    threads, before = Threads(3), alive()
    answers: list[int] = []

    async def make(number: int) -> None:
        answers.append(await make_call(threads, lambda: time.sleep(0.001) or number))

    with fail_after(DEADLINE):
        async with create_task_group() as group:
            for number in range(30):
                group.start_soon(make, number)
    assert sorted(answers) == list(range(30))
    assert len(alive() - before) == 3
    threads.close()


async def test_an_error_reaches_its_caller_and_the_thread_goes_on() -> None:
    threads = Threads(1)
    with pytest.raises(ZeroDivisionError):
        await make_call(threads, lambda: 1 // 0)
    assert await make_call(threads, len, "abc") == 3
    threads.close()


async def test_a_call_that_is_given_up_does_not_hold_up_the_next() -> None:
    threads, before, let_go = Threads(1), alive(), threading.Event()
    with move_on_after(0.02):
        await make_call(threads, let_go.wait, DEADLINE)
    with fail_after(DEADLINE):
        assert await make_call(threads, len, "abc") == 3
    let_go.set()
    await until(lambda: len(alive() - before) == 1)
    threads.close()


async def test_who_gives_up_the_wait_for_a_thread_lets_the_next_one_have_it() -> None:
    threads, let_go = Threads(1), threading.Event()
    answers: list[int] = []
    patience = CancelScope()

    async def make(number: int, scope: CancelScope) -> None:
        with scope:
            answers.append(await make_call(threads, lambda: number))

    with fail_after(DEADLINE):
        async with create_task_group() as group:
            group.start_soon(make_call, threads, let_go.wait, DEADLINE)
            await checkpoint()
            group.start_soon(make, 1, patience)
            group.start_soon(make, 2, CancelScope())
            await until(lambda: len(threads._waiting) == 2)
            patience.cancel()
            await until(lambda: len(threads._waiting) == 1)
            let_go.set()
    assert answers == [2]
    threads.close()


async def test_threads_end_with_whom_they_belonged_to() -> None:
    threads, before = Threads(2), alive()
    await make_call(threads, len, "abc")
    assert alive() - before
    del threads
    gc.collect()
    await until(lambda: not alive() - before)


async def test_a_thread_that_is_in_a_call_ends_after_it() -> None:
    threads, before, let_go = Threads(1), alive(), threading.Event()
    async with create_task_group() as group:
        group.start_soon(make_call, threads, let_go.wait, DEADLINE)
        await until(lambda: alive() - before)
        threads.close()
        let_go.set()
    await until(lambda: not alive() - before)
