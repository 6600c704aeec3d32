"""Another program sends a message with a field that is not what it should be: it never runs, and a person learns which field.

Every broker reads some fields before a worker sees the message. What one of them cannot read must not run: an id that was not
heeded would let each repetition run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pika
import pika.exceptions
import pytest
import redis
from anyio import fail_after, run_process, sleep
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic
from rabbit_server import fresh_rabbit_url
from redis_server import clean_up, fresh_url, open_redis_broker, shared_server
from support import DEADLINE, until, working

from nursery_tasks import App, JobState
from nursery_tasks.brokers.amqp.foreign import to_job
from nursery_tasks.brokers.common.foreign import to_submission
from nursery_tasks.brokers.needed import postbox_of
from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.errors import JobExpired, UnknownJob
from nursery_tasks.model.codec import unpack_outcome
from nursery_tasks.model.delivery import Delivery, Submission
from nursery_tasks.model.listing import JobFilter, JobRecord, ServerMessage
from nursery_tasks.worker.prepare import MarkDead, Preparer

odd_names = st.one_of(
    st.sampled_from(["order 17", "", "a\x00b", "x" * 200, "x" * 201, "gr\u00fcn", "a\u00a0b", "a\u2028", "\u3000", "a@b"]),
    st.text(max_size=4),
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 12),
    st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, -(2**53), 2**64, 10**400, 0.0, -0.0, 7.0, 1e300, 0.5, -1.5, "5", "high"]),
    st.floats(allow_nan=False, allow_infinity=False),
    odd_names,
    st.lists(st.one_of(odd_names, st.integers()), max_size=3),
    st.dictionaries(st.sampled_from(["a", "1"]), odd_names, max_size=2),
)
FIELDS = ["id", "queue", "priority", "delay", "expires", "key", "parent", "tags", "v", "timeout", "args", "kwargs", "other"]
messages = st.fixed_dictionaries({"task": st.one_of(st.just("add"), values)}, optional=dict.fromkeys(FIELDS, values)).map(
    lambda fields: json.dumps(fields).encode()
)


def add(*args: Any, **kwargs: Any) -> None: ...


KNOWN = App("memory:")
KNOWN.task(add)
PREPARER = Preparer(KNOWN.registry, 10**6)


@dataclass
class Lists:
    """The lists of a Redis server, as another program sees them."""

    url: str
    broker: RedisBroker
    client: redis.Redis

    def take_in(self, body: bytes) -> JobRecord:
        """Return what becomes of a message."""
        prefix = self.url.rpartition("=")[2]
        clean_up(shared_server(), prefix)
        self.client.rpush(f"{{{prefix}}}:in:work", body)
        self.broker.claim(["work"], 1, "w", 15.0)
        (record,) = self.broker.admin.list_jobs(JobFilter(), 10)
        return record


@pytest.fixture
def lists() -> Generator[Lists, None, None]:
    with fresh_url() as url:
        broker = open_redis_broker(url, lambda: 1e9)
        client = redis.Redis(port=shared_server().port, protocol=2)
        yield Lists(url, broker, client)
        broker.close()
        client.close()


def facts(job: Submission | JobRecord) -> tuple[Any, ...]:
    return job.task, job.queue, job.priority, job.key, job.parent, job.tags


def judged_by_the_worker(job: Submission) -> bool:
    """Say whether a worker would run what a broker has made of a message."""
    delivery = Delivery(job.id, job.queue, job.task, job.payload, b"t" * 16, raw=job.raw)
    return not isinstance(PREPARER.prepare(delivery, 0.0, 0.0), MarkDead)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=messages)
@example(body=b'{"task": "add", "tags": {}}')
@example(body=b'{"task": "add", "id": -0.0}')
@example(body=b'{"task": "add", "delay": 1e999}')
def test_a_message_is_judged_alike_by_every_broker_and_by_the_worker(lists: Lists, body: bytes) -> None:
    wanted = to_submission(b"work", body)
    runs = judged_by_the_worker(wanted)
    found = lists.take_in(body)
    as_delivered = msgspec.structs.replace(wanted, task=found.task)
    assert judged_by_the_worker(as_delivered) == runs
    if wanted.task:
        assert facts(found) == facts(wanted)
        assert found.due_at - found.created_at == pytest.approx(wanted.delay_seconds)
        if len(wanted.id) != 32:
            assert found.id == wanted.id
    through_rabbit = to_job("work", body, Basic.Properties())
    if wanted.task:
        assert facts(through_rabbit) == facts(wanted)
    assert judged_by_the_worker(through_rabbit) == runs


@pytest.fixture(params=["sqlite", "redis", "amqp", "amqp-storeless"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str, None, None]:
    store = f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    if request.param == "sqlite":
        yield store
    elif request.param == "redis":
        with fresh_url() as url:
            yield url
    else:
        with fresh_rabbit_url(store if request.param == "amqp" else "") as url:
            yield url


BAD = {
    "id": "order 17",
    "delay": "5",
    "priority": "high",
    "queue": 5,
    "expires": -1,
    "key": "two words",
    "parent": 7,
    "tags": "urgent",
    "task": "nul\x00",
}


def listed(app: App) -> list[tuple[bytes, str]]:
    """Return the dead jobs of a broker that lists jobs, with the reasons."""
    found = app.connection.gateway.admin.list_jobs(JobFilter(states=frozenset({JobState.DEAD})), 100)
    return [(record.payload, unpack_outcome(record.outcome or b"").reason or "") for record in found]


def taken_out(url: str) -> list[tuple[bytes, str]]:
    """Take them out of their queue, where there is no list of jobs."""
    address = urlsplit(url)
    prefix = dict(parse_qsl(address.query))["prefix"]
    found: list[tuple[bytes, str]] = []
    with pika.BlockingConnection(pika.URLParameters(f"amqp://{address.netloc}/%2F")) as connection:
        channel = connection.channel()
        with suppress(pika.exceptions.ChannelClosedByBroker):  # there are none yet
            while (got := channel.basic_get(f"{prefix}.dead.default", auto_ack=True))[0] is not None:
                headers: Any = got[1].headers
                found.append((got[2], headers["nursery-tasks-reason"]))
    return found


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_bad_field_is_a_dead_letter_that_names_it(url: str) -> None:
    app = App(url)
    ran: list[int] = []

    @app.task
    async def order(number: int) -> None:
        ran.append(number)

    def send(**fields: Any) -> None:
        body = json.dumps({"task": "order", "args": [17]} | fields).encode()
        postbox_of(app.connection.gateway.broker).send_message("default", ServerMessage(body=body))

    async with working(app):
        for name, value in BAD.items():
            send(**{name: value})
        send(id="order 17")
        send(args=[1], id="good", tags=["urgent"], priority=5, expires=60, delay=0.01)
        dead: list[tuple[bytes, str]] = []
        with fail_after(DEADLINE):
            while len(dead) < len(BAD) + 1 or not ran:
                dead = [*dead, *taken_out(url)] if url.endswith("store=") else listed(app)
                await sleep(0.01)
    assert ran == [1]
    for payload, reason in dead:  # the bytes as they came, but for the id that our own `send` has put in
        message = json.loads(payload)
        (name,) = [name for name, value in BAD.items() if message.get(name) == value]
        assert f"the field {name}=" in reason
        assert "expected" in reason


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_message_with_a_known_key_or_an_expiry_is_heeded(url: str) -> None:
    app = App(url)

    def send(**fields: Any) -> None:
        body = json.dumps({"task": "order", "args": [17]} | fields).encode()
        postbox_of(app.connection.gateway.broker).send_message("default", ServerMessage(body=body))

    ran: list[int] = []
    async with app:

        @app.task
        async def order(number: int) -> None:
            ran.append(number)

        for _ in range(2):
            send(key="a")
        send(args=[2], expires=0, id="late")
        send(args=[3], id="last")
        async with app.open_worker():
            if url.endswith("store="):  # nobody hears of another program's jobs, and nobody knows all keys
                await until(lambda: ran)
            else:
                with pytest.raises(JobExpired):
                    await until_known(app, "late")
                await until_known(app, "last")
    assert sorted(ran) == ([3] if url.endswith("store=") else [3, 17])


async def until_known(app: App, job_id: str) -> None:
    found: list[object] = []

    async def ask() -> bool:
        try:
            found.append(await app.handle(job_id))
        except UnknownJob:
            return False
        return True

    with fail_after(DEADLINE):
        while not await ask():  # noqa: ASYNC110 - what another process has sent tells nobody when it becomes a job
            await sleep(0.01)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("url", ["sqlite", "redis", "amqp"], indirect=True)  # without a store nobody can ask for such a job
async def test_the_id_that_send_prints_is_that_of_the_job(url: str) -> None:
    app = App(url)

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(queue="notes", raw=True)
    async def note(body: bytes) -> str:
        return body.decode()

    async with working(app, queues=["default", "notes"]):
        send = postbox_of(app.connection.gateway.broker).send_message
        for queue, message, wanted in (
            ("default", ServerMessage(body=b'{"task": "add", "args": [1, 2]}'), 3),
            ("default", ServerMessage(body=b'{"task": "add", "args": [1, 3], "id": "mine"}'), 4),
            ("default", ServerMessage(body=b'{"task": "add", "args": [1, 4], "id": "own"}', id="other"), 5),
            ("default", ServerMessage(body=msgspec.msgpack.encode({"task": "add", "args": [1, 5], "id": 7})), 6),
            ("notes", ServerMessage(body=b"hello"), "hello"),
            ("notes", ServerMessage(body=b"again", id="note-1"), "again"),
            ("notes", ServerMessage(body=b"again", id="note-1"), "again"),
        ):
            job_id = send(queue, message)
            await until_known(app, job_id)
            assert await app.handle(job_id) == wanted


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_row_for_a_queue_that_no_worker_can_serve_is_a_dead_letter(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    async with app:
        insert = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit()"
        row = """INSERT INTO inbox (queue, body) VALUES ('two words', '{"task": "add"}')"""
        await run_process([sys.executable, "-c", insert, str(tmp_path / "jobs.db"), row])
        async with app.open_worker():
            await until(lambda: listed(app))
            ((body, reason),) = listed(app)
    assert body == b'{"task": "add"}'
    assert "queue='two words': expected 1 to 64 letters" in reason
