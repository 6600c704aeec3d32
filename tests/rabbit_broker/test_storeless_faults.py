"""RabbitMQ without a store: what was lost, doubled, slow or left behind, each as a user would see it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any

import pytest
from anyio import create_task_group, fail_after, sleep, to_thread
from support import Gate, until, working

from nursery_tasks import App, CancelAnswer
from nursery_tasks.brokers.amqp.publishing import OutgoingMessage
from nursery_tasks.brokers.amqp.storeless import StorelessBroker, peers, transport
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import JobCancelled
from nursery_tasks.model.delivery import Delivery, Finished, Released, Retried, Started, Submission
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import packed

from .conftest import SECONDS, Host, Stranger, dead_letters

TRIO = pytest.mark.parametrize("anyio_backend", ["trio"])
QUEUE = "work"


@pytest.fixture
def opens(host: Host) -> Generator[Callable[..., StorelessBroker], None, None]:
    """Give a function that opens a broker, as another process would: it knows nothing of the others."""
    with ExitStack() as stack:

        def open_one(**options: object) -> StorelessBroker:
            broker = open_broker(host.url(store="", **options))
            assert isinstance(broker, StorelessBroker)
            stack.callback(broker.close)
            return broker

        yield open_one


def job(job_id: str, **more: Any) -> Submission:
    return Submission(job_id, QUEUE, "tests.task", b'{"task":"tests.task"}', **more)


def claim(broker: StorelessBroker, count: int = 1) -> list[Delivery]:
    """Claim until so many jobs are there."""
    found: list[Delivery] = []
    end = time.monotonic() + SECONDS
    while len(found) < count and time.monotonic() < end:
        found += broker.claim([QUEUE], count - len(found), "w", 15.0)
    return found


def names(host: Host) -> list[str]:
    return [each["name"] for each in host.server.api("GET", f"queues/{host.name}?columns=name")]


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


# --- the same id twice ----------------------------------------------------------------------------


def test_jobs_of_one_id_from_two_programs_run_one_after_the_other(opens: Callable[..., StorelessBroker]) -> None:
    first, second, worker = opens(), opens(), opens()
    first.submit([job("same")])
    second.submit([job("same")])
    first.submit([job("other")])
    held = claim(worker, 2)  # both messages of that id are fetched, and one of them has to wait
    assert sorted(delivery.id for delivery in held) == ["other", "same"]
    assert worker.claim([QUEUE], 10, "w", 15.0) == []
    assert worker.settle([Finished(each, JobState.SUCCEEDED, packed()) for each in held]) == [True, True]
    [again] = claim(worker)
    assert (again.id, again.attempt) == ("same", 1)
    assert worker.settle([Finished(again, JobState.SUCCEEDED, packed())]) == [True]
    end = time.monotonic() + SECONDS
    for broker in (first, second):  # each program hears of its own
        while broker.outcomes(["same"])[0].state is not JobState.SUCCEEDED:  # type: ignore[union-attr]
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_stranger_that_sends_an_id_twice_harms_no_worker(host: Host, stranger: Stranger) -> None:
    app, ran = App(host.url(store="")), list[int]()

    @app.task(name="add")
    async def add(number: int) -> int:
        ran.append(number)
        return number

    async with working(app, slots=8):
        assert await add.run(0) == 0  # the queue is there
        for number in range(1, 5):
            stranger.push(b'{"task": "add", "args": [%d]}' % number, message_id="order-17")
        await until(lambda: sorted(ran) == [0, 1, 2, 3, 4])
        assert await add.run(5) == 5


# --- a retry --------------------------------------------------------------------------------------


def test_a_retry_that_is_here_before_its_confirm_is_not_lost(
    opens: Callable[..., StorelessBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, worker = opens(), opens()
    client.submit([job("a")])
    [delivery] = claim(worker)
    sent, confirmed = Event(), Event()
    send = worker._transport.send_each

    def send_slowly(mail: Any) -> Any:
        refused = send(mail)
        sent.set()
        assert confirmed.wait(SECONDS)
        return refused

    monkeypatch.setattr(worker._transport, "send_each", send_slowly)
    settling = Thread(target=worker.settle, args=([Retried(delivery, 0.0, packed())],))
    settling.start()
    assert sent.wait(SECONDS)
    seen = until_fetched(worker)
    confirmed.set()
    settling.join()
    assert seen == []
    [again] = claim(worker)
    assert (again.id, again.attempt) == ("a", 2)
    assert worker.settle([Finished(again, JobState.SUCCEEDED, packed())]) == [True]
    assert worker.claim([QUEUE], 1, "w", 15.0) == []


def until_fetched(broker: StorelessBroker) -> list[Delivery]:
    """Claim until a message has come that cannot be started yet; returns what could be."""
    found: list[Delivery] = []
    end = time.monotonic() + SECONDS
    while not len(broker._in_flight.early) and time.monotonic() < end:
        found += broker.claim([QUEUE], 10, "w", 15.0)
    return found


# --- what the server drops ------------------------------------------------------------------------


def test_what_the_server_drops_is_among_the_dead(host: Host, stranger: Stranger, opens: Callable[..., StorelessBroker]) -> None:
    broker = open_limited(opens)
    broker.submit([job("a")])
    for _ in range(3):  # as a program would that knows nothing of all this
        stranger.get_and_return(f"nursery-tasks.{QUEUE}")
    [letter] = dead_letters(host, QUEUE, 1)
    assert letter["properties"]["message_id"] == "a"


def open_limited(opens: Callable[..., StorelessBroker]) -> StorelessBroker:
    return opens(**{"x-delivery-limit": 1})


def test_a_job_that_workers_give_back_outlives_a_delivery_limit(opens: Callable[..., StorelessBroker]) -> None:
    client, worker = open_limited(opens), open_limited(opens)
    client.submit([job("a")])
    for _ in range(5):
        [delivery] = claim(worker)
        assert worker.settle([Released(delivery)]) == [True]
    [delivery] = claim(worker)
    assert (delivery.id, delivery.attempt) == ("a", 1)


# --- cancels --------------------------------------------------------------------------------------


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have a question wait so long for an answer that no slow machine takes as long to ask it; returns the seconds."""
    monkeypatch.setattr(peers, "ANSWER_SECONDS", SECONDS)
    monkeypatch.setattr(transport, "BYE_SECONDS", SECONDS)
    return SECONDS


def test_a_cancel_does_not_wait_for_a_worker_that_has_left(opens: Callable[..., StorelessBroker], patience: float) -> None:
    client, stays, leaves = opens(), opens(), opens()
    for worker in (stays, leaves):
        assert worker.claim([QUEUE], 1, "w", 15.0) == []
    client.submit([job(f"job-{number}") for number in range(3)])
    assert client.cancel(["job-0"], None) == [CancelAnswer.CANCELLED]  # now it knows both
    leaves.close()
    assert seconds_of(lambda: client.cancel(["job-1"], None)) < patience
    stays.close()
    assert seconds_of(lambda: client.cancel(["job-2"], None)) < patience


def test_a_cancel_that_is_asked_when_a_worker_leaves_does_not_wait_for_it(
    opens: Callable[..., StorelessBroker], patience: float
) -> None:
    client, leaves = opens(), opens()
    assert leaves.claim([QUEUE], 1, "w", 15.0) == []
    question = client._peers.ask(client._transport.count_workers())
    assert not question.is_over
    leaves.close()
    assert seconds_of(lambda: client._peers.close(question)) < patience


def test_what_is_posted_goes_out_before_what_is_published_after_it(
    opens: Callable[..., StorelessBroker], stranger: Stranger
) -> None:
    """Who asks about a job has to hear who holds it before it hears of its end."""
    sender, queue = opens()._transport, stranger.own_queue()
    answer: Future[Any] = Future()

    def say() -> None:
        sender.post([OutgoingMessage("", queue, b"first", "1")])
        sender._publisher.send_soon([(None, [OutgoingMessage("", queue, b"second", "2")])], answer)

    assert sender._portal.post(say)
    assert answer.result(SECONDS) == {}
    assert [body for _, body in stranger.answers(queue, 2)] == [b"first", b"second"]


@TRIO
async def test_the_command_line_says_that_a_running_job_was_cancelled(host: Host) -> None:
    app, gate = App(host.url(store="")), Gate()

    @app.task
    async def work() -> None:
        await gate.pass_through()

    async with working(app, slots=1):
        handle = await work.enqueue()
        await gate.wait_for(1)
        words = [sys.executable, "-m", "nursery_tasks", "cancel", handle.id, "--broker", app.url]
        done = await to_thread.run_sync(lambda: subprocess.run(words, capture_output=True, text=True, check=False))
        assert (done.stdout.split(), done.returncode) == ([handle.id, "cancelled"], 0), done.stderr
        with pytest.raises(JobCancelled):
            await handle


# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["quorum", "classic"])
@TRIO
async def test_jobs_start_in_the_order_in_which_they_were_sent_also_when_they_wait_long(host: Host, kind: str) -> None:
    app, order = App(host.url(store="", queue_type=kind)), list[int]()

    @app.task
    async def work(number: int) -> None:
        order.append(number)
        await sleep(0.7)  # what a worker has fetched and cannot run goes back to the server meanwhile

    with fail_after(SECONDS):
        async with app:
            handles = await app.enqueue_many([work.job(number) for number in range(10)])
            async with app.open_worker(slots=1):
                for handle in handles:
                    await handle
    assert order == list(range(10))


# --- an app that is opened again ------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_handle_lives_as_long_as_its_program(host: Host) -> None:
    here, there = App(host.url(store="")), App(host.url(store="", heartbeat=14))
    gate = Gate()

    @here.task(name="work")
    async def not_here(number: int) -> int: ...

    @there.task(name="work")
    async def work(number: int) -> int:
        if number:
            await gate.pass_through()
        return number

    with fail_after(SECONDS):
        async with there, there.open_worker(slots=4):
            async with here:
                quick = await not_here.enqueue(0)
                assert await quick == 0
                slow = await not_here.enqueue(1)
                await gate.wait_for(1)
            gate.open()  # its outcome comes while nobody here can hear it
            async with here:
                assert await slow == 1
                assert await quick == 0
                assert await not_here.run(0) == 0
            async with here, create_task_group() as tg:
                for _ in range(3):
                    tg.start_soon(not_here.run, 0)


# --- what stays behind ----------------------------------------------------------------------------


def test_starts_that_were_taken_back_leave_no_queue_behind(host: Host, opens: Callable[..., StorelessBroker]) -> None:
    client, worker = opens(), opens()
    client.submit([job(f"job-{number}", max_crashes=1) for number in range(20)])  # each start of these is written down
    held = claim(worker, 20)
    assert worker.settle([Started(each) for each in held]) == [True] * 20
    assert len([name for name in names(host) if ".crashes." in name]) == 20
    assert worker.settle([Released(each) for each in held]) == [True] * 20  # the worker stops, and they go back
    assert [name for name in names(host) if ".crashes." in name] == []
    held = claim(worker, 20)
    assert worker.settle([Started(each) for each in held]) == [True] * 20
    assert worker.settle([Finished(each, JobState.SUCCEEDED, packed()) for each in held]) == [True] * 20
    assert [name for name in names(host) if ".crashes." in name] == []
