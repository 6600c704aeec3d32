"""Queues, messages, bulk, trees and schedules over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from support import DEADLINE
from web_app import make_app
from web_client import served

from nursery_tasks import App, JobState

pytestmark = pytest.mark.anyio


async def test_a_queue_is_counted_paused_and_purged() -> None:
    app = make_app()
    async with served(app) as (client, _):
        assert (await client.post("/queues/default/pause")).json == {"name": "default", "paused": True}
        for number in range(3):
            await client.post("/tasks/add", {"args": [number]})
        shown = (await client.get("/queues/default")).json
        assert (shown["paused"], shown["counts"]["ready"]) == (True, 3)
        assert [queue["name"] for queue in (await client.get("/queues")).json["queues"]] == ["default"]
        wrong = await client.post("/queues/default/purge", {"states": ["started"]})
        assert (wrong.status, wrong.json["field"]) == (422, "states")
        purged = await client.post("/queues/default/purge")
        assert purged.json == {"name": "default", "jobs": 3, "messages": None}
        assert (await client.post("/queues/default/resume")).json["paused"] is False
        assert (await client.post("/tasks/add", {"args": [1]}, Prefer="wait=10")).json == 1
        for name in ("nowhere", "no%20name"):
            answer = await client.get(f"/queues/{name}")
            assert (answer.status, answer.kind) == (404, "unknown-queue")
        peeked = await client.get("/queues/default/messages")
        assert (peeked.status, peeked.kind) == (501, "not-supported")


async def test_tasks_are_paused_and_resumed_by_their_arguments_too() -> None:
    app = make_app()
    async with served(app) as (client, _):
        paused = await client.post("/pauses", {"task": "add", "where": {"a": 7}, "note": "not now"})
        assert paused.status == 200
        assert (paused.json["where"], paused.json["note"], paused.json["by"]) == ({"a": "7"}, "not now", "local")
        assert [pause["task"] for pause in (await client.get("/pauses")).json["pauses"]] == ["add"]
        wrong = await client.post("/pauses", {"task": "add", "where": {"nothing": 1}})
        assert (wrong.status, wrong.json["field"]) == (422, "where")
        assert (await client.post("/pauses", {"task": "nowhere"})).status == 404
        assert (await client.post("/pauses/resume", {"task": "add"})).json == {"task": "add", "was_paused": False}
        resumed = await client.post("/pauses/resume", {"task": "add", "where": {"a": "7"}})
        assert resumed.json == {"task": "add", "was_paused": True}
        assert (await client.get("/pauses")).json == {"pauses": []}


def raw_app(tmp_path: Path) -> App:
    app = make_app(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")

    @app.task(queue="notes", raw=True)
    async def note(text: str) -> str:
        return text.upper()

    @app.task(queue="blobs", raw=True)
    async def blob(data: bytes) -> int:
        return len(data)

    return app


async def test_a_message_is_put_in_and_its_raw_task_answers(tmp_path: Path) -> None:
    app = raw_app(tmp_path)
    async with served(app) as (client, _):
        sent = await client.post("/queues/notes", b"hello", Content_Type="application/octet-stream", Idempotency_Key="n1")
        assert sent.status == 202
        with anyio.fail_after(DEADLINE):
            while (await client.get(f"/jobs/{sent.json['id']}", Prefer="wait=10")).json.get("state") != "succeeded":  # noqa: ASYNC110
                await anyio.sleep(0.01)
        answered = await client.post("/queues/notes", b"hello", Prefer="wait=10")
        assert answered.json == "HELLO"
        counted = await client.post("/queues/blobs", b"\xff\x00", Content_Type="application/octet-stream", Prefer="wait=10")
        assert counted.json == 2
        no_text = await client.post("/queues/notes", b"\xff", Prefer="wait=10")
        assert (no_text.status, no_text.kind) == (400, "no-text")

        message = await client.post("/queues/default", {"task": "add", "args": [1, 2]})
        with anyio.fail_after(DEADLINE):
            while (await client.get(f"/jobs/{message.json['id']}/result")).body != b"3":  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.01)
        for body, status, kind in (
            ({"task": "nothing"}, 404, "unknown-task"),
            ({"args": []}, 422, "invalid-body"),
            (b"xx", 422, "invalid-body"),
        ):
            answer = await client.post("/queues/default", body)
            assert (answer.status, answer.kind) == (status, kind)
        nobody = await client.post("/queues/default", {"task": "add"}, Prefer="wait=1")
        assert (nobody.status, nobody.kind) == (422, "nobody-answers")


async def test_each_line_of_bulk_has_its_own_answer() -> None:
    app = make_app()
    lines: list[Any] = [
        {"task": "add", "args": [1]},
        {"task": "nowhere"},
        b"{not json",
        {"task": "add", "args": ["x"]},
        {"task": "tight", "args": [1]},
        {"task": "tight", "args": [2]},
        {"args": [1]},
        {"task": "add", "args": [2], "idempotency_key": "two"},
        {"task": "add", "args": [2], "idempotency_key": "two"},
        {"task": "echo", "args": ["x" * 1_100_000]},
    ]
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n\n"
    async with served(app, worker=False) as (client, _):
        answer = await client.post("/bulk", body, Content_Type="application/x-ndjson")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
        told = [json.loads(line) for line in answer.body.splitlines()]
        assert [each["status"] for each in told] == [202, 404, 400, 422, 202, 429, 422, 202, 202, 413]
        assert [told[7]["created"], told[8]["created"]] == [True, False]
        assert told[7]["id"] == told[8]["id"]
        assert len(await app.jobs.list()) == 3
        assert (await client.post("/bulk", body)).status == 415
        many = b'{"task": "add", "args": [1]}\n' * 10_001
        assert (await client.post("/bulk", many, Content_Type="application/x-ndjson")).status == 413
        some = b'{"task": "add", "args": [1]}\n' * 1_200
        assert (await client.post("/bulk", some, Content_Type="application/x-ndjson")).body.count(b'"status":202') == 1_200


async def test_a_tree_is_shown() -> None:
    app = make_app()
    async with served(app) as (client, _):
        night = await client.post("/tasks/night", {"args": [2]})
        with anyio.fail_after(DEADLINE):
            while len(await app.jobs.list(task="nap", states=["started"])) < 2:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.005)
        tree = (await client.get(f"{night.headers['location']}/tree")).json
        assert (tree["task"], [child["task"] for child in tree["children"]], tree["more"]) == ("night", ["nap", "nap"], False)
        assert (await client.post(f"{night.headers['location']}/cancel")).json["answer"] == "cancelled"
        assert (await client.get("/jobs/none/tree")).status == 404


async def test_schedules_are_put_and_run() -> None:
    app = make_app()
    given: dict[str, Any] = {
        "job": {"task": "add", "args": [1, 2]},
        "when": {"kind": "cron", "expression": "0 9 * * mon-fri", "tz": "Europe/Rome"},
        "overlap": "skip",
    }
    async with served(app) as (client, _):
        put = await client.ask("PUT", "/schedules/nightly", given)
        assert (put.status, put.json["spec"]) == (201, "cron('0 9 * * mon-fri', tz='Europe/Rome')")
        again = await client.ask("PUT", "/schedules/nightly", given | {"when": {"kind": "every", "seconds": 3600}})
        assert (again.status, again.json["overlap"]) == (200, "skip")
        shown = (await client.get("/schedules/nightly?next=3")).json
        assert (len(shown["next_runs"]), shown["state"]) == (3, "active")
        paused = await client.post("/schedules/nightly/pause", {"note": "holidays"})
        assert (paused.json["state"], paused.json["note"]) == ("paused", "holidays")
        assert (await client.post("/schedules/nightly/resume")).json["state"] == "active"
        run = await client.post("/schedules/nightly/run")
        assert run.status == 202
        assert (await client.get(run.headers["location"], Prefer="wait=10")).json["result"] == 3
        assert [one["name"] for one in (await client.get("/schedules")).json["schedules"]] == ["nightly"]
        for wrong, field in (
            ({"when": {"kind": "cron", "expression": "x"}}, "cron"),
            ({"when": {"kind": "often"}}, "when.kind"),
            ({"job": {"args": []}}, "job.task"),
            ({"limit": 0}, "limit"),
            ({"overlap": "odd"}, "overlap"),
        ):
            answer = await client.ask("PUT", "/schedules/other", given | wrong)
            assert (answer.status, answer.json.get("field")) == (422, field), answer.json
        assert (await client.ask("DELETE", "/schedules/nightly")).status == 204
        gone = await client.get("/schedules/nightly")
        assert (gone.status, gone.kind) == (404, "unknown-schedule")
        assert await app.jobs.list(states=[JobState.FAILED]) == []
