"""Retries, delays and expiry, on a clock that jumps: hours take milliseconds, and the waits are exact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from support import Gate, unchecked

from nursery_tasks import App, Backoff, JobState, Retry, current_job
from nursery_tasks.errors import InvalidArguments, JobExpired, JobTimedOut, RemoteError, UnknownTask
from nursery_tasks.events import EventKind
from nursery_tasks.model.delivery import Delivery, Submission
from nursery_tasks.model.message import Message
from nursery_tasks.testing import Lab, lab_backend, open_lab
from nursery_tasks.testing.lab import EPOCH
from nursery_tasks.worker.prepare import MarkDead, Preparer, ReleaseUnstarted


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return lab_backend()


class Flaky(Exception):
    pass


class Worse(Flaky):
    pass


class Runs:
    """A task that fails with one error after another, and notes when it ran."""

    def __init__(self, app: App, errors: list[BaseException], **options: Any) -> None:
        self.app, self.errors = app, list(errors)
        self.at: list[float] = []
        self.attempts: list[int] = []
        self.ids: set[str] = set()
        self.task = app.task(name="flaky", **options)(self.run)

    async def run(self) -> str:
        job = current_job()
        self.at.append(round(anyio.current_time() - self.began, 3))
        self.attempts.append(job.attempt)
        self.ids.add(job.id)
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    @property
    def waits(self) -> list[float]:
        return [round(after - before, 2) for before, after in zip(self.at, self.at[1:], strict=False)]

    began = 0.0


STEADY = Backoff(jitter=False)


# --- how often and after what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "errors", "expected"),
    [
        ({}, [Flaky()], 1),
        ({"retry": None}, [Flaky()], 1),
        ({"retry": 3}, [Flaky()] * 9, 3),
        ({"retry": Retry(3)}, [Flaky()] * 9, 3),
        ({"retry": Retry(5)}, [Flaky()] * 2, 3),
        ({"retry": Retry(3, on=Flaky)}, [Worse(), ValueError(), Flaky()], 2),
        ({"retry": Retry(3, never=Worse)}, [Flaky(), Worse(), Flaky()], 2),
        ({"retry": Retry(3, on=Flaky)}, [ExceptionGroup("", [Flaky(), Worse()]), ExceptionGroup("", [Flaky(), KeyError()])], 2),
        ({"retry": Retry(3)}, [SystemExit()], 1),
        ({"retry": Retry(3, on=SystemExit)}, [SystemExit()], 2),
        ({"retry": Retry(None, wait=1)}, [Flaky() for _ in range(200)], 201),
        ({}, [Retry()], 2),
        ({}, [Retry(2)] * 9, 2),
        ({"retry": Retry(3, on=KeyError)}, [Retry()] * 9, 3),
        ({"retry": Retry(1)}, [Retry()] * 9, 1),
        ({}, [ExceptionGroup("", [Retry()])], 2),
    ],
    ids=range(16),
)
async def test_a_job_runs_as_often_as_its_policy_says(
    memory_app: App, options: dict[str, Any], errors: list[BaseException], expected: int
) -> None:
    runs = Runs(memory_app, errors, **options)
    async with open_lab(memory_app):
        job = await runs.task.enqueue()
        outcome = await job.outcome()
    assert len(runs.at) == expected
    assert runs.attempts == list(range(1, expected + 1))
    assert runs.ids == {job.id}  # a retry is the same job
    assert outcome.attempt == expected


async def test_a_job_may_have_another_policy_than_its_task(memory_app: App) -> None:
    policies: list[tuple[dict[str, Any], int]] = [
        ({"retry": 4}, 4),
        ({"retry": None}, 1),
        ({"retry": Retry(2, on=KeyError)}, 1),
        ({"tags": ["x"]}, 2),
    ]
    for options, expected in policies:
        runs = Runs(memory_app, [Flaky()] * 9, retry=2)
        async with open_lab(memory_app):
            with pytest.raises(RemoteError):
                await runs.task.options(**options).run()
        assert len(runs.at) == expected


async def test_the_last_error_is_the_one_that_is_told(memory_app: App) -> None:
    runs = Runs(memory_app, [Flaky("first"), KeyError("second")], retry=2)
    async with open_lab(memory_app):
        with pytest.raises(KeyError, match="second"):
            await runs.task.run()


@pytest.mark.parametrize("how", ["from", "while handling"])
async def test_asking_for_a_retry_too_often_tells_what_it_was_about(memory_app: App, how: str) -> None:
    @memory_app.task(retry=2)
    async def fetch() -> None:
        try:
            raise ConnectionError("no answer")
        except ConnectionError as error:
            if how == "from":
                raise Retry(wait=1) from error
            raise Retry(wait=1)  # noqa: B904 - the other way is tested above

    async with open_lab(memory_app):
        with pytest.raises(ConnectionError, match="no answer"):
            await fetch.run()


async def test_a_timeout_can_be_retried(memory_app: App) -> None:
    for on in (None, TimeoutError):
        ran: list[int] = []

        @memory_app.task(timeout=10, retry=Retry(3, on=on, wait=1))
        async def slow(ran: list[int] = ran) -> str:
            ran.append(1)
            if len(ran) < 3:
                await anyio.sleep_forever()
            return "done"

        async with open_lab(memory_app) as lab:
            assert await slow.run() == "done"
            assert lab.elapsed_seconds == pytest.approx(22, abs=0.1)


async def test_a_timeout_that_is_not_named_ends_the_job(memory_app: App) -> None:
    @memory_app.task(timeout=10, retry=Retry(3, on=ValueError))
    async def slow() -> None:
        await anyio.sleep_forever()

    async with open_lab(memory_app):
        with pytest.raises(JobTimedOut):
            await slow.run()


async def test_arguments_that_do_not_fit_are_not_tried_again(memory_app: App) -> None:
    @memory_app.task(retry=Retry(5))
    async def double(x: int) -> int:
        return 2 * x

    async with open_lab(memory_app) as lab:
        job = await unchecked(memory_app, "double", "text").enqueue()
        assert (await job.outcome()).state is JobState.FAILED
        assert lab.history(job.id) == [EventKind.QUEUED, EventKind.FAILED]


# --- waits -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (5, [5, 5, 5, 5]),
        (timedelta(minutes=1), [60, 60, 60, 60]),
        ([1, 10, timedelta(hours=1)], [1, 10, 3600, 3600]),
        (STEADY, [1, 2, 4, 8]),
        (Backoff(base=10, factor=10, cap=500, jitter=False), [10, 100, 500, 500]),
        (0, [0, 0, 0, 0]),
    ],
    ids=str,
)
async def test_the_waits_between_attempts_are_those_of_the_policy(memory_app: App, wait: Any, expected: list[float]) -> None:
    runs = Runs(memory_app, [Flaky()] * 4, retry=Retry(5, wait=wait))
    async with open_lab(memory_app):
        assert await runs.task.run() == "done"
    assert runs.waits == pytest.approx(expected, abs=0.05)


async def test_jitter_makes_waits_shorter_and_different(memory_app: App) -> None:
    seen = set()
    for seed in range(5):
        runs = Runs(memory_app, [Flaky()] * 4, retry=5)
        async with open_lab(memory_app, seed=seed):
            assert await runs.task.run() == "done"
        assert all(wait <= most + 0.05 for wait, most in zip(runs.waits, (1, 2, 4, 8), strict=True))
        seen.add(tuple(runs.waits))
    assert len(seen) == 5


async def test_a_retry_that_the_task_asks_for_brings_its_own_wait(memory_app: App) -> None:
    runs = Runs(memory_app, [Retry(wait=30), Retry(wait=[7, 70]), Flaky()], retry=Retry(9, wait=2))
    async with open_lab(memory_app):
        assert await runs.task.run() == "done"
    assert runs.waits == pytest.approx([30, 70, 2], abs=0.05)


async def test_a_slot_is_free_while_a_job_waits_for_its_next_attempt(memory_app: App) -> None:
    runs = Runs(memory_app, [Flaky()], retry=Retry(2, wait=3600))

    @memory_app.task
    async def other() -> str:
        return "done"

    async with open_lab(memory_app, slots=1) as lab:
        job = await runs.task.enqueue()
        await anyio.sleep(10)
        assert await job.status() is JobState.SCHEDULED
        assert await other.run() == "done"
        assert lab.elapsed_seconds < 11
        assert await job == "done"
        assert lab.elapsed_seconds > 3600


async def test_the_states_of_a_job_that_fails_twice_can_be_seen(memory_app: App) -> None:
    runs = Runs(memory_app, [Flaky("one"), Flaky("two")], retry=Retry(5, wait=STEADY))
    async with open_lab(memory_app) as lab:
        job = await runs.task.enqueue()
        assert await job == "done"
        assert [str(kind) for kind in lab.history(job.id)] == [
            "queued",
            "started",
            "retrying",
            "started",
            "retrying",
            "started",
            "succeeded",
        ]
        told = [event for event in lab.events if event.kind is EventKind.RETRYING]
    assert [(event.attempt, event.wait_seconds) for event in told] == [(1, 1.0), (2, 2.0)]
    assert [event.detail for event in told] == ["test_retries.Flaky: one", "test_retries.Flaky: two"]


async def test_a_handle_waits_for_the_final_outcome(memory_app: App) -> None:
    runs = Runs(memory_app, [Flaky()] * 3, retry=Retry(4, wait=100))
    async with open_lab(memory_app) as lab:
        assert await runs.task.run() == "done"
        assert lab.elapsed_seconds == pytest.approx(300, abs=1)


# --- delays ------------------------------------------------------------------------------------------------------------------


async def enqueue_and_note(memory_app: App, lab: Lab, **options: Any) -> float:
    task = memory_app.task(name="note")(note)
    began = lab.elapsed_seconds
    await task.options(**options).run()
    return lab.elapsed_seconds - began


async def note() -> None: ...


@pytest.mark.parametrize("delay", [0.5, 2, 3600, timedelta(hours=5)])
async def test_a_job_with_a_delay_starts_when_it_is_due_and_not_before(memory_app: App, delay: Any) -> None:
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    async with open_lab(memory_app) as lab:
        took = await enqueue_and_note(memory_app, lab, delay=delay)
    assert seconds <= took < seconds + 0.05


async def test_a_moment_wins_over_a_delay(memory_app: App) -> None:
    async with open_lab(memory_app) as lab:
        moment = datetime.fromtimestamp(EPOCH, UTC) + timedelta(hours=1)
        assert 3600 <= await enqueue_and_note(memory_app, lab, at=moment, delay=5) < 3600.05
        assert await enqueue_and_note(memory_app, lab, at=moment, delay=5) < 0.05  # it has passed


async def test_jobs_with_delays_start_in_the_order_of_their_times(memory_app: App) -> None:
    ran: list[int] = []

    @memory_app.task
    async def note_it(n: int) -> None:
        ran.append(n)

    async with open_lab(memory_app, slots=1):
        handles = [await note_it.options(delay=n).enqueue(n) for n in (5, 3, 9, 1)]
        for handle in handles:
            await handle
    assert ran == [1, 3, 5, 9]


# --- expiry ------------------------------------------------------------------------------------------------------------------


async def test_a_job_that_nobody_starts_in_time_never_starts(memory_app: App) -> None:
    gate, ran = Gate(), []

    @memory_app.task
    async def hold() -> None:
        await gate.pass_through()

    @memory_app.task
    async def late() -> None:
        ran.append(1)

    async with open_lab(memory_app, slots=1):
        holding = await hold.enqueue()
        await gate.wait_for(1)
        job = await late.options(expires=60).enqueue()
        with pytest.raises(JobExpired, match="no worker started it in time"):
            await job
        assert (await job.outcome()).attempt == 0
        gate.open()
        await holding
    assert ran == []


async def test_time_runs_from_the_moment_when_a_job_may_start(memory_app: App) -> None:
    async with open_lab(memory_app) as lab:
        assert 100 <= await enqueue_and_note(memory_app, lab, delay=100, expires=10) < 101


async def test_a_job_expires_in_the_hands_of_a_worker_too(memory_app: App) -> None:
    """Short jobs are fetched ahead; what waits behind a long one of them must not start late."""
    ran: list[str] = []

    @memory_app.task
    async def quick(name: str) -> None:
        ran.append(name)
        if name == "long":
            await anyio.sleep(0.9)

    async with open_lab(memory_app, slots=1, pace=1000):
        for n in range(5):
            await quick.run(f"{n}")
        handles = await memory_app.enqueue_many(
            [quick.job("long"), quick.options(expires=0.5).job("late"), quick.options(expires=60).job("in time")]
        )
        with pytest.raises(JobExpired):
            await handles[1]
        outcome = await handles[1].outcome()
        await handles[2]
    assert ran[5:] == ["long", "in time"]
    assert outcome.reason == "no worker started it in time"


async def test_a_retry_does_not_expire(memory_app: App) -> None:
    runs = Runs(memory_app, [Flaky()] * 2, retry=Retry(3, wait=100))
    async with open_lab(memory_app):
        assert await runs.task.options(expires=50).run() == "done"


# --- tasks that a worker does not know ---------------------------------------------------------------------------------------


async def test_an_unknown_task_is_parked_for_ten_minutes_and_then_put_aside(memory_app: App) -> None:
    async with open_lab(memory_app) as lab:
        job = await memory_app.job("mystery", 1).enqueue()
        outcome = await job.outcome()
        assert outcome.state is JobState.DEAD
        assert outcome.reason == "unknown task 'mystery': no worker knew it for 600 s"
        assert 600 <= lab.elapsed_seconds < 640
        releases = [event for event in lab.events if event.kind is EventKind.RELEASED]
        assert [event.detail for event in releases] == ["no task is named 'mystery' here; it waits for a worker that knows it"]


async def test_an_unknown_task_waits_for_a_worker_that_knows_it(memory_app: App) -> None:
    async with open_lab(memory_app) as lab:
        job = await memory_app.job("later").enqueue()
        await anyio.sleep(100)

        @memory_app.task
        async def later() -> str:
            return "done"

        async with memory_app.open_worker(name="new"):  # the lab's own does not look again before it hears of something
            assert await job == "done"
        assert lab.elapsed_seconds < 101


async def test_a_message_of_another_version_is_parked_for_ten_minutes_and_then_fails(memory_app: App) -> None:
    @memory_app.task
    async def rated(price: float) -> float:
        return price

    theirs = App()

    @theirs.task(name="rated")
    async def rated_elsewhere(price: str) -> str:
        return price

    async with open_lab(memory_app) as lab:
        message = theirs.registry.codec.encode(
            "it", Message(task="rated", args=["high"], fingerprint=theirs.registry.tasks["rated"].signature.fingerprint)
        )
        broker = memory_app.connection.gateway.broker
        broker.submit([Submission("a", "default", "rated", message)])
        outcome = await memory_app.handle("a").outcome()
        assert outcome.state is JobState.FAILED
        assert outcome.error is not None
        assert "argument 'price'" in outcome.error.text
        assert 600 <= lab.elapsed_seconds < 602
        (release,) = [event for event in lab.events if event.kind is EventKind.RELEASED]
        assert release.detail is not None
        assert release.detail.startswith("made for another version of the task: ")


async def test_a_message_of_the_same_version_that_does_not_fit_fails_at_once(memory_app: App) -> None:
    @memory_app.task
    async def rated(price: float) -> float:
        return price

    async with open_lab(memory_app) as lab:
        with pytest.raises(InvalidArguments):
            await unchecked(memory_app, "rated", "high").run()
        assert lab.elapsed_seconds < 1


async def test_a_task_may_raise_our_own_errors(memory_app: App) -> None:
    @memory_app.task
    async def look_up() -> None:
        raise UnknownTask("x")

    async with open_lab(memory_app):
        with pytest.raises(UnknownTask):
            await look_up.run()


async def test_a_broker_that_cannot_park_gets_an_unknown_task_back_with_a_pause_that_grows() -> None:
    app = App("memory:")
    preparer = Preparer(app.registry, 10_000, parks=False)
    delivery = Delivery("a", "default", "mystery", b'{"task": "mystery"}', b"t")
    now, pauses = 0.0, list[float]()
    while isinstance(step := preparer.prepare(delivery, now, now), ReleaseUnstarted):
        assert step.park is None
        pauses.append(step.delay_seconds)
        now += step.delay_seconds
    assert pauses[:10] == [0.25] * 10
    assert pauses == sorted(pauses)
    assert max(pauses) == 30
    assert 600 <= now < 630
    assert step == MarkDead("unknown task 'mystery': no worker knew it for 600 s")
