"""Slips of the hand: each costs one error that shows the right call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import run
from support import working

from nursery_tasks import App, Backoff, Retry
from nursery_tasks.errors import InvalidBrokerUrl, InvalidOptions, JobError, NotAJob, NoWorkers, WaitTimedOut
from nursery_tasks.model.again import Again, decide_retry
from nursery_tasks.model.retry import RetryRule
from nursery_tasks.testing import open_lab

# --- what is no job ----------------------------------------------------------------------------------------------------------


def declare(app: App) -> tuple[Any, Any]:
    @app.task
    async def add(a: int) -> int:
        return a

    @app.task
    def shout(text: str) -> str:
        return text.upper()

    return add, shout


SLIPS: list[tuple[Callable[[Any, Any], object], str]] = [
    (lambda add, shout: add(1), r"got a coroutine: add\(...\) calls the function itself; pass add.job\(...\)"),
    (lambda add, shout: shout("x"), r"got 'X', which is no job; pass task.job\(...\)"),
    (lambda add, shout: add, r"got the task add; pass add.job\(...\)"),
    (lambda add, shout: shout.options(priority=3), r"got the task shout; pass shout.job\(...\)"),
]


@pytest.mark.parametrize(("slip", "words"), SLIPS)
def test_a_call_is_no_job(memory_app: App, slip: Callable[[Any, Any], Any], words: str) -> None:
    tasks = declare(memory_app)
    with pytest.raises(NotAJob, match=rf"app\.sync\.enqueue\(\) {words}"):
        memory_app.sync.enqueue(slip(*tasks))
    with pytest.raises(NotAJob, match=rf"app\.sync\.run\(\) {words}"):
        memory_app.sync.run(slip(*tasks))
    with pytest.raises(NotAJob, match=rf"app\.sync\.enqueue_many\(\) {words}"):
        memory_app.sync.enqueue_many([slip(*tasks), slip(*tasks)])


@pytest.mark.parametrize(("slip", "words"), SLIPS)
async def test_a_call_is_no_job_in_a_list_either(memory_app: App, slip: Callable[[Any, Any], Any], words: str) -> None:
    add, shout = declare(memory_app)
    async with memory_app:
        with pytest.raises(NotAJob, match=rf"app\.enqueue_many\(\) {words}"):
            await memory_app.enqueue_many([add.job(1), slip(add, shout), slip(add, shout)])


async def test_one_job_is_no_list(memory_app: App) -> None:
    add, _ = declare(memory_app)
    async with memory_app:
        with pytest.raises(NotAJob, match=r"app\.enqueue_many\(\) got <Job add\(1\)>; pass a list of jobs: \[job\]"):
            await memory_app.enqueue_many(add.job(1))
        with pytest.raises(NotAJob, match=r"which is no list; pass a list of jobs: \[task\.job\(\.\.\.\), \.\.\.\]"):
            await memory_app.enqueue_many(add)
    with pytest.raises(NotAJob, match=r"app\.sync\.enqueue_many\(\) got <Job add\(1\)>; pass a list of jobs"):
        memory_app.sync.enqueue_many(add.job(1))


# --- declaring ---------------------------------------------------------------------------------------------------------------


def test_a_name_alone_is_no_function(memory_app: App) -> None:
    wrong: Any = "mail"
    with pytest.raises(InvalidOptions, match=r"expected a function; a task's name is given by @app\.task\(name='mail'\)"):
        memory_app.task(wrong)
    wrong = 10
    with pytest.raises(InvalidOptions, match=r"options are given by name, as in @app\.task\(timeout=10\)"):
        memory_app.task(wrong)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("jobs.db", "it has no scheme; did you mean sqlite:///jobs.db?"),
        ("/var/jobs.db", "it has no scheme; did you mean sqlite:////var/jobs.db?"),
        ("data/a:b.db", "did you mean sqlite:///data/a:b.db?"),
        ("sqlite:jobs.db", "it names no file; did you mean sqlite:///jobs.db?"),
        ("sqlite://jobs.db", "did you mean sqlite:///jobs.db?"),
        ("sqlite:///", "it names no file; expected"),
        ("ftp://host", "ftp: names no broker"),
    ],
)
def test_a_path_is_no_url(url: str, words: str) -> None:
    async def use() -> None:
        async with App(url):
            pass

    with pytest.raises(InvalidBrokerUrl) as caught:
        run(use)
    assert words in str(caught.value)


def test_what_is_no_text_is_no_url() -> None:
    wrong: Any
    for wrong, meant in ((1, "sqlite:///nursery-tasks.db"), (Path("a/jobs.db"), "sqlite:///a/jobs.db")):
        with pytest.raises(InvalidOptions, match=f"a broker's URL as a text, such as '{meant}'"):
            App(wrong)


# --- nobody works ------------------------------------------------------------------------------------------------------------


async def test_nobody_outside_can_work_for_memory(memory_app: App) -> None:
    add, _ = declare(memory_app)
    async with memory_app:
        job = await add.enqueue(1)
        with pytest.raises(WaitTimedOut, match=r"open one here: `async with app, app\.open_worker\(\):`"):
            await job.result(timeout=0.01)
    picky = App("memory:", require_workers=True)
    add, _ = declare(picky)
    async with picky:
        with pytest.raises(NoWorkers, match=r"open one here: `async with app, app\.open_worker\(\):`"):
            await add.enqueue(1)


def test_nobody_outside_can_work_for_memory_without_a_loop(memory_app: App) -> None:
    add, _ = declare(memory_app)
    with pytest.raises(WaitTimedOut, match=r"open one here: `async with app, app\.open_worker\(\):`"):
        memory_app.sync.enqueue(add.job(1)).result(timeout=0.01)
    memory_app.sync.close()


# --- without an end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, 0.01, [5, 0], Backoff(base=0), Backoff(cap=0), Backoff(factor=0.5)])
def test_retrying_for_ever_without_a_rest_is_refused(wait: Any) -> None:
    with pytest.raises(InvalidOptions, match=r"expected 0.1 s or more in the long run, for attempts=None would go on for ever"):
        Retry(None, wait=wait)
    assert Retry(3, wait=wait).attempts == 3


@pytest.mark.parametrize("wait", [None, 0.1, [0, 5], Backoff(base=0.1, factor=1)])
def test_retrying_for_ever_with_a_rest_is_allowed(wait: Any) -> None:
    assert Retry(None, wait=wait).to_rule().allows(10**6)


def test_a_rule_from_elsewhere_rests_as_well() -> None:
    spins, asks = RetryRule(attempts=None, waits=(0.0,)), Retry(wait=0)
    assert decide_retry(OSError(), 1, spins, 0.5) == Again(0.1)
    assert decide_retry(asks, 1, RetryRule(attempts=None), 0.5) == Again(0.1)
    assert decide_retry(asks, 1, RetryRule(attempts=3), 0.5) == Again(0.0)


async def test_a_handler_that_asks_for_no_wait_does_not_spin(memory_app: App) -> None:
    attempts = 0

    @memory_app.task(retry=Retry(None), timeout=1)
    async def flaky() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 5:
            raise Retry(wait=0)

    async with open_lab(memory_app) as lab:
        await flaky.run()
        assert lab.elapsed_seconds >= 0.4


async def test_the_error_of_a_program_crosses_the_wire(memory_app: App) -> None:
    from nursery_tasks import run_process
    from nursery_tasks.errors import ProcessFailed

    @memory_app.task
    async def build() -> None:
        await run_process(["sh", "-c", "echo no >&2; exit 3"])

    async with working(memory_app):
        with pytest.raises(ProcessFailed, match="exited with 3: no") as caught:
            await build.run()
    assert caught.value.returncode == 3
    assert not isinstance(caught.value, JobError)
