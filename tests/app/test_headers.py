"""Headers: what travels beside the arguments, downwards, and stays through whatever happens to a job on its way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from support import DEADLINE, working

from nursery_tasks import App, Batch, JobState, Retry, current_job, sequence
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.delivery import Submission


@pytest.fixture
def app(app: App) -> App:
    @app.task
    async def look() -> dict[str, str]:
        return dict(current_job().headers)

    @app.task
    async def pass_on() -> list[dict[str, str]]:
        plain = await look.run()
        own = await (await look.options(headers={"tenant": "red", "more": "1"}).enqueue())
        current_job().headers["trace"] = "from here"
        return [plain, own, await look.run()]

    return app


async def test_children_inherit_headers_and_their_own_win(app: App) -> None:
    look, pass_on = app.get_task("look"), app.get_task("pass_on")
    async with working(app):
        assert await look.run() == {}
        plain, own, changed = await pass_on.options(headers={"tenant": "blue"}).run()
    assert plain == {"tenant": "blue"}
    assert own == {"tenant": "red", "more": "1"}
    assert changed == {"tenant": "blue", "trace": "from here"}


async def test_headers_stay_through_retries_and_what_a_handler_changes_does_not(memory_app: App) -> None:
    seen: list[dict[str, str]] = []

    @memory_app.task(retry=Retry(2, wait=[0.0]))
    async def twice() -> None:
        headers = current_job().headers
        seen.append(dict(headers))
        headers["seen"] = "yes"
        if len(seen) == 1:
            raise OSError

    async with working(memory_app):
        handle = await twice.options(headers={"a": "b"}).enqueue()
        await handle
        info = await memory_app.jobs.get(handle.id)
    assert seen == [{"a": "b"}, {"a": "b"}]
    assert info is not None
    assert info.headers == {"a": "b"}


async def test_headers_go_through_a_flow_that_a_worker_runs(memory_app: App) -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    @memory_app.task(headers={"of": "task"})
    async def note(what: str) -> str:
        seen.append((what, dict(current_job().headers)))
        return what

    async with working(memory_app):
        flow = sequence(note.job("first"), note.options(headers={"of": "call"}))
        await (await flow.job().with_options(headers={"tenant": "blue"}).enqueue())
    assert seen == [("first", {"tenant": "blue", "of": "task"}), ("first", {"tenant": "blue", "of": "call"})]


async def test_batched_jobs_have_each_their_own(memory_app: App) -> None:
    @memory_app.task(batch=Batch(2, wait=DEADLINE))
    async def both(numbers: list[int]) -> list[str]:
        return [job.headers.get("n", "") for job in current_job().batch]

    async with working(memory_app):
        jobs = [both.options(headers={"n": str(number)}).job(number) for number in (1, 2)]
        assert [await handle for handle in await memory_app.enqueue_many(jobs)] == ["1", "2"]


def submitted(app: App, body: Mapping[str, Any]) -> str:
    """Put a message in as another program would write it."""
    broker = app.connection.gateway.broker
    broker.submit([Submission(id="x", queue="default", task="look", payload=json.dumps(body).encode())])
    return "x"


@pytest.mark.parametrize(
    ("headers", "seen", "reason"),
    [
        ({"X-Tenant": "blue"}, {"x-tenant": "blue"}, ""),
        (None, {}, ""),
        ({"a b": "c"}, None, "the field headers='a b': expected names of 1 to 100 letters, digits and dashes, in lower case"),
        ({"a": 1}, None, "not a message: Expected `str`, got `int` - at `$.headers[...]`"),
    ],
)
async def test_another_program_may_write_them(memory_app: App, headers: Any, seen: dict[str, str] | None, reason: str) -> None:
    @memory_app.task
    async def look() -> dict[str, str]:
        return dict(current_job().headers)

    async with working(memory_app):
        handle = memory_app.handle(submitted(memory_app, {"task": "look", "headers": headers}))
        outcome = await handle.outcome()
        if seen is None:
            assert outcome.state is JobState.DEAD
            assert outcome.reason is not None
            assert reason in outcome.reason
        else:
            assert await handle == seen


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"X-Tenant": "a"},
            "headers='X-Tenant': expected names of 1 to 100 letters, digits and dashes, in lower case: 'x-tenant'",
        ),
        ({"": "a"}, "headers='': expected names of 1 to 100 letters, digits and dashes, in lower case"),
        ({1: "a"}, "headers=1: expected names of"),
        ({"a": 1}, "headers={'a': 'int'}: expected a text as the value of 'a'"),
        ({"a": "secret\r\nx: y"}, "headers={'a': '...'}: expected a text without control characters and line ends"),
        ({"a": "\ud800"}, "headers={'a': '...'}: expected a text without control characters"),
        ([("a", "b")], "headers='list': expected a dict of texts, such as"),
        ({"a": "ü" * 8_192}, "headers='16,385 bytes': expected at most 16,384 bytes of names and values together"),
    ],
)
def test_what_is_no_header_is_refused_where_it_is_given(memory_app: App, headers: Any, message: str) -> None:
    @memory_app.task
    async def look() -> None: ...

    with pytest.raises(InvalidOptions) as raised:
        look.options(headers=headers)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_what_a_handler_makes_of_its_headers_is_checked_when_it_submits(memory_app: App) -> None:
    @memory_app.task
    async def look() -> None: ...

    @memory_app.task
    async def spoil() -> None:
        current_job().headers["big"] = "x" * 20_000
        await look.enqueue()

    async with working(memory_app):
        with pytest.raises(InvalidOptions, match="at most 16,384 bytes"):
            await spoil.options(headers={"a": "b"}).run()
