"""Who may come in, and what each may do."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from web_app import make_app
from web_client import Client, parse, served

from nursery_tasks import App
from nursery_tasks.errors import InvalidOptions, MissingPackage
from nursery_tasks.web import check_installed
from nursery_tasks.web.callers import Callers, Token, hash_secret, new_token, read_tokens
from nursery_tasks.web.server import ServerOptions
from nursery_tasks.web.serving import check_exposure, open_door, with_tls

asynchronous = pytest.mark.anyio


def bearer(client: Client, secret: str) -> Client:
    return Client(client.port, {"Authorization": f"Bearer {secret}"})


@asynchronous
async def test_each_role_has_its_verbs() -> None:
    secrets = {role: new_token(role, role) for role in ("read", "operate", "admin")}
    app = make_app()
    wanted: list[tuple[str, str, Any, list[str]]] = [
        ("GET", "/jobs", None, ["read", "operate", "admin"]),
        ("GET", "/queues", None, ["read", "operate", "admin"]),
        ("POST", "/tasks/add", {"args": [1]}, ["operate", "admin"]),
        ("POST", "/queues/default/pause", None, ["operate", "admin"]),
        ("POST", "/queues/default/purge", None, ["admin"]),
        ("DELETE", "/schedules/none", None, ["admin"]),
    ]
    async with served(app, worker=False, tokens=[token for _, token in secrets.values()]) as (client, _):
        for method, path, body, roles in wanted:
            for role, (secret, _) in secrets.items():
                answer = await bearer(client, secret).ask(method, path, body)
                assert (answer.status == 403) == (role not in roles), (method, path, role)
        for headers in ({}, {"Authorization": "Bearer nobody"}, {"Authorization": f"Basic {secrets['admin'][0]}"}):
            answer = await client.get("/jobs", **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="nursery-tasks"')
        assert (await client.get(f"/jobs?token={secrets['admin'][0]}")).status == 401
        assert (await client.get("/readyz")).status == 200
        # With tokens it may be called by any name: a page that has another name for it has no token.
        assert (await bearer(client, secrets["read"][0]).get("/jobs", Host="jobs.example")).status == 200


@asynchronous
async def test_a_token_for_some_queues_sees_and_uses_these_only() -> None:
    everything, mine = new_token("all", "admin"), new_token("mine", "operate", queues=["mine"])
    app = make_app()
    async with served(app, worker=False, tokens=[everything[1], mine[1]]) as (client, _):
        admin, own = bearer(client, everything[0]), bearer(client, mine[0])
        theirs = (await admin.post("/tasks/add", {"args": [1]})).json["id"]
        assert (await own.post("/tasks/add", {"args": [1]})).status == 403
        ours = await own.post("/tasks/add", {"args": [1], "options": {"queue": "mine"}})
        assert ours.status == 202
        assert (await own.get(f"/jobs/{theirs}")).status == 404
        for path in (f"/jobs/{theirs}/cancel", f"/jobs/{theirs}/retry"):
            assert (await own.post(path)).status == 404
        assert (await own.get("/jobs")).status == 403
        assert [job["id"] for job in (await own.get("/jobs?queue=mine")).json["jobs"]] == [ours.json["id"]]
        assert (await own.get("/jobs?queue=default")).status == 403
        assert [queue["name"] for queue in (await own.get("/queues")).json["queues"]] == ["mine"]
        assert (await own.post("/queues/default/pause")).status == 403
        line = json.dumps({"task": "add", "args": [1]}).encode()
        bulk = await own.post("/bulk", line, Content_Type="application/x-ndjson")
        assert json.loads(bulk.body)["status"] == 403


@asynchronous
@pytest.mark.parametrize("option", ["id", "key"])
async def test_nobody_waits_for_a_job_of_a_queue_that_is_not_his(option: str) -> None:
    everything, mine = new_token("all", "operate"), new_token("mine", "operate", queues=["mine"])
    async with served(make_app(), tokens=[everything[1], mine[1]]) as (client, _):
        theirs = {"args": ["secret"], "options": {option: "invoice-7", "delay": 0.2}}
        assert (await bearer(client, everything[0]).post("/tasks/echo", theirs)).status == 202
        equal = {"args": [1], "options": {option: "invoice-7", "queue": "mine"}}
        answer = await bearer(client, mine[0]).post("/tasks/echo", equal, Prefer="wait=10")
        assert (answer.status, answer.kind) == (403, "forbidden")
        assert b"secret" not in answer.body


@asynchronous
async def test_a_page_that_may_call_is_let_in_by_its_browser() -> None:
    async with served(make_app(), worker=False, origins=["https://shop.example"]) as (client, _):
        asks = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
        page = {"Origin": "https://shop.example", "Sec_Fetch_Site": "cross-site"}
        may = await client.ask("OPTIONS", "/tasks/add", **asks, **page)
        assert (may.status, may.headers["access-control-allow-origin"]) == (204, "https://shop.example")
        assert "Content-Type" in may.headers["access-control-allow-headers"]
        done = await client.post("/tasks/add", {"args": [1]}, **page)
        assert (done.status, done.headers["access-control-allow-origin"]) == (202, "https://shop.example")
        refused = await client.ask("OPTIONS", "/tasks/add", **asks, Origin="https://evil.example")
        assert (refused.status, refused.headers.get("access-control-allow-origin")) == (403, None)
        own = await client.get("/tasks")
        assert "access-control-allow-origin" not in own.headers


@asynchronous
async def test_a_key_is_the_callers_own_and_a_traceback_is_for_readers() -> None:
    first, second = new_token("one", "operate"), new_token("two", "operate", verbs=["submit"])
    async with served(make_app(), tokens=[first[1], json.dumps(token_data(second[1]))]) as (client, _):
        one, two = bearer(client, first[0]), bearer(client, second[0])
        answers = [await each.post("/tasks/add", {"args": [1]}, Idempotency_Key="k") for each in (one, two, one)]
        assert [answer.json["created"] for answer in answers] == [True, True, False]
        failed = [(await each.post("/tasks/bad", Prefer="wait=10")).json["error"] for each in (one, two)]
        assert "traceback" in failed[0]
        assert failed[1] == {"type": "web_app.Told", "message": "no good"}
        assert (await two.get("/jobs")).status == 403


def token_data(token: Token) -> dict[str, Any]:
    return {name: getattr(token, name) for name in token.__struct_fields__}


@asynchronous
async def test_a_secret_of_a_persons_choice_is_hashed_slowly() -> None:
    callers = Callers([Token(name="me", hash=hash_secret("correct horse"), role="read")])
    for _ in range(2):
        found = await callers.find("correct horse")
        assert found is not None
        assert found.name == "me"
    assert await callers.find("correct hors") is None
    assert await callers.find("\ud800") is None


@pytest.mark.parametrize(
    "line",
    [
        "nt_secret",
        '{"name": "x", "hash": "sha256:abc", "role": "read"}',
        '{"name": "x", "hash": "plain:nt_secret", "role": "read"}',
        '{"name": "x", "hash": "md5:00", "role": "root"}',
        '{"name": "x", "hash": "scrypt:1073741824:8:1:AAAAAAAAAAA=:AAAA", "role": "read"}',
        "",
    ],
)
def test_a_token_that_is_none_is_refused_and_not_shown(line: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        read_tokens(line, "the file")
    assert "the file" in str(refused.value)
    assert "nt_secret" not in str(refused.value)


def test_verbs_are_of_the_role() -> None:
    with pytest.raises(InvalidOptions, match="of the role read: read"):
        new_token("x", "read", verbs=["purge"])
    with pytest.raises(InvalidOptions, match="read, operate, admin"):
        new_token("x", "root")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_off_loopback_it_does_not_start_for_everybody(host: str) -> None:
    with pytest.raises(InvalidOptions, match="nursery-tasks web token"):
        check_exposure(ServerOptions(host=host), {})
    check_exposure(ServerOptions(host=host), {"tokens": [new_token("x", "read")[1]]})


def test_options_are_checked() -> None:
    app = App("memory:")
    wrong: list[dict[str, Any]] = [
        {"in_flight": 0},
        {"requests_per_second": 0},
        {"trusted": "root"},
        {"any_task": 1},
        {"tokens": ["x"]},
        {"token": "x"},
        {"max_wait": -1},
    ]
    for options in wrong:
        with pytest.raises(InvalidOptions):
            app.asgi(**options)


@asynchronous
async def test_who_has_a_certificate_may_come_in(tmp_path: Path) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    made = {"server": ca.issue_cert("localhost"), "friend": ca.issue_cert("friend"), "other": stranger.issue_cert("x")}
    for name, certificate in made.items():
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = [str(tmp_path / name) for name in ("server.pem", "server.key", "ca.pem")]
    server = with_tls(ServerOptions(host="0.0.0.0", port=0), *files)
    app = make_app()
    async with app, open_door(app, server, {"trusted": "operate"}) as door:
        port = int(door.url.rpartition(":")[2])
        assert door.url.startswith("https://")

        async def ask(name: str | None) -> bytes:
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            if name is not None:
                context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
            data = b""
            with suppress(ssl.SSLError, anyio.BrokenResourceError, OSError):  # how it is refused depends on the loop
                async with await anyio.connect_tcp(
                    "127.0.0.1", port, ssl_context=context, tls_hostname="localhost", tls_standard_compatible=False
                ) as stream:
                    await stream.send(Client(port).request("POST", "/tasks/add", {"args": [1]}))
                    async for chunk in stream:
                        data += chunk
            return data

        assert parse(await ask("friend")).status == 202
        assert await ask("other") == b""
        assert await ask(None) == b""


def test_nothing_is_loaded_before_it_is_asked_for_and_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, nursery_tasks, nursery_tasks.cli.main; app = nursery_tasks.App('memory:');"
        "print([name for name in sys.modules if name.startswith(('starlette', 'hypercorn', 'nursery_tasks.web'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    monkeypatch.setattr("nursery_tasks.web.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'nursery-tasks\[web\]'"):
        check_installed()
