"""Debounces and throttles, as tasks with them behave in a worker."""

from __future__ import annotations

import pytest
from anyio import Event, create_task_group, move_on_after
from support import admin, until, until_state, working

from nursery_tasks import App, Debounce, JobState, Throttle
from nursery_tasks.errors import JobCancelled, UnknownJob
from nursery_tasks.model.listing import JobFilter

pytestmark = pytest.mark.anyio


async def test_the_last_submission_waits_for_all(app: App) -> None:
    @app.task(debounce=Debounce(600, key="{document}"))
    async def save(document: str, text: str) -> str:
        return f"{document} {text}"

    async with app:
        first, other, last = [await save.enqueue(*given) for given in (("a", "1"), ("b", "2"), ("a", "3"))]
        assert (first.created, other.created, last.created) == (True, True, False)
        assert first.id == last.id != other.id
        assert b'"3"' in admin(app).job(first.id).payload
        assert await first.status() is JobState.SCHEDULED
        assert await first.cancel() == "cancelled"
        following = await save.enqueue("a", "4")
        assert following.created
        known = await save.options(id=first.id).enqueue("a", "5")
        assert (known.id, known.created) == (first.id, False)
        with pytest.raises(JobCancelled):
            await last
        assert b'"4"' in admin(app).job(following.id).payload
        assert len(admin(app).list_jobs(JobFilter(), 10)) == 3


async def test_a_debounced_job_runs_once_it_is_quiet(app: App) -> None:
    @app.task(debounce=Debounce(0.2, key="{document}"))
    async def save(document: str, text: str) -> str:
        return f"{document} {text}"

    async with working(app):
        first = await save.enqueue("a", "1")
        assert await first == "a 1"
        again = await save.enqueue("a", "2")
        assert again.created
        assert await again == "a 2"
        assert await save.run("a", "3") == "a 3"


async def test_the_first_submission_of_a_throttle_stands_for_all(app: App) -> None:
    @app.task(throttle=Throttle(600, key="{user}"))
    async def mail(user: str, text: str) -> str:
        return f"{user} {text}"

    async with working(app):
        first = await mail.enqueue("anna", "1")
        assert await first == "anna 1"
        second = await mail.enqueue("anna", "2")
        assert (second.id, second.created) == (first.id, False)
        assert await second == "anna 1"
        assert await mail.run("anna", "3") == "anna 1"
        assert await mail.run("bert", "4") == "bert 4"
        assert await mail.options(throttle=None).run("anna", "5") == "anna 5"
        assert admin(app).purge("default", frozenset({JobState.SUCCEEDED})) == 3
        late = await mail.enqueue("anna", "6")
        assert (late.id, late.created) == (first.id, False)
        with pytest.raises(UnknownJob):
            await late
        with pytest.raises(UnknownJob):
            await mail.run("anna", "7")


async def test_whoever_awaits_a_repetition_joins_the_job_and_does_not_own_it(memory_app: App) -> None:
    app, go, results = memory_app, Event(), list[str]()

    @app.task(throttle=Throttle(600))
    async def fetch(text: str) -> str:
        await go.wait()
        return text

    async with working(app):
        async with create_task_group() as owner:

            async def own() -> None:
                results.append(await fetch.run("owned"))

            owner.start_soon(own)
            await until(lambda: admin(app).list_jobs(JobFilter(states=frozenset({JobState.STARTED})), 1))
            async with create_task_group() as joining:

                async def join() -> None:
                    results.append(await fetch.run("joins"))

                joining.start_soon(join)
                handle = await fetch.enqueue("detached")
                joining.cancel_scope.cancel()
            await until_state(app, handle.id, JobState.STARTED)
            go.set()
        assert results == ["owned"]
        assert await handle == "owned"
        assert len(admin(app).list_jobs(JobFilter(), 10)) == 1


async def test_a_debounced_job_ends_with_its_owner_unless_somebody_else_has_submitted_it(memory_app: App) -> None:
    app = memory_app

    @app.task(debounce=Debounce(600, key="{document}"))
    async def save(document: str) -> None: ...

    async with app:
        async with create_task_group() as owner:
            for document in ("mine", "ours"):
                owner.start_soon(save.run, document)
            await until(lambda: len(admin(app).list_jobs(JobFilter(), 10)) == 2)
            ours = await save.enqueue("ours")
            owner.cancel_scope.cancel()
        assert not ours.created
        assert {job.id == ours.id: job.state for job in admin(app).list_jobs(JobFilter(), 10)} == {
            True: JobState.SCHEDULED,
            False: JobState.CANCELLED,
        }


async def test_many_at_once_and_from_a_program_without_a_loop(app: App) -> None:
    @app.task(throttle=Throttle(600, key="{user}"))
    async def mail(user: str) -> None: ...

    async with app:
        handles = await app.enqueue_many([mail.job(user) for user in ("a", "b", "a", "c", "b")])
        assert [handle.created for handle in handles] == [True, True, False, True, False]
        assert [handle.id for handle in handles[2::2]] == [handles[0].id, handles[1].id]


async def test_who_joins_a_debounced_job_does_not_end_it_with_a_shorter_deadline(memory_app: App) -> None:
    app, results = memory_app, list[str]()

    @app.task(debounce=Debounce(1))
    async def save(text: str) -> str:
        return text

    async with working(app):
        async with create_task_group() as owner:

            async def own() -> None:
                results.append(await save.run("first"))

            owner.start_soon(own)
            await until(lambda: admin(app).list_jobs(JobFilter(), 1))
            with move_on_after(0.1) as late:
                await save.run("last")
            assert late.cancelled_caught
        assert results == ["last"]
