"""Batch tasks as a program declares and calls them: one item for each job, wherever it is submitted from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from anyio import to_thread
from support import working

from nursery_tasks import App, Batch, BatchedJob, TaskClass, current_job, every, resource
from nursery_tasks.errors import InvalidArguments, InvalidBatchResult, InvalidOptions, JobTimedOut, NotInJob


@dataclass
class Doc:
    number: int


@pytest.fixture
def app(memory_app: App) -> App:
    @memory_app.task(batch=Batch(10, wait=0.01))
    async def index(docs: list[Doc]) -> list[Doc | Exception]:
        return [ValueError("unlucky") if doc.number == 13 else Doc(-doc.number) for doc in docs]

    return memory_app


async def test_a_call_is_still_the_plain_function(app: App) -> None:
    index: Any = app.get_task("index")
    assert await index([Doc(1), Doc(2)]) == [Doc(-1), Doc(-2)]


async def test_an_item_is_checked_and_converted_like_an_argument(app: App) -> None:
    index = app.get_task("index")
    with pytest.raises(InvalidArguments, match=r"the task is index\(docs: one of list\[Doc\]\)"):
        index.job([Doc(1)])
    async with working(app):
        assert await index.run(Doc(1)) == Doc(-1)
        assert await index.run(docs=Doc(2)) == Doc(-2)
        with pytest.raises(ValueError, match="unlucky"):
            await index.run(Doc(13))


async def test_run_local_gets_a_list_of_one(app: App) -> None:
    index = app.get_task("index")
    seen: list[tuple[BatchedJob, ...]] = []

    @app.task(batch=Batch(10), timeout=60)
    def look(numbers: list[int]) -> list[int]:
        seen.append(current_job().batch)
        return numbers * (2 if numbers == [2] else 1)

    assert await index.run_local(Doc(1)) == Doc(-1)
    with pytest.raises(ValueError, match="unlucky"):
        await index.run_local(Doc(13))
    assert await look.run_local(1) == 1
    assert seen == [(BatchedJob("local"),)]
    with pytest.raises(InvalidBatchResult, match="look returned a list of 2 for 1 job: expected a list of 1"):
        await look.run_local(2)


async def test_groups_bulk_and_programs_without_a_loop_submit_items(app: App) -> None:
    index = app.get_task("index")
    async with working(app):
        async with app.create_task_group() as group:
            children = [group.start_soon(index, Doc(number)) for number in range(3)]
        assert [child.return_value for child in children] == [Doc(0), Doc(-1), Doc(-2)]
        assert await to_thread.run_sync(app.sync.run, index.job(Doc(4))) == Doc(-4)
        handle = await to_thread.run_sync(app.sync.enqueue, index.job(Doc(5)))
        assert await index.handle(handle.id) == Doc(-5)


async def test_a_class_and_resources_work_as_in_other_tasks(memory_app: App) -> None:
    @memory_app.lifespan
    async def factor() -> AsyncIterator[int]:
        yield 3

    class Times(TaskClass):
        async def run(self, numbers: list[int]) -> list[int]:
            return [number * len(self.job.batch) for number in numbers]

    @memory_app.task(batch=Batch(2, wait=0.01))
    async def scale(numbers: list[int], by: int = resource(factor)) -> list[int]:
        return [number * by for number in numbers]

    times: Any = memory_app.task(Times, batch=Batch(2, wait=0.01))  # type: ignore[call-overload]
    async with working(memory_app):
        assert await scale.run(4) == 12
        assert await times.run(4) == 4
    assert await scale.run_local(5) == 15


async def test_a_step_of_a_flow_may_be_a_batch_task(app: App) -> None:
    from nursery_tasks import sequence

    index = app.get_task("index")

    @app.task
    async def make(number: int) -> Doc:
        return Doc(number)

    flow: Any = sequence(make, index)
    async with working(app):
        assert await flow.run(3) == Doc(-3)
    assert await flow.run_local(3) == Doc(-3)


def test_a_result_is_what_one_job_gets(memory_app: App) -> None:
    @memory_app.task(batch=Batch(2))
    async def a(numbers: list[int]) -> list[str] | None: ...
    @memory_app.task(batch=Batch(2))
    async def b(numbers: Sequence[int]) -> list[int | str | ValueError]: ...
    @memory_app.task(batch=Batch(2))
    async def c(numbers: list) -> list[Exception]: ...  # type: ignore[type-arg]
    @memory_app.task(batch=Batch(2))
    async def d(numbers: list[int]) -> None: ...

    assert a.spec.signature.returns == str | None
    assert b.spec.signature.returns == int | str
    assert c.spec.signature.returns is Any
    assert d.spec.signature.returns is type(None)


@pytest.mark.parametrize("size", [0, -1, 10_001, 1.5, True, "10"])
def test_a_size_is_a_whole_number(size: Any) -> None:
    with pytest.raises(InvalidOptions, match=r"size=.*expected a whole number from 1 to 10,000"):
        Batch(size)


@pytest.mark.parametrize("wait", [-1, "1", None, float("inf")])
def test_a_wait_is_a_duration(wait: Any) -> None:
    with pytest.raises(InvalidOptions, match="wait="):
        Batch(10, wait=wait)


async def _two(a: list[int], b: int) -> list[int]: ...
async def _no_list(a: int) -> list[int]: ...
async def _default(a: list[int] | None = None) -> list[int]: ...
async def _keyword(*, a: list[int]) -> list[int]: ...
async def _many(*a: list[int]) -> list[int]: ...
async def _one_result(a: list[int]) -> int: ...
async def _set_of_results(a: list[int]) -> set[int]: ...


@pytest.mark.parametrize("function", [_two, _default, _keyword, _many])
def test_a_function_of_a_batch_takes_one_list(memory_app: App, function: Any) -> None:
    with pytest.raises(InvalidOptions, match="expected a function with exactly one parameter, a list of the jobs' arguments"):
        memory_app.task(batch=Batch(2))(function)


@pytest.mark.parametrize(
    ("function", "what"),
    [(_no_list, "parameter 'a'"), (_one_result, "the result"), (_set_of_results, "the result")],
)
def test_what_is_no_list_is_refused(memory_app: App, function: Any, what: str) -> None:
    with pytest.raises(InvalidOptions, match=f"expected a list for {what} of {function.__name__}, as in list\\[int\\]"):
        memory_app.task(batch=Batch(2))(function)


def test_what_makes_no_sense_beside_it_is_refused(memory_app: App) -> None:
    async def plain(numbers: list[int]) -> None: ...

    task: Any = memory_app.task
    with pytest.raises(InvalidOptions, match="no raw=True beside it"):
        task(batch=Batch(2), raw=True)(plain)
    with pytest.raises(InvalidOptions, match=r"batch=10: expected Batch\(100, wait=0.5\), or None"):
        task(batch=10)(plain)
    with pytest.raises(InvalidOptions, match="expected it on a task: a workflow runs once for each of its jobs"):
        memory_app.workflow(batch=Batch(2))  # type: ignore[call-overload]
    with pytest.raises(InvalidOptions, match=r"a task without arguments; app.schedule\('plain', plain.job\(...\), ...\) gives"):
        task(batch=Batch(2), schedule=every(5))(plain)
    with pytest.raises(InvalidOptions, match=r"batch_size=10: expected batch=Batch\(100, wait=0.5\)"):
        task(batch_size=10)
    declared = memory_app.task(batch=Batch(2))(plain)
    with pytest.raises(InvalidOptions, match="expected it where the task is declared: a batch is one call for many jobs"):
        declared.options(timeout=5)
    with pytest.raises(InvalidOptions, match="it where the task is declared"):
        declared.options(batch=Batch(3))  # type: ignore[call-arg]


async def test_the_time_limit_and_the_absence_of_a_job_are_as_in_other_tasks(memory_app: App) -> None:
    import anyio

    @memory_app.task(batch=Batch(2), timeout=0.01)
    async def hang(numbers: list[int]) -> None:
        await anyio.sleep_forever()

    with pytest.raises(JobTimedOut):
        await hang.run_local(1)
    with pytest.raises(NotInJob):
        current_job()
