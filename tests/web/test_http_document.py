"""The OpenAPI document, random requests made of it, events and JSON-RPC."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from support import DEADLINE
from web_app import make_app
from web_client import Answer, Client, served

from nursery_tasks import App
from nursery_tasks.web.api import events
from nursery_tasks.web.families import operations_of
from nursery_tasks.web.settings import DoorSettings

pytestmark = pytest.mark.anyio

REQUESTS = 200


async def test_the_document_has_each_operation_and_each_task() -> None:
    app = make_app()
    async with served(app, worker=False, rpc=True) as (client, _):
        document = (await client.get("/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    for operation in operations_of(DoorSettings(rpc=True)):
        path = operation.path.replace(":path", "")
        if operation.name != "openapi":
            assert document["paths"][path][operation.method.lower()]["operationId"] == operation.name
    names = [made["operationId"] for path in document["paths"].values() for made in path.values()]
    assert len(names) == len(set(names))
    add = document["paths"]["/tasks/add"]["post"]
    assert add["summary"] == "Add two numbers."
    body = add["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert body["args"] == {"type": "array", "prefixItems": [{"type": "integer"}] * 2, "maxItems": 2}
    assert body["kwargs"]["properties"] == {"a": {"type": "integer"}, "b": {"type": "integer"}}
    schemas = document["components"]["schemas"]
    assert schemas["GivenOptions"]["properties"]["priority"]["maximum"] == 9
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas


@pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"])  # reading a body is the same on each
@pytest.mark.parametrize("requests", [REQUESTS, pytest.param(10 * REQUESTS, marks=pytest.mark.soak)])
async def test_no_request_of_the_document_is_a_fault(requests: int) -> None:
    """What schemathesis does: each answer is one of those that are documented, and none is a 500."""
    app, dice = make_app(), random.Random(requests)
    ids = [f"known-{number}" for number in range(3)]
    async with served(app, rpc=True, max_wait=1, requests_per_second=1e6) as (client, _):
        document = (await client.get("/openapi.json")).json
        for job_id in ids:
            await client.post("/tasks/add", {"args": [1], "options": {"id": job_id}})
        operations = [
            (method, path, made)
            for path, methods in document["paths"].items()
            for method, made in methods.items()
            if path != "/events"
        ]
        for number in range(requests):
            method, path, made = operations[number % len(operations)]
            sent = random_request(dice, client, method, path, made, document, ids)
            with anyio.fail_after(DEADLINE):
                answer = await client.ask(method.upper(), *sent[:2], **sent[2])
            check_answer(answer, made, sent)


def check_answer(answer: Answer, made: dict[str, Any], sent: Any) -> None:
    assert answer.status != 500, sent
    documented = made["responses"].get(str(answer.status), made["responses"]["default"])
    if "content" in documented:
        assert answer.headers["content-type"] in documented["content"], sent
    else:
        assert answer.body == b""


def random_request(
    dice: random.Random, client: Client, method: str, path: str, made: dict[str, Any], document: Any, ids: list[str]
) -> tuple[str, Any, dict[str, str]]:
    headers, query = {}, []
    for one in made["parameters"]:
        if one["in"] == "path":
            known = {"id": ids, "name": ["add", "echo", "nightly"], "queue": ["default", "small"]}[one["name"]]
            value = dice.choice([*known, dice.choice(["", "é", "a/b", "%00", "x" * 300, "\n", "..", "a b"])])
            path = path.replace(f"{{{one['name']}}}", quote(value, safe="/") or "-")
        elif one["in"] == "header" and dice.random() < 0.3:
            headers[one["name"].replace("-", "_")] = dice.choice(["wait=0", "wait=0.01", "x", "wait=-1", "é".encode().hex()])
        elif one["in"] == "query" and dice.random() < 0.3:
            query.append(
                f"{one['name']}={quote(str(dice.choice(['', '0', '1', '-1', 'x', 'add', 'ready', '9' * 30, 'true'])))}"
            )
    body: Any = None
    content = made.get("requestBody", {}).get("content", {})
    if content:
        media_type, described = dice.choice(list(content.items()))
        value = random_value(dice, described.get("schema", {}), document, 0)
        body = json.dumps(value).encode() if dice.random() < 0.9 else dice.randbytes(20)
        headers["Content_Type"] = media_type
    return path + ("?" + "&".join(query) if query else ""), body, headers


def random_value(dice: random.Random, schema: dict[str, Any], document: Any, depth: int) -> Any:
    """A value that mostly fits a schema."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return random_value(dice, dice.choice(schema["anyOf"]), document, depth)
    if "enum" in schema or "const" in schema:
        return dice.choice(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if dice.random() < 0.15 or kind is None or depth > 6:
        return dice.choice([None, True, 0, -1, 2**70, 1.5, "", "x", "é\u202e", [], [1, "a"], {}, {"task": "add", "args": [1]}])
    if kind == "object":
        properties = schema.get("properties", {})
        chosen = [name for name in properties if name in schema.get("required", ()) or dice.random() < 0.4]
        return {name: random_value(dice, properties[name], document, depth + 1) for name in chosen}
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items") or {}] * dice.randrange(3)
        return [random_value(dice, item if isinstance(item, dict) else {}, document, depth + 1) for item in items]
    made = {"integer": dice.choice([0, 1, 9, 10, -5]), "number": dice.choice([0.0, 0.5, 1e9, -1.0]), "boolean": True}
    return made.get(kind, dice.choice(["default", "x", "2030-01-01T00:00:00Z", "0 9 * * *", "cron", "at_most_once"]))


async def test_events_are_followed_as_they_happen() -> None:
    app = make_app()
    async with served(app) as (client, door):
        before = len(app.events.listeners)
        async with await client.connect() as stream:
            await stream.send(client.request("GET", "/events?task=add&kind=queued&kind=succeeded"))
            data = await until_has(stream, b"", b": from here on")
            assert b"content-type: text/event-stream" in data
            await client.post("/tasks/echo", {"args": [1]}, Prefer="wait=10")
            told = await client.post("/tasks/add", {"args": [1]}, Prefer="wait=10")
            data = await until_has(stream, data, b"event: succeeded")
            assert data.count(b"event: queued") == 1
            assert told.headers["location"].rpartition("/")[2].encode() in data
            assert b'"task":"echo"' not in data
            began = anyio.current_time()
            await door.finish()  # it ends with the door
            assert anyio.current_time() - began < 1.0
            data = await until_has(stream, data, b"\r\n0\r\n\r\n")
        assert len(app.events.listeners) == before


async def until_has(stream: anyio.abc.SocketStream, data: bytes, wanted: bytes) -> bytes:
    with anyio.fail_after(DEADLINE):
        while wanted not in data:
            data += await stream.receive()
    return data


async def test_a_slow_follower_is_told_how_much_it_has_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BUFFER", 3)
    app = make_app()
    async with served(app, worker=False) as (client, _):
        async with await client.connect() as stream:
            await stream.send(client.request("GET", "/events"))
            data = await until_has(stream, b"", b": from here on")
            await app.enqueue_many([app.job("add", number) for number in range(10)])  # no step for the stream in between
            data = await until_has(stream, data, b'"kind":"queued"')
            assert b"event: dropped\ndata: 7" in data
        wrong = await client.get("/events?kind=odd")
        assert (wrong.status, wrong.json["field"]) == (422, "kinds")


async def test_a_follower_of_the_log_goes_on_where_it_was(tmp_path: Path) -> None:
    app = make_app(App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal", event_log=3600))
    async with served(app) as (client, _):
        first = await client.post("/tasks/add", {"args": [1]}, Prefer="wait=10")
        async with await client.connect() as stream:
            await stream.send(client.request("GET", "/events?since=start&task=ad*&kind=ended"))
            data = await until_has(stream, b"", b"event: succeeded")
        [cursor] = [line[4:].decode() for line in data.split(b"\n") if line.startswith(b"id: ")]
        assert first.headers["location"].rpartition("/")[2].encode() in data
        second = await client.post("/tasks/add", {"args": [2]}, Prefer="wait=10")
        async with await client.connect() as stream:
            await stream.send(client.request("GET", "/events?kind=ended", Last_Event_ID=cursor))
            data = await until_has(stream, b"", b"event: succeeded")
        assert second.headers["location"].rpartition("/")[2].encode() in data
        assert first.headers["location"].rpartition("/")[2].encode() not in data
        lost = await client.get("/events", Last_Event_ID="abc-17")
        assert (lost.status, lost.kind) == (410, "cursor-lost")
        assert (await client.get("/events?since=odd")).status == 422


async def test_json_rpc_answers_what_is_not_there_with_an_error() -> None:
    app = make_app()
    async with served(app, rpc=True) as (client, _):

        async def rpc(method: str, params: Any = None, **more: Any) -> Any:
            request = {"jsonrpc": "2.0", "method": method, "id": 7, **({} if params is None else {"params": params}), **more}
            answer = await client.post("/rpc", request)
            assert answer.status == 200
            assert answer.json["jsonrpc"] == "2.0"
            return answer.json

        listed = (await rpc("tasks.job_list"))["result"]
        assert [name for name, _ in listed][:2] == ["add", "echo"]
        assert (await rpc("tasks.job_list", [["add"]]))["result"][0][1]["doc"] == "Add two numbers."
        queued = await rpc("tasks.queue", {"jobname": "add", "a": 1, "b": 2})
        assert (queued["id"], queued["result"]["status"], queued["result"]["status_string"]) == (7, 6, "QUEUED")
        assert (await client.get(f"/jobs/{queued['result']['id']}/result", Prefer="wait=10")).json == 3
        assert (await rpc("tasks.next_scheduled_tasks"))["result"] == [None, None]
        put = {"job": {"task": "add", "args": [1]}, "when": {"kind": "every", "seconds": 3600}}
        assert (await client.ask("PUT", "/schedules/hourly", put)).status == 201
        [task, seconds] = (await rpc("tasks.next_scheduled_tasks"))["result"]
        assert task == "add"
        assert 0 <= seconds <= 3600

        for method, params, code in (
            ("tasks.nothing", None, -32601),
            ("execute.python", {"code": "1"}, -32601),
            ("tasks.queue", {"jobname": "nothing"}, -32000),
            ("tasks.queue", {"jobname": "add", "a": "x"}, -32602),
            ("tasks.queue", None, -32602),
            ("tasks.job_list", {"odd": 1}, -32602),
        ):
            assert (await rpc(method, params))["error"]["code"] == code, method
        assert (await rpc("tasks.job_list", jsonrpc="1.0"))["error"]["code"] == -32600
        assert (await client.post("/rpc", b"{")).json["error"]["code"] == -32700
        assert (await client.post("/rpc", [])).json["error"]["code"] == -32600
        silent = await client.post("/rpc", {"jsonrpc": "2.0", "method": "tasks.job_list"})
        assert (silent.status, silent.body) == (204, b"")
        batch = [{"jsonrpc": "2.0", "method": "tasks.job_list", "id": 1}, {"jsonrpc": "2.0", "method": "x", "id": 2}, 1]
        told = (await client.post("/rpc", batch)).json
        assert [("result" in each, each["id"]) for each in told] == [(True, 1), (False, 2), (False, None)]
    async with served(make_app(), worker=False) as (client, _):
        assert (await client.post("/rpc", batch)).status == 404


async def test_who_asks_for_the_head_of_a_stream_gets_it_and_no_stream() -> None:
    async with served(make_app(), worker=False) as (client, _):
        with anyio.fail_after(DEADLINE):
            answer = await client.ask("HEAD", "/events")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "text/event-stream; charset=utf-8")
