"""`app.cancel_jobs(...)`: many jobs at once, by id, task, tag or queue."""

from __future__ import annotations

from collections import Counter

import pytest
from support import Gate, states, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.delivery import CancelAnswer


async def test_by_task_queued_delayed_and_running_ones(app: App) -> None:
    gate = Gate()
    reasons: list[str | None] = []

    @app.task
    async def hang() -> None:
        try:
            await gate.pass_through()
        finally:
            reasons.append(current_job().cancel_reason)

    @app.task
    async def other() -> None:
        """Stay as it is."""

    async with working(app, slots=2, queues=["default"]):
        await app.enqueue_many([hang.job() for _ in range(4)])
        await hang.options(delay=3600).enqueue()
        kept = await other.options(queue="later").enqueue()
        await gate.wait_for(2)
        assert await app.cancel_jobs(task="hang", reason="release") == {CancelAnswer.CANCELLED: 5}
        assert Counter(states(app).values()) == {JobState.CANCELLED: 5, JobState.READY: 1}
        assert await kept.status() is JobState.READY
        assert reasons == ["release", "release"]
        assert gate.entered == 2
        assert await app.cancel_jobs(task="hang") == {}


async def test_by_tag_and_queue_together(app: App) -> None:
    @app.task
    async def note() -> None:
        """Do nothing."""

    async with app:
        wanted = await note.options(tags=["nightly", "eu"], queue="a").enqueue()
        await note.options(tags=["nightly"], queue="b").enqueue()
        await note.options(queue="a").enqueue()
        assert await app.cancel_jobs(tag="nightly", queue="a") == {CancelAnswer.CANCELLED: 1}
        assert await wanted.status() is JobState.CANCELLED
        assert await app.cancel_jobs(tag="nightly") == {CancelAnswer.CANCELLED: 1}
        assert await app.cancel_jobs(queue="a") == {CancelAnswer.CANCELLED: 1}


async def test_by_id_with_what_became_of_each(app: App) -> None:
    @app.task
    async def note() -> None:
        """Do nothing."""

    async with working(app):
        done = await note.enqueue()
        await done
        waiting = await note.options(delay=60).enqueue()
        answers = await app.cancel_jobs([done.id, waiting.id, "nobody"])
        assert answers == {CancelAnswer.FINISHED: 1, CancelAnswer.CANCELLED: 1, CancelAnswer.UNKNOWN: 1}
        assert await app.cancel_jobs([]) == {}


async def test_more_than_one_page(app: App) -> None:
    @app.task
    async def note() -> None:
        """Do nothing."""

    async with app:
        await app.enqueue_many([note.job() for _ in range(1_201)])
        assert await app.cancel_jobs(task="note") == {CancelAnswer.CANCELLED: 1_201}


async def test_something_must_be_given_to_choose_by(app: App) -> None:
    async with app:
        with pytest.raises(InvalidOptions, match="either ids, or one or more of task=, tag= and queue="):
            await app.cancel_jobs()
        with pytest.raises(InvalidOptions, match="either ids"):
            await app.cancel_jobs(["1"], task="note")
