"""Jobs from other programs: raw bodies, answers, and what is malformed, on each broker."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import anyio
import msgspec
import pytest
from anyio import fail_after
from process_tasks_raw import in_process_app
from support import DEADLINE, SECONDS_APART, working

from nursery_tasks import App, JobState, current_job
from nursery_tasks.brokers.common.foreign import to_submission
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.needed import replies_of
from nursery_tasks.brokers.protocol import Emit, Listener
from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.codec import unpack_outcome
from nursery_tasks.model.delivery import Delivery, Submission, Swept, Topic
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.testing import run_lab

numbers = itertools.count(1)


@dataclass
class Order:
    what: str
    when: date


async def put(app: App, body: bytes, queue: str = "default", *, raw: bool = True, **more: Any) -> str:
    """Submit a body as a broker does that has found it; return the job's id."""
    job_id = f"from-elsewhere-{next(numbers)}"
    job = to_submission(queue.encode(), body, raw=raw)
    await app.connection.gateway.submit([msgspec.structs.replace(job, id=job_id, **more)])
    return job_id


async def end_of(app: App, job_id: str) -> Outcome:
    with fail_after(DEADLINE):
        while True:
            (stored,) = await app.connection.gateway.outcomes([job_id])
            if stored is not None and stored.outcome is not None:
                return unpack_outcome(stored.outcome)
            await anyio.sleep(SECONDS_APART)


async def answers(app: App, name: str = "answers") -> list[bytes]:
    gateway = app.connection.gateway
    return await gateway.call(replies_of(gateway.broker).take_replies, name, 100)


@pytest.mark.parametrize(
    ("annotation", "body", "wanted"),
    [
        (bytes, b"\xffhello", b"\xffhello"),
        (Annotated[bytes, "as it came"], b"", b""),
        (str, "grün".encode(), "grün"),
        (Any, b'{"task": "add", "args": [1, 2]}', {"task": "add", "args": [1, 2]}),
        (Order, b' {"what": "tea", "when": "2026-02-01"}', Order("tea", date(2026, 2, 1))),
        (list[int], b"[1, 2]", [1, 2]),
    ],
    ids=["bytes", "annotated", "str", "any", "class", "list"],
)
@pytest.mark.anyio
async def test_a_raw_body_is_the_one_argument(memory_app: App, annotation: Any, body: bytes, wanted: object) -> None:
    got: list[object] = []

    def take(body: Any, more: int = 7) -> None:
        got.append((body, more, current_job().queue))

    take.__annotations__["body"] = annotation
    memory_app.task(queue="notes", raw=True)(take)
    async with working(memory_app):
        assert (await end_of(memory_app, await put(memory_app, body, "notes"))).state is JobState.SUCCEEDED
    assert got == [(wanted, 7, "notes")]


@pytest.mark.anyio
async def test_a_raw_task_can_be_called_as_any_other(app: App) -> None:
    @app.task(queue="notes", raw=True)
    async def shout(note: bytes) -> bytes:
        return note.upper()

    @app.task(queue="notes")
    async def add(a: int, b: int) -> int:
        return a + b

    async with working(app):
        assert await shout.run(b"hello") == b"HELLO"
        assert await add.run(1, 2) == 3
        assert (await end_of(app, await put(app, b'{"task": "add", "args": [1, 2]}', "notes"))).state is JobState.SUCCEEDED


@pytest.mark.anyio
async def test_answers_of_raw_tasks(app: App) -> None:
    @app.task(queue="notes", raw=True, reply_to="answers")
    async def note(body: bytes) -> str | bytes:
        return b"\xff" if body == b"bytes" else f"res-{body.decode()}"

    @app.task(queue="orders", raw=True, reply_to="answers")
    async def order(body: dict[str, Any]) -> Any:
        return {"was": body}

    @app.task(queue="silent", raw=True)
    async def silent(body: str) -> str:
        return body

    async with working(app):
        await end_of(app, await put(app, b"hello", "notes"))
        assert await answers(app) == [b"res-hello"]
        await end_of(app, await put(app, b"bytes", "notes"))
        assert await answers(app) == [b"\xff"]
        await end_of(app, await put(app, b'{"id": "x", "n": 1}', "orders"))
        assert [json.loads(body) for body in await answers(app)] == [{"id": "x", "response": {"was": {"id": "x", "n": 1}}}]
        without_id = await put(app, b"{}", "orders")
        await end_of(app, without_id)
        assert [json.loads(body) for body in await answers(app)] == [{"id": without_id, "response": {"was": {}}}]
        assert (await end_of(app, await put(app, b"hello", "silent"))).state is JobState.SUCCEEDED
        assert await answers(app) == []


@pytest.mark.anyio
async def test_answers_to_messages(app: App) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task
    async def fail() -> None:
        raise ValueError("no such file")

    async def ask(**message: Any) -> Any:
        await end_of(app, await put(app, json.dumps({"reply_to": "answers", **message}).encode(), raw=False))
        return [json.loads(body) for body in await answers(app)]

    async with working(app):
        assert await ask(id="x", task="add", args=[1, 2]) == [{"id": "x", "response": 3}]
        assert await ask(id=7, task="add", kwargs={"a": 1, "b": 2}) == [{"id": 7, "response": 3}]
        assert await ask(id="x", task="add", args=[1, 2], reply_to=None) == []
        (failed,) = await ask(id="y", task="fail")
        assert failed == {"id": "y", "error": {"state": "failed", "type": "ValueError", "text": "no such file"}}
        (refused,) = await ask(id="z", task="add", args=[1])
        assert (refused["id"], refused["error"]["type"]) == ("z", "nursery_tasks.errors.InvalidArguments")
        assert "missing a required argument: 'b'" in refused["error"]["text"]


@pytest.mark.anyio
async def test_only_the_end_is_answered(app: App) -> None:
    attempts: list[int] = []

    @app.task(retry=3)
    async def third_time() -> int:
        attempts.append(current_job().attempt)
        if len(attempts) < 3:
            raise OSError("not yet")
        return 3

    async with working(app):
        await end_of(app, await put(app, b'{"id": "x", "task": "third_time", "reply_to": "answers"}', raw=False))
        assert [json.loads(body) for body in await answers(app)] == [{"id": "x", "response": 3}]
    assert attempts == [1, 2, 3]


@pytest.mark.anyio
async def test_a_cancelled_job_is_answered(app: App) -> None:
    begun = anyio.Event()

    @app.task(queue="notes", raw=True, reply_to="answers")
    async def wait(body: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with working(app):
        job_id = await put(app, b"hello", "notes")
        with fail_after(DEADLINE):
            await begun.wait()
        await app.handle(job_id).cancel("not needed")
        assert [json.loads(body) for body in await answers(app)] == [
            {"id": job_id, "error": {"state": "cancelled", "reason": "not needed"}}
        ]


@pytest.mark.parametrize(
    ("body", "queue", "raw", "reason"),
    [
        (b"not json", "default", False, "undecodable: not a message"),
        (b"garbage-no-pipe\xff\x00", "default", False, "undecodable: not a message"),
        (b"\x93\x01", "default", False, "undecodable: not a message"),
        (b"[" * 100_000, "default", False, "undecodable: not a message"),
        (b'{"task": "good", "v": 2}', "default", False, "message version 2"),
        (b'{"task": "good", "reply_to": "a b"}', "default", False, "undecodable: not a message: reply_to"),
        (b"x" * 2_000_000, "default", False, "oversize: 2,000,000 bytes"),
        (b"hello", "default", True, "no task here takes what is raw on queue 'default'"),
        (b"\xff", "texts", True, "undecodable for text: no text in UTF-8"),
        (b"hello", "numbers", True, "undecodable for number: not JSON"),
        (b'"seven"', "numbers", True, "undecodable for number: number: argument 'body'"),
    ],
)
@pytest.mark.anyio
async def test_what_is_malformed_is_put_aside_with_its_bytes(
    memory_app: App, body: bytes, queue: str, raw: bool, reason: str
) -> None:
    app = memory_app

    @app.task
    async def good() -> int:
        return 1

    app.task(name="text", queue="texts", raw=True)(take_text)
    app.task(name="number", queue="numbers", raw=True)(take_number)
    async with working(app, slots=1):
        job_id = await put(app, body, queue, raw=raw)
        outcome = await end_of(app, job_id)
        assert outcome.state is JobState.DEAD
        assert outcome.reason is not None
        assert reason in outcome.reason
        record = await app.connection.gateway.call(app.connection.gateway.admin.job, job_id)
        assert record is not None
        assert record.payload == body
        assert await good.run() == 1  # the one slot is free, and the worker is up


async def take_text(body: str) -> None: ...


async def take_number(body: int) -> None: ...


@pytest.mark.anyio
async def test_raw_bodies_for_processes(tmp_path: Any) -> None:
    app = in_process_app(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    async with working(app, processes=1):
        await end_of(app, await put(app, b"\xff\x00", "bodies"))
        assert await answers(app) == [b"\x00\xff"]
        await end_of(app, await put(app, "grün".encode(), "texts"))
        assert await answers(app) == ["GRÜN".encode()]
        job_id = await put(app, b'{"n": 2}', "objects")
        await end_of(app, job_id)
        assert [json.loads(body) for body in await answers(app)] == [{"id": job_id, "response": [2, 4]}]


class Quiet(MemoryBroker):
    """A broker in virtual time, into which others put jobs without a word to anybody."""

    look_seconds = RedisBroker.look_seconds
    calls = 0

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        return super().listen(topics, lambda hint: None)

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease_seconds: float, names: Collection[str] = ()
    ) -> list[Delivery]:
        self.calls += 1
        return super().claim(queues, limit, worker, lease_seconds, names)

    def sweep(self, limit: int) -> Swept:
        self.calls += 1
        return super().sweep(limit)


def test_a_worker_at_rest_finds_what_nobody_told_it_of() -> None:
    began: list[float] = []

    async def check() -> None:
        app = App("memory:")

        @app.task(queue="notes", raw=True)
        async def note(body: bytes) -> None:
            began.append(anyio.current_time())

        broker = Quiet(clock=anyio.current_time)
        with app.use_broker(broker):
            async with app, app.open_worker(threads=False):
                before = broker.calls
                await anyio.sleep(100)
                assert broker.calls - before < 480  # and 20 heartbeats: five calls a second, as at rest with any broker
                for number in range(10):
                    await anyio.sleep(10.07)
                    put_at = anyio.current_time()
                    broker.submit([Submission(f"n{number}", "notes", "", b"hello", raw=True)])
                    await anyio.sleep(0.3)
                    assert len(began) == number + 1
                    assert began[-1] - put_at <= 0.3

    run_lab(check)


def test_raw_tasks_that_make_no_sense() -> None:
    app = App("memory:")

    async def nothing() -> None: ...
    async def two(a: bytes, b: bytes) -> None: ...
    async def plain(body) -> None: ...  # type: ignore[no-untyped-def]  # that is the point
    async def named(*, body: bytes) -> None: ...

    for function, problem in (
        (nothing, "called with one argument, the body; this is nothing() -> None"),
        (two, "called with one argument"),
        (plain, "an annotation of 'body': bytes, str, or what the JSON is to become"),
        (named, "called with one argument"),
    ):
        with pytest.raises(InvalidOptions, match="raw") as caught:
            app.task(raw=True)(function)
        assert problem in str(caught.value)
    with pytest.raises(InvalidOptions, match="the queue is named by queue="):
        app.task(raw="notes")(take_text)  # type: ignore[call-overload]
    with pytest.raises(InvalidOptions, match="raw=True beside it"):
        app.task(reply_to="answers")(take_text)
    with pytest.raises(InvalidOptions, match="reply_to"):
        app.task(raw=True, reply_to="two words")(take_text)
    app.task(raw=True)(take_text)
    app.task(raw=True)(take_text)  # the module was loaded again
    with pytest.raises(InvalidOptions, match=r"on 'default' take_text .* takes what is raw"):
        app.task(raw=True)(take_number)
    app.task(raw=True, queue="numbers")(take_number)
