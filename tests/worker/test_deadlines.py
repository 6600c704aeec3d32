"""The caller's deadline crosses the wire, beside the task's own timeout and the time that a job may wait in its queue."""

from __future__ import annotations

import time

import anyio
import msgspec
import pytest
from anyio import current_effective_deadline, current_time, fail_after, move_on_after
from support import DEADLINE, Gate, admin, until, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.errors import JobCancelled, JobExpired, JobTimedOut
from nursery_tasks.model.codec import Codec
from nursery_tasks.model.delivery import Delivery
from nursery_tasks.testing import lab_backend, open_lab
from nursery_tasks.worker.prepare import deadline_of

LEFT = "the deadline of its caller is over"


async def test_a_handler_sees_its_callers_deadline(app: App) -> None:
    @app.task
    async def left() -> float:
        return current_effective_deadline() - current_time()

    @app.task
    async def parent() -> float:
        return await left.run()

    async with working(app):
        with fail_after(8):
            assert 4 < await left.run() < 8
            assert 4 < await parent.run() < 8
        with fail_after(5):
            assert 2 < await left.options(timeout=3).run() <= 3  # the nearest one counts
        assert await (await left.enqueue()) > 5  # who only enqueues sets no deadline; the test has one


async def test_a_detached_job_does_not_end_with_the_deadline_of_who_sent_it(app: App) -> None:
    gate = Gate()

    @app.task
    async def wait() -> str:
        await gate.pass_through()
        return "done"

    async with working(app):
        with move_on_after(DEADLINE) as scope:
            job = await wait.enqueue()
            await gate.wait_for(1)
            scope.deadline = current_time()
            await job
        assert scope.cancelled_caught
        assert Codec("json").decode_message(admin(app).job(job.id).payload).remaining is None
        gate.open()
        assert await job == "done"


async def test_a_job_ends_at_its_callers_deadline_even_when_nobody_tells_it(app: App) -> None:
    """The submission is made by hand, as by a caller that is gone before it can cancel."""
    gate = Gate()

    @app.task(retry=5)
    async def hang() -> None:
        await gate.pass_through()

    async with working(app) as worker:
        connection = app.connection
        submission = hang.job().to_submission("1", time.time(), 10_000, 0.5)
        await connection.gateway.submit([_owned(submission)])
        with pytest.raises(JobCancelled, match=LEFT):
            await app.handle("1")
        assert worker.processed <= 1  # it is no failure, so there is no retry; none, if half a second was too short to begin
        assert gate.inside == 0


async def test_a_job_whose_callers_deadline_is_over_is_not_started(app: App) -> None:
    ran: list[str] = []

    @app.task
    async def note() -> None:
        ran.append(current_job().id)

    async with app:
        submission = note.job().to_submission("1", time.time(), 10_000, 0.02)
        await app.connection.gateway.submit([_owned(submission)])
        await anyio.sleep(0.03)
        with fail_after(DEADLINE):
            async with app.open_worker():
                with pytest.raises(JobCancelled, match=LEFT):
                    await app.handle("1")
    assert not ran


async def test_clocks_that_differ_change_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's clock is an hour behind, or ahead: only the seconds that were left travel, and the broker counts them."""

    @app.task
    async def left() -> float:
        return current_effective_deadline() - current_time()

    async with working(app):
        for skew in (-3600, 3600):
            monkeypatch.setattr(app.connection.submitter.encoder, "now", lambda skew=skew: time.time() + skew)
            with fail_after(5):
                assert 4 < await left.run() < 5


@pytest.mark.parametrize(("age", "expected"), [(0.0, 110.0), (4.0, 106.0), (11.0, 99.0)])
def test_the_time_in_the_queue_counts_on_the_brokers_clock(age: float, expected: float) -> None:
    delivery = Delivery("1", "default", "note", b"", b"", age_seconds=age, owned=True)
    assert deadline_of(10.0, delivery, 100.0) == expected


def test_a_job_that_a_person_puts_back_has_no_caller_any_more() -> None:
    assert deadline_of(10.0, Delivery("1", "default", "note", b"", b"", age_seconds=99.0, owned=False), 100.0) is None


async def test_what_was_first_decides_how_a_late_job_has_ended(app: App) -> None:
    gate = Gate()

    @app.task
    async def hang() -> None:
        await gate.pass_through()

    async with working(app):
        with move_on_after(DEADLINE):
            with pytest.raises(JobTimedOut):
                await hang.options(timeout=0.05).run()
        submission = hang.options(timeout=DEADLINE).job().to_submission("1", time.time(), 10_000, 0.05)
        await app.connection.gateway.submit([_owned(submission)])
        with pytest.raises(JobCancelled, match=LEFT):
            await app.handle("1")


async def test_who_swallows_the_deadline_has_not_succeeded(app: App) -> None:
    @app.task
    async def stubborn() -> str:
        with move_on_after(DEADLINE, shield=True):
            await anyio.sleep(0.1)
        return "too late"

    async with working(app):
        await app.connection.gateway.submit([_owned(stubborn.job().to_submission("1", time.time(), 10_000, 0.05))])
        with pytest.raises(JobCancelled, match=LEFT):
            await app.handle("1")


@pytest.mark.parametrize("anyio_backend", [lab_backend()], ids=["lab"])  # where each of them begins before its time is over
async def test_the_handler_can_ask_why_it_ends(memory_app: App) -> None:
    app, reasons, began = memory_app, dict[str, str | None](), list[str]()

    @app.task
    async def hang(name: str) -> None:
        began.append(name)
        try:
            await anyio.sleep_forever()
        finally:
            reasons[name] = current_job().cancel_reason

    async with open_lab(app):
        with pytest.raises(JobTimedOut):
            await hang.options(timeout=0.05).run("timeout")
        await app.connection.gateway.submit([_owned(hang.job("deadline").to_submission("1", time.time(), 10_000, 0.05))])
        job = await hang.enqueue("cancel")
        await until(lambda: len(reasons) == 2 and "cancel" in began)
        await job.cancel("enough")
    assert reasons == {"timeout": "timed out", "deadline": LEFT, "cancel": "enough"}


async def test_expiry_in_the_queue_and_the_timeout_stay_apart(app: App) -> None:
    @app.task(timeout=0.05)
    async def hang() -> None:
        await anyio.sleep_forever()

    async with app:
        waiting = await hang.options(expires=0.02, timeout=5).enqueue()
        await anyio.sleep(0.03)
        with fail_after(DEADLINE):
            async with app.open_worker():
                with pytest.raises(JobExpired):
                    await waiting
                with pytest.raises(JobTimedOut):
                    await (await hang.options(expires=60).enqueue())
                assert await waiting.status() is JobState.EXPIRED


def test_the_message_says_what_was_left(app: App) -> None:
    @app.task
    async def note() -> None:
        """Do nothing."""

    message = Codec("json").decode_message(note.job().to_submission("1", 1000.0, 10_000, 2.5).payload)
    assert (message.remaining, message.deadline) == (2.5, 1002.5)
    message = Codec("json").decode_message(note.job().to_submission("1", 1000.0, 10_000).payload)
    assert (message.remaining, message.deadline) == (None, None)


def _owned(submission):  # type: ignore[no-untyped-def]
    return msgspec.structs.replace(submission, owner=b"somebody", owner_seconds=60.0)
