"""Submitting over HTTP: detached, owned by the request, and what becomes of each."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from support import DEADLINE
from web_app import make_app
from web_client import Client, served

from nursery_tasks import App, JobState, Retry

pytestmark = pytest.mark.anyio


async def until_states(app: App, task: str, *states: JobState) -> None:
    with anyio.fail_after(DEADLINE):
        while [info.state for info in await app.jobs.list(task=task)] != list(states):  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(0.005)


async def test_a_job_is_stored_and_can_be_looked_at_and_waited_for() -> None:
    async with served(make_app()) as (client, _):
        answer = await client.post("/tasks/add", {"args": [1], "kwargs": {"b": 2}})
        assert answer.status == 202
        assert answer.headers["location"] == f"/jobs/{answer.json['id']}"
        assert answer.json | {"id": ""} == {"id": "", "task": "add", "queue": "default", "created": True}
        shown = await client.get(answer.headers["location"], Prefer="wait=10")
        assert (shown.status, shown.json["state"], shown.json["result"]) == (200, "succeeded", 3)
        result = await client.get(f"{answer.headers['location']}/result")
        assert (result.status, result.body) == (200, b"3")


async def test_who_waits_gets_the_result() -> None:
    async with served(make_app()) as (client, _):
        answer = await client.post("/tasks/add", {"args": [1, 2]}, Prefer="respond-async, wait=10")
        assert (answer.status, answer.json, answer.headers["content-type"]) == (200, 3, "application/json")
        assert (await client.get(answer.headers["location"])).json["owned"]
        assert (await client.post("/tasks/echo", {"args": [{"é": [None]}]}, Prefer="wait=10")).json == {"é": [None]}


@pytest.mark.parametrize(
    ("task", "args", "status", "kind"),
    [
        ("bad", [], 502, "job-failed"),
        ("late", [], 504, "job-timed-out"),
        ("nap", [60], 504, "wait-over"),
    ],
)
async def test_a_job_without_a_result_has_its_status(task: str, args: list[Any], status: int, kind: str) -> None:
    app = make_app()
    async with served(app) as (client, _):
        wait = "wait=0.2" if kind == "wait-over" else "wait=10"
        answer = await client.post(f"/tasks/{task}", {"args": args}, Prefer=wait)
        assert (answer.status, answer.kind) == (status, kind)
        [info] = await app.jobs.list(task=task)
        assert info.state.ended
        assert answer.json["job"] == info.id
        if kind == "job-failed":
            assert answer.json["error"]["type"] == "web_app.Told"
            assert answer.json["error"]["message"] == "no good"
            assert "raise Told(text)" in answer.json["error"]["traceback"]
        later = await client.get(f"/jobs/{info.id}/result")
        assert (later.status, later.kind) == (status, kind)


async def test_a_cancelled_job_is_told_to_who_waits() -> None:
    app = make_app()
    async with served(app) as (client, _), anyio.create_task_group() as group:

        async def cancel() -> None:
            await until_states(app, "nap", JobState.STARTED)
            [info] = await app.jobs.list(task="nap")
            answer = await client.post(f"/jobs/{info.id}/cancel", {"reason": "enough"})
            assert (answer.status, answer.json["answer"]) == (200, "cancelled")

        group.start_soon(cancel)
        answer = await client.post("/tasks/nap", {"args": [60]}, Prefer="wait=30")
        assert (answer.status, answer.kind, answer.json["detail"]) == (409, "job-cancelled", "enough")


async def test_a_client_that_hangs_up_cancels_the_job_and_its_children() -> None:
    app = make_app()
    async with served(app) as (client, _):
        async with await client.connect() as stream:
            await stream.send(client.request("POST", "/tasks/night", {"args": [2]}, Prefer="wait=50"))
            await until_states(app, "nap", JobState.STARTED, JobState.STARTED)
        began = anyio.current_time()
        await until_states(app, "nap", JobState.CANCELLED, JobState.CANCELLED)
        await until_states(app, "night", JobState.CANCELLED)
        assert anyio.current_time() - began < 1.0
        [night] = await app.jobs.list(task="night")
        assert night.reason == "the client went away"


async def test_a_client_that_has_sent_more_and_hangs_up_cancels_the_job_all_the_same() -> None:
    app = make_app()
    async with served(app) as (client, _):
        async with await client.connect() as stream:
            request = client.request("POST", "/tasks/nap", {"args": [60]}, Prefer="wait=50", Connection="keep-alive")
            await stream.send(request + client.request("GET", "/tasks"))
            await until_states(app, "nap", JobState.STARTED)
            await stream.send(client.request("GET", "/tasks"))
        await until_states(app, "nap", JobState.CANCELLED)


async def test_the_same_key_is_the_same_job_also_when_it_has_ended() -> None:
    app = make_app()
    async with served(app) as (client, _):
        first = await client.post("/tasks/add", {"args": [1]}, Prefer="wait=10", Idempotency_Key="one")
        second = await client.post("/tasks/add", {"args": [1]}, Idempotency_Key="one")
        third = await client.post("/tasks/add", {"args": [1]}, Prefer="wait=10", Idempotency_Key="one")
        other = await client.post("/tasks/echo", {"args": [1]}, Idempotency_Key="one")
        assert (first.json, third.json, second.json["created"]) == (1, 1, False)
        assert second.headers["idempotency-replayed"] == "true"
        assert first.headers["location"] == second.headers["location"] == third.headers["location"]
        assert other.json["created"]
        assert len(await app.jobs.list(task="add")) == 1


async def test_options_travel() -> None:
    app = make_app()
    async with served(app) as (client, _):
        options = {"queue": "later", "priority": 3, "delay": 60, "tags": ["x"], "id": "mine", "retry": 2, "timeout": 5}
        answer = await client.post("/tasks/add", {"args": [1], "options": options})
        info = await app.jobs.get("mine")
        assert info is not None
        assert (answer.json["id"], info.queue, info.priority, info.state, info.tags) == (
            *("mine", "later", 3, JobState.SCHEDULED),
            ("x",),
        )
        assert info.message is not None
        assert info.message.timeout == 5


WRONG: list[tuple[Any, int, str | None]] = [
    (b"{", 400, None),
    (b'{"args": [NaN]}', 400, None),
    (b'{"args": ["\\ud800"]}', 400, None),
    (b'{"args": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None),
    ({"args": 1}, 422, "args"),
    ({"arguments": [1]}, 422, "arguments"),
    ({"args": ["x"]}, 422, "a"),
    ({"kwargs": {"a": 1, "c": 1}}, 422, "c"),
    ({}, 422, "a"),
    ({"args": [1], "task": "other"}, 422, "task"),
    ({"args": [1], "options": {"priority": 10}}, 422, "options.priority"),
    ({"args": [1], "options": {"prioritet": 1}}, 422, "options.prioritet"),
    ({"args": [1], "options": {"queue": "a b"}}, 422, "queue"),
    ({"args": [1], "options": {"at": "2030-01-01T00:00:00"}}, 422, "options.at"),
    ([1], 422, None),
]


async def test_a_wrong_body_is_named() -> None:
    app = make_app()
    async with served(app, worker=False) as (client, _):
        for body, status, field in WRONG:
            answer = await client.post("/tasks/add", body)
            assert (answer.status, answer.json.get("field")) == (status, field), (body, answer.json)
        assert await app.jobs.list() == []


async def test_what_is_not_there_and_what_cannot_be_done() -> None:
    async with served(make_app(), worker=False) as (client, _):
        unknown = await client.post("/tasks/addd", {"args": [1]})
        assert (unknown.status, unknown.kind) == (404, "unknown-task")
        assert "did you mean 'add'" in unknown.json["detail"]
        for path, kind in (("/jobs/none", "unknown-job"), ("/jobs/none/result", "unknown-job"), ("/nowhere", "not-found")):
            answer = await client.get(path)
            assert (answer.status, answer.kind) == (404, kind)
        answer = await client.ask("DELETE", "/tasks/add")
        assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "POST"})
        answer = await client.post("/tasks/add", {"args": [1]}, Content_Type="text/plain")
        assert (answer.status, answer.kind) == (415, "wrong-content-type")
        answer = await client.post("/tasks/add", {"args": [1]}, Content_Type="")
        assert (answer.status, answer.kind) == (415, "wrong-content-type")
        for wait in ("soon", "-1", "61", "nan"):
            answer = await client.post("/tasks/add", {"args": [1]}, Prefer=f"wait={wait}")
            assert (answer.status, answer.kind) == (400, "invalid-wait")


async def test_tasks_of_other_programs_by_option() -> None:
    app = make_app()
    async with served(app, worker=False, any_task=True) as (client, _):
        answer = await client.post("/tasks/elsewhere.work", {"args": [1]})
        assert answer.status == 202
        [info] = await app.jobs.list()
        assert (info.task, info.args) == ("elsewhere.work", [1])


async def test_a_full_queue_is_told() -> None:
    app = make_app()
    async with served(app, worker=False) as (client, _):
        assert (await client.post("/tasks/tight", {"args": [1]})).status == 202
        answer = await client.post("/tasks/tight", {"args": [2]})
        assert (answer.status, answer.kind, answer.headers["retry-after"]) == (429, "queue-full", "1")


async def test_jobs_are_listed_cancelled_and_run_again() -> None:
    app = make_app()
    async with served(app) as (client, _):
        ids = [(await client.post("/tasks/bad", {"args": [str(number)]}, Prefer="wait=10")).json["job"] for number in range(3)]
        listed = await client.get("/jobs?task=bad&state=failed&limit=2")
        assert [job["id"] for job in listed.json["jobs"]] == ids[:2]
        rest = await client.get(f"/jobs?task=bad&after={listed.json['after']}")
        assert [job["id"] for job in rest.json["jobs"]] == ids[2:]
        newest = await client.get("/jobs?newest=true&limit=1")
        assert [job["id"] for job in newest.json["jobs"]] == ids[2:]
        assert (await client.post(f"/jobs/{ids[0]}/retry")).status == 202
        ended = await client.get(f"/jobs/{ids[0]}", Prefer="wait=10")
        assert (ended.json["state"], ended.json["error"]["text"]) == ("failed", "0")
        done = await client.post("/tasks/add", {"args": [1]}, Prefer="wait=10")
        again = await client.post(f"{done.headers['location']}/retry")
        assert (again.status, again.json["answer"]) == (409, "succeeded")
        for query, field in (("limit=x", "limit"), ("limit=1001", "limit"), ("state=odd", "states")):
            answer = await client.get(f"/jobs?{query}")
            assert (answer.status, answer.json["field"]) == (422, field)


async def test_waiting_for_a_job_of_somebody_else_does_not_own_it() -> None:
    app = make_app()
    async with served(app) as (client, _):
        handle = await app.job("nap", 60).enqueue()
        early = await client.get(f"/jobs/{handle.id}/result", Prefer="wait=0.05")
        assert (early.status, early.json["id"]) == (202, handle.id)
        async with await client.connect() as stream:
            await stream.send(client.request("GET", f"/jobs/{handle.id}", Prefer="wait=50"))
            await until_states(app, "nap", JobState.STARTED)
        assert (await client.get(f"/jobs/{handle.id}")).json["state"] == "started"
        with anyio.fail_after(DEADLINE):
            assert (await client.post(f"/jobs/{handle.id}/cancel")).json["answer"] == "cancelled"


def test_a_client_of_tests_reads_chunks() -> None:
    from web_client import unchunked

    assert unchunked(b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n") == b"abcd"
    assert Client(1).request("GET", "/").startswith(b"GET / HTTP/1.1\r\nHost: localhost:1\r\n")


async def test_a_moment_that_no_calendar_has_is_refused_and_breaks_no_listing() -> None:
    app = make_app()

    @app.task
    async def again() -> None:
        raise Retry(wait=1e15)

    async with served(app) as (client, _):
        answer = await client.post("/tasks/add", {"args": [1], "options": {"delay": 1e300}})
        assert (answer.status, answer.kind, answer.json["field"]) == (422, "invalid-options", "delay")
        schedule = {"job": {"task": "add", "args": [1]}, "when": {"kind": "every", "seconds": 60}, "jitter": 1e300}
        assert (await client.ask("PUT", "/schedules/late", schedule)).kind == "invalid-options"
        await client.post("/tasks/again")
        await until_states(app, "again", JobState.SCHEDULED)
        [job] = (await client.get("/jobs?task=again")).json["jobs"]
        assert job["due_at"].startswith("9999-12-31T23:59:59")
