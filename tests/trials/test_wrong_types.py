"""A value of the wrong type is told at the call, in words; unchecked it finds nothing, or becomes a driver's error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nursery_tasks import App, CancelAnswer, JobState, Retry, RetryAnswer, sequence
from nursery_tasks.errors import InvalidOptions, NotAJob


@pytest.fixture
def measure(app: App) -> Any:
    @app.task
    async def measure(path: str) -> int:
        return len(path)

    return measure


async def test_one_id_is_one_job_and_not_its_letters(app: App, measure: Any) -> None:
    async with app:
        job = await measure.enqueue("a")
        assert await app.jobs.cancel(job.id) == {CancelAnswer.CANCELLED: 1}
        assert await app.jobs.retry(job.id) == {job.id: RetryAnswer.READY}
        info = await app.jobs.get(job.id)
        assert info is not None
        assert info.state is JobState.READY


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"task": 5}, "task=5: expected a name"),
        ({"queue": b"mail"}, "queue=b'mail': expected a name"),
        ({"parent": 5}, "parent=5: expected an id"),
        ({"states": ["runing"]}, r"states=\['runing'\]: expected some of scheduled, ready"),
        ({"limit": "5"}, "limit='5': expected a whole number, 0 or more"),
        ({"limit": -1}, "limit=-1: expected a whole number, 0 or more"),
        ({"after": None}, "after=None: expected a whole number, 0 or more"),
    ],
)
async def test_wrong_filters_are_told(app: App, given: dict[str, Any], words: str) -> None:
    async with app:
        with pytest.raises(InvalidOptions, match=rf"^{words}"):
            await app.jobs.list(**given)
    with pytest.raises(InvalidOptions, match=rf"^{words}"):
        app.sync.jobs.list(**given)


async def test_a_task_or_a_handle_is_no_name_and_no_id(app: App, measure: Any) -> None:
    async with app:
        job = await measure.enqueue("a")
        for call in (app.jobs.list, app.jobs.cancel):
            with pytest.raises(InvalidOptions, match=r"^task=<Task measure>: expected a name, such as 'measure'$"):
                await call(task=measure)
        for listing in (app.jobs.cancel, app.jobs.retry):
            with pytest.raises(
                InvalidOptions, match=r"^ids=<JobHandle measure .*>: expected the id of a job, such as job\.id$"
            ):
                await listing([job])
            with pytest.raises(InvalidOptions, match=r"expected an id, or a list of them, such as \[job\.id\]$"):
                await listing(job)
        with pytest.raises(InvalidOptions, match=r"^job_id=<JobHandle measure .*>: expected the id of a job, such as job\.id$"):
            await app.jobs.get(job)  # type: ignore[arg-type]
    for side in (app, app.sync):
        with pytest.raises(
            InvalidOptions, match=r"task's name; where the task is at hand, measure\.handle\(job_id\) is the same$"
        ):
            side.handle("x", measure)
    with pytest.raises(InvalidOptions, match=r"task's name; where the task is at hand, measure\.job\(\.\.\.\) is the same$"):
        app.job(measure, "a")


async def test_a_queue_that_cannot_be_is_not_purged(app: App) -> None:
    async with app:
        for purge in (app.jobs.purge, app.queues.purge):
            with pytest.raises(InvalidOptions, match="='a b': expected 1 to 64 letters"):
                await purge("a b")


@pytest.mark.parametrize("name", ["", "a b", "a\0b", "a\nb", "\ud800", "x" * 201, 5, None])
def test_a_name_that_no_task_can_have_is_not_sent(memory_app: App, name: Any) -> None:
    with pytest.raises(InvalidOptions, match=r"^name="):
        memory_app.job(name, 1)


def test_an_empty_name_is_told_as_it_came_in(memory_app: App) -> None:
    with pytest.raises(InvalidOptions, match=r"^name='': expected 1 to 200 characters without spaces$"):
        memory_app.task(name="")(len)


@pytest.mark.parametrize(
    "declare", [lambda app: app.task, lambda app: app.task(timeout=3), lambda app: app.workflow], ids=["bare", "called", "flow"]
)
def test_a_task_is_no_function_for_another_task(memory_app: App, declare: Callable[[App], Any]) -> None:
    @memory_app.task
    async def fetch() -> None: ...

    with pytest.raises(InvalidOptions, match=r"^function=<Task fetch>: expected a function: fetch is a task already"):
        declare(memory_app)(fetch)


async def test_a_submission_among_jobs_is_told_by_its_task(memory_app: App) -> None:
    @memory_app.task
    async def fetch() -> None: ...

    async with memory_app:
        words = r"got a coroutine: fetch\.enqueue\(\.\.\.\) submits the job itself; pass fetch\.job\(\.\.\.\)$"
        with pytest.raises(NotAJob, match=words):
            await memory_app.enqueue_many([fetch.enqueue()])  # type: ignore[list-item]
        with pytest.raises(NotAJob, match=r"fetch\.run\(\.\.\.\) submits the job itself; pass fetch, or fetch\.job\(\.\.\.\)$"):
            sequence(fetch.run())  # type: ignore[call-overload]


def test_names_of_error_classes_are_no_classes() -> None:
    with pytest.raises(InvalidOptions, match=r"^on='OSError': expected exception classes, such as OSError$"):
        Retry(3, on="OSError")  # type: ignore[arg-type]


def test_a_document_in_the_place_of_a_name_does_not_fill_the_screen(memory_app: App) -> None:
    @memory_app.task
    async def fetch() -> None: ...

    with pytest.raises(InvalidOptions) as caught:
        fetch.options(key="begin" + "x" * 100_000 + "end")
    text = str(caught.value)
    assert len(text) < 400
    assert text.startswith("key='beginxxx")
    assert text.endswith("xxxend': expected 1 to 200 characters without spaces")
