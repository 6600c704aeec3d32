"""`nursery-tasks run --http` and `nursery-tasks web`: the door as people open it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from cli_shell import Running, Shell, eventually


def port_of(running: Running) -> int:
    found = re.search(r"answering at http://127\.0\.0\.1:(\d+)", running.wait_for("answering at"))
    assert found is not None
    return int(found[1])


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), given)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_worker_answers_http_and_drains_what_it_has(shell: Shell, loop: list[str]) -> None:
    worker = shell.start("run", "tasks_here:app", "--http", "127.0.0.1:0", *loop)
    port = port_of(worker)
    assert ask(port, "POST", "/tasks/greet", {"args": ["you"]}, Prefer="wait=10") == (200, "Hello, you")
    assert ask(port, "GET", "/readyz") == (200, {"status": "ready"})

    under_way = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = json.dumps({"args": ["late", 1.0]})
    under_way.request("POST", "/tasks/greet", body, {"Content-Type": "application/json", "Prefer": "wait=10"})
    eventually(lambda: shell.app.sync.jobs.list(states=["started"]))
    worker.send(signal.SIGTERM)
    worker.wait_for("stopping")
    status, refused = ask(port, "POST", "/tasks/greet", {"args": ["no"]})
    assert (status, refused["type"]) == (503, "urn:nursery-tasks:draining")
    assert json.loads(under_way.getresponse().read()) == "Hello, late"
    under_way.close()
    ended = worker.end()
    assert (ended.code, ended.err) == (0, "")


def test_the_second_signal_cuts_requests_short(shell: Shell) -> None:
    at_once = "from nursery_tasks.cli import serve; serve.NEXT_SIGNAL_SECONDS = 0.0"
    worker = shell.start("run", "tasks_here:app", "--http", "127.0.0.1:0", "--backend", "trio", before=at_once)
    port = port_of(worker)
    under_way = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = json.dumps({"args": ["never", 60.0]})
    under_way.request("POST", "/tasks/greet", body, {"Content-Type": "application/json", "Prefer": "wait=60"})
    eventually(lambda: shell.app.sync.jobs.list(states=["started"]))
    worker.send(signal.SIGTERM)
    worker.wait_for("a second signal")
    worker.send(signal.SIGTERM)
    assert under_way.getresponse().status == 503
    under_way.close()
    assert worker.end().code == 3  # the job was given back, and then cancelled with its request


def test_a_client_of_a_door_alone_hangs_up_and_its_job_ends_elsewhere(shell: Shell, loop: list[str]) -> None:
    shell.worker()
    door = shell.start("web", "tasks_here:app", "--http", "127.0.0.1:0", *loop)
    port = port_of(door)
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = json.dumps({"args": ["never", 60.0]})
    client.request("POST", "/tasks/greet", body, {"Content-Type": "application/json", "Prefer": "wait=60"})
    eventually(lambda: shell.app.sync.jobs.list(states=["started"]))
    client.close()
    began = time.monotonic()
    eventually(lambda: shell.app.sync.jobs.list(states=["cancelled"]))
    assert time.monotonic() - began < 1.0
    status, listed = ask(port, "GET", "/jobs")
    assert (status, [job["reason"] for job in listed["jobs"]]) == (200, ["the client went away"])
    door.send(signal.SIGINT)
    ended = door.end()
    assert (ended.code, ended.err) == (0, "")


def test_several_workers_answer_at_one_address(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workers = shell.start("run", "tasks_here:app", "--workers", "2", "--http", f"127.0.0.1:{port}", "--json")
    for _ in range(2):
        workers.wait_for("worker-http")
    for number in range(6):  # each by a connection of its own, which either of them may accept
        assert ask(port, "POST", "/tasks/add", {"args": [number, 1]}, Prefer="wait=10") == (200, number + 1)
    workers.send(signal.SIGTERM)
    assert workers.end().code == 0


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--http", "0.0.0.0:8000"], "nursery-tasks web token"),
        (["--http", "8000"], "an address and a port"),
        (["--http", "127.0.0.1:http"], "an address and a port"),
        (["--http", "127.0.0.1:0", "--http-token-file", "none"], "a file that can be read"),
        (["--http", "127.0.0.1:0", "--http-token-file", "bad"], "line 1 of bad"),
        (["--http", "127.0.0.1:0", "--http-cert", "cert"], "--http-cert and --http-key together"),
        (["--http-rpc"], "an address such as 127.0.0.1:8000 beside"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(shell: Shell, args: list[str], problem: str) -> None:
    (shell.directory / "bad").write_text("secret-in-the-wrong-place\n")
    ended = shell("run", "tasks_here:app", *args)
    assert ended.code == 2
    assert problem in ended.err
    assert "secret-in-the-wrong-place" not in ended.err
    assert len(ended.error_lines) == 1


def test_a_token_is_made_and_lets_in(shell: Shell, tmp_path: Path) -> None:
    made = shell("web", "token", "--role", "operate", "--name", "ci")
    secret = made.err.strip().removeprefix("secret: ")
    assert secret not in made.out
    shell.write("tokens", made.out)
    chosen = "correct horse battery staple"
    with (shell.directory / "tokens").open("a") as file:
        file.write(shell("web", "token", "--own", stdin=f"{chosen}\n").out)
    assert "at least 16 characters" in shell("web", "token", "--own", stdin="short\n").err
    worker = shell.start("run", "tasks_here:app", "--http", "127.0.0.1:0", "--http-token-file", "tokens")
    port = port_of(worker)
    assert ask(port, "GET", "/jobs")[0] == 401
    assert ask(port, "GET", "/jobs", Authorization=f"Bearer {secret}x")[0] == 401
    assert ask(port, "GET", "/jobs", Authorization=f"Bearer {secret}")[0] == 200
    assert ask(port, "POST", "/tasks/add", {"args": [1, 2]}, Prefer="wait=10", Authorization=f"Bearer {secret}") == (200, 3)
    assert ask(port, "GET", "/jobs", Authorization=f"Bearer {chosen}")[0] == 200
    assert ask(port, "GET", "/healthz")[0] == 200
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0
