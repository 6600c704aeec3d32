"""Gaps of the door that were found and closed: each stays closed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import anyio
import pytest
from support import DEADLINE
from web_app import make_app
from web_client import Client, served

from nursery_tasks import App, current_job
from nursery_tasks.errors import BrokerRefused, BrokerUnavailable, NotSupported
from nursery_tasks.web.callers import new_token
from nursery_tasks.web.problems import problem_of

asynchronous = pytest.mark.anyio


def bearer(client: Client, secret: str) -> Client:
    return Client(client.port, {"Authorization": f"Bearer {secret}"})


@asynchronous
async def test_an_id_that_has_no_path_is_refused() -> None:
    async with served(make_app(), worker=False) as (client, _):
        for job_id in ("a/b", "../x", "/", ".", ".."):
            answer = await client.post("/tasks/add", {"args": [1], "options": {"id": job_id}})
            assert (answer.status, answer.kind, answer.json["field"]) == (422, "invalid-options", "id")
        stored = await client.post("/tasks/add", {"args": [1], "options": {"id": "a?b#c%2F..é"}})
        assert (await client.get(stored.headers["location"])).json["id"] == "a?b#c%2F..é"
        assert len((await client.get("/jobs")).json["jobs"]) == 1


@asynchronous
async def test_an_id_with_slashes_that_a_program_has_made_can_be_asked_for() -> None:
    app = make_app()
    async with served(app) as (client, _):
        for job_id in ("orders/7", "a/tree", "/", "%2F"):
            await app.job("add", 1, 2).with_options(id=job_id).enqueue()
            path = f"/jobs/{quote(job_id, safe='')}"
            assert (await client.get(f"{path}/result", Prefer="wait=10")).json == 3
            assert (await client.get(f"{path}/tree")).json["id"] == job_id
            assert (await client.post(f"{path}/retry")).status == 409
        assert (await client.get("/jobs/orders%2F7")).json["id"] == "orders/7"
        assert (await client.get("/jobs/orders%2F8")).status == 404


def app_with_a_family() -> App:
    app = make_app()

    @app.task(queue="mine")
    async def parent() -> str:
        for queue in ("mine", "theirs"):
            await app.job("echo", queue).with_options(queue=queue, delay=3600).enqueue()
        return current_job().id

    return app


@asynchronous
async def test_a_tree_has_no_jobs_of_queues_that_are_not_the_callers() -> None:
    mine, everything = new_token("mine", "operate", queues=["mine"]), new_token("all", "read")
    async with served(app_with_a_family(), tokens=[mine[1], everything[1]]) as (client, _):
        made = await bearer(client, mine[0]).post("/tasks/parent", Prefer="wait=10")
        path = f"/jobs/{made.json}/tree"
        seen = [(await bearer(client, secret).get(path)).json["children"] for secret, _ in (mine, everything)]
        assert [[child["queue"] for child in children] for children in seen] == [["mine"], ["mine", "theirs"]]


@asynchronous
async def test_who_may_only_submit_reads_no_result_by_an_id() -> None:
    everything, submits = new_token("all", "operate"), new_token("submits", "operate", verbs=["submit"])
    async with served(make_app(), tokens=[everything[1], submits[1]]) as (client, _):
        one, other = bearer(client, everything[0]), bearer(client, submits[0])
        theirs = {"args": ["secret"], "options": {"id": "invoice-7"}}
        assert (await one.post("/tasks/echo", theirs, Prefer="wait=10")).json == "secret"
        answer = await other.post("/tasks/echo", {"args": [1], "options": {"id": "invoice-7"}}, Prefer="wait=10")
        assert (answer.status, answer.kind) == (403, "forbidden")
        again = [await other.post("/tasks/add", {"args": [1, 2]}, Prefer="wait=10", Idempotency_Key="k") for _ in range(2)]
        assert [answer.json for answer in again] == [3, 3]  # what it has made itself it may ask for again


@pytest.mark.parametrize("error", [BrokerUnavailable, BrokerRefused, NotSupported])
def test_the_address_of_the_broker_is_told_to_nobody(error: Any) -> None:
    problem = problem_of(error("redis://10.0.0.7:6379/0", "a reason"))
    assert problem is not None
    assert "10.0.0.7" not in problem.detail
    assert ("a reason" in problem.detail) == (error is not BrokerUnavailable)


@asynchronous
async def test_a_host_is_a_name_and_a_port_and_nothing_else() -> None:
    async with served(make_app(), worker=False) as (client, _):
        for host in ("localhost:1@evil", "[::1].evil", "localhost:evil", "[::1", "localhost:1:2", "localhost/x", "localhost:"):
            answer = await client.get("/tasks", Host=host)
            assert answer.status == (200 if host == "localhost:" else 403), host
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]", "[::1]:8000"):
            assert (await client.get("/tasks", Host=host)).status == 200, host


@asynchronous
async def test_a_parameter_that_is_not_known_is_refused() -> None:
    async with served(make_app(), worker=False) as (client, _):
        wrong = [("/jobs?statee=foo", "statee"), ("/tasks?x=1", "x"), ("/events?since=foo", "since")]
        for path, field in wrong:
            answer = await client.get(path)
            assert (answer.status, answer.kind, answer.json["field"]) == (422, "invalid-query", field)
        assert "state, queue, task" in (await client.get("/jobs?statee=foo")).json["detail"]
        assert (await client.get("/healthz?now=1")).status == 200


@asynchronous
async def test_one_caller_leaves_places_to_others() -> None:
    greedy, other = new_token("greedy", "operate"), new_token("other", "operate")
    app = make_app()
    async with served(app, tokens=[greedy[1], other[1]], in_flight=4) as (client, _), anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(lambda: bearer(client, greedy[0]).post("/tasks/nap", {"args": [60]}, Prefer="wait=50"))
        with anyio.fail_after(DEADLINE):
            while len(await app.jobs.list(task="nap")) < 2:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.005)
        answer = await bearer(client, greedy[0]).get("/tasks")
        assert (answer.status, answer.kind) == (429, "too-many-requests")
        assert (await bearer(client, other[0]).get("/tasks")).status == 200
        group.cancel_scope.cancel()
