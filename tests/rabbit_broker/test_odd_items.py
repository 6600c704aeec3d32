"""One thing that RabbitMQ, or its driver, does not take is the loss of whoever sent it, and of nobody beside it."""

from __future__ import annotations

import json
import logging
from base64 import b64decode
from typing import Any

import pytest
from anyio import Event, create_task_group, to_thread
from support import until, working

from nursery_tasks import App, JobState, Retry, current_job
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerError, BrokerFull, NotSupported
from nursery_tasks.model.codec import unpack_outcome
from nursery_tasks.model.listing import JobFilter

from .conftest import DEFAULT, EXCHANGE, SECONDS, Host, Stranger, dead_letters

LOOPS = ["asyncio", "trio"]
TRIO = pytest.mark.parametrize("anyio_backend", ["trio"])
LONG = "\u00e9" * 150  # of 300 bytes; a text in AMQP has 255 at most
ODD_PLACES: dict[str, dict[str, Any]] = {
    "a star in the name": {"reply_to": "answers*of*ada"},
    "a slash": {"reply_to": "a\\b"},
    "a name of the server's own": {"reply_to": "amq.not*there"},
    "a long correlation": {"reply_to": "sums", "correlation_id": "x" * 255},
    "a long name in the body": {"body": b'{"task": "add", "args": [1, 2], "reply_to": "%s"}' % LONG.encode()},
    "a long correlation in the body": {
        "body": b'{"task": "add", "args": [1, 2], "reply_to": "sums?correlation_id=%s"}' % LONG.encode()
    },
}


def add_app(host: Host, store: bool) -> tuple[App, list[int]]:
    app, added = App(host.url() if store else host.url(store="")), list[int]()

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        added.append(a + b)
        return a + b

    return app, added


def make_queue(app: App) -> None:
    broker = open_broker(app.url)
    assert broker.queues
    broker.queues.create_queue(DEFAULT)
    broker.close()


@pytest.mark.parametrize("store", [True, False], ids=["store", "storeless"])
@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_an_odd_reply_to_costs_its_answer_and_no_outcome(
    host: Host, stranger: Stranger, store: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, added = add_app(host, store)
    await to_thread.run_sync(make_queue, app)
    queue = stranger.own_queue()
    for odd in ODD_PLACES.values():  # all of them are there before a worker is, which takes them in one batch
        stranger.push(**{"body": b'{"task": "add", "args": [1, 2]}', **odd})
        stranger.push(b'{"task": "add", "args": [1, 2]}', reply_to=queue)
    with caplog.at_level(logging.WARNING, "nursery_tasks"):
        async with working(app, slots=32):
            answers = await to_thread.run_sync(stranger.answers, queue, len(ODD_PLACES))
            assert len(answers) == len(ODD_PLACES)
            await until(lambda: len(added) == 2 * len(ODD_PLACES))
            assert await app.job("add", 2, 2).run() == 4
    assert await to_thread.run_sync(stranger.count, f"{EXCHANGE}.{DEFAULT}") == 0  # each is done with: none comes again
    assert added == [3] * 2 * len(ODD_PLACES) + [4]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in said if "'answers*of*ada'" in text and "no answer is sent" in text]) == 1, said
    assert not [text for text in said if "no answer is sent" not in text], said


UNREADABLE: dict[str, dict[str, Any]] = {
    "an id": {"message_id": b"\xff\xfe"},
    "a place": {"reply_to": b"answers-\xe9"},
    "a header": {"headers": {"name": b"\xff"}, "correlation_id": b"\xff"},
}


@pytest.mark.parametrize("store", [True, False], ids=["store", "storeless"])
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_properties_that_are_no_text_make_a_dead_letter_and_break_no_link(
    host: Host, stranger: Stranger, store: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, added = add_app(host, store)
    await to_thread.run_sync(make_queue, app)
    body = b'{"task": "add", "args": [7, 7]}'
    for odd in UNREADABLE.values():
        stranger.push(body, **odd)
    queue = stranger.own_queue()
    stranger.push(b'{"task": "add", "args": [1, 2]}', reply_to=queue)
    async with working(app, slots=8):
        [(_, answer)] = await to_thread.run_sync(stranger.answers, queue, 1)
        assert json.loads(answer)["response"] == 3
        if store:
            records = app.connection.gateway.admin.list_jobs(JobFilter(states=frozenset({JobState.DEAD})), 10)
            dead = [(record.payload, str(unpack_outcome(record.outcome or b"").reason)) for record in records]
        else:
            letters = await to_thread.run_sync(dead_letters, host, DEFAULT, len(UNREADABLE))
            dead = [(b64decode(each["payload"]), each["properties"]["headers"]["nursery-tasks-reason"]) for each in letters]
        assert [payload for payload, _ in dead] == [body] * len(UNREADABLE)
        assert all("its properties cannot be read" in reason for _, reason in dead), dead
    assert added == [3]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stranger_whose_places_are_no_text_is_heard(host: Host, stranger: Stranger) -> None:
    app, added = add_app(host, store=False)
    await to_thread.run_sync(make_queue, app)
    stranger.channel.exchange_declare("loud", "fanout")
    stranger.channel.queue_bind(f"{EXCHANGE}.{DEFAULT}", "loud")
    async with working(app, slots=2):
        stranger.channel.basic_publish("loud", b"\xff" * 200, b'{"task": "add", "args": [1, 2]}')
        await until(lambda: added == [3])


@pytest.mark.parametrize("store", [True, False], ids=["store", "storeless"])
@TRIO
async def test_a_full_queue_refuses_its_own_jobs_and_no_others(host: Host, store: bool) -> None:
    limits = {"queue_type": "classic", "x-max-length.full": 0, "x-overflow.full": "reject-publish"}
    app, answers = App(host.url(**({} if store else {"store": ""}), **limits)), dict[str, object]()

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    async def ask(name: str, **options: Any) -> None:
        try:
            answers[name] = await app.job("add", 1, 2).with_options(**options).run()
        except BrokerError as error:
            answers[name] = error

    async with working(app, slots=16):
        assert await app.job("add", 1, 2).run() == 3
        async with create_task_group() as asking:  # what they send goes out together
            for number in range(12):
                asking.start_soon(lambda number=number: ask(f"good {number}"))
            asking.start_soon(lambda: ask("full", queue="full"))
            if not store:
                asking.start_soon(lambda: ask("with a key", key="k"))
    bad = {name: error for name, error in answers.items() if isinstance(error, BrokerError)}
    assert isinstance(bad.pop("full"), BrokerFull)
    if not store:
        assert isinstance(bad.pop("with a key"), NotSupported)
    assert bad == {}
    assert {answers[f"good {number}"] for number in range(12)} == {3}


@TRIO
async def test_a_retry_into_a_full_queue_waits_for_room_and_holds_up_nobody(host: Host) -> None:
    """Without a store: the message of the next attempt has nowhere to go, so the job stays held."""
    app = App(host.url(store="", queue_type="classic"))
    opened, attempts = Event(), list[int]()

    @app.task(name="flaky", queue="tight", retry=Retry(5, wait=0.0))
    async def flaky() -> int:
        attempts.append(current_job().attempt)
        if attempts == [1]:
            await opened.wait()
            raise OSError("not yet")
        return attempts[-1]

    @app.task
    async def plain(number: int) -> int:
        return number

    async with working(app, slots=4, queues=["default", "tight"]) as worker:
        waiting = await flaky.enqueue()
        await until(lambda: attempts)
        policy = {"pattern": "nursery-tasks.tight", "definition": {"max-length": 0, "overflow": "reject-publish"}}
        await to_thread.run_sync(host.server.api, "PUT", f"policies/{host.name}/full", {**policy, "apply-to": "queues"})
        await until(lambda: host.queue("nursery-tasks.tight").get("policy") == "full", SECONDS)
        opened.set()
        assert [await plain.run(number) for number in range(5)] == list(range(5))
        assert worker is not None
        assert attempts == [1]
        await to_thread.run_sync(host.server.api, "DELETE", f"policies/{host.name}/full")
        assert await waiting == 2


LONG_ID = "\u00e9" * 190


@pytest.mark.parametrize("store", [True, False], ids=["store", "storeless"])
@TRIO
async def test_an_id_of_more_bytes_than_amqp_has_room_for_is_an_id(host: Host, store: bool) -> None:
    app, added = add_app(host, store)

    @app.task(retry=None)
    async def fail() -> None:
        raise ValueError("as it should")

    async with working(app):
        assert await app.job("add", 1, 2).with_options(id=LONG_ID).run() == 3
        with pytest.raises(ValueError, match="as it should"):
            await fail.options(id=LONG_ID + "x").run()
        assert await app.job("add", 2, 2).run() == 4
    assert added == [3, 4]
