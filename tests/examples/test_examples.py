"""Every example runs, as a user would run it: a program of its own, with a worker beside it where it needs one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from rabbit_server import need_server, shared_server

EXAMPLES = Path(__file__).parents[2] / "examples"
WITH_WORKER = {"first": "the nap was cancelled", "sync_program": "a hundred more: 161700"}
ALONE = {
    "batches": "one call, 100 in it\none call, 1 in it\n'' has failed: an empty document\nattempts of the unlucky one: 2",
    "classes": "the page at https://a: attempt 2, 1 request",
    "debounce": "letter is indexed: Dear Ada",
    "durable": "report R-17: 14 words\n['read one', 'read four', 'read sixteen', 'draw a number']",
    "embedded": "Bonjour, Grace",
    "full_queue": "mail is full: 5 jobs wait there\n50 mails were sent, and no more than 5 have waited",
    "errors": "cancelled: changed my mind",
    "hooks": "mail.send has failed: ValueError: nobody is no address",
    "follow": "first has succeeded\nsecond has succeeded",
    "middleware": "charge of blue took less than 1 s\norder 7 is charged to blue",
    "headers": "order 7 is charged to blue",
    "limits": "at most 2 at once from one host",
    "order_and_once": "bert: [0, 1, 2, 3, 4]\ninvoice 7 is dead: the worker stops; it had started, and is delivered",
    "other_languages": "1 + 2 = 3",
    "flows": "document 2: 1 lines, mostly 'rivers'",
    "pauses": "imported: us-1/1\nthe report was made all the same\nimport_orders for all: the new version comes",
    "resources": "hello /a, hello /b, hello /c\nclient closed",
    "schedules": "nightly@2026-03-29T01:00:00Z report of the world for 29 March\n",
    "shell": "both were gone after 0.",
    "processes": "the search was killed",
    "test_with_the_lab": "both hold",
    "web_request": "the client went away; the pages were gone 0.",
    "tree": "nothing of the tree is left",
}
WITH_RABBITMQ = {
    "rabbitmq": "order 7 was shipped at attempt 2\nand 100 more\norder 8 is cancelled\n",
    "amqp_rpc": 'q0 failed {"id":"q0","error":{"state":"failed","type":"ZeroDivisionError","text":"division by zero"}}\n'
    "q3 is 20.0\nq4 is 15.0\n",
    "amqp_client": 'q1 is answered with {"id":"q1","response":3}\nand the notes are [\'ONE\', \'TWO\']\n',
}
BY_HTTP = {"http_door"}
WITH_BOTH_SERVERS = {"pipeline"}  # run in tests/stages
LIBRARIES = {"toy_broker"}  # imported by the contract's tests
SECONDS = 50


def test_every_example_is_run_somewhere() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        *WITH_WORKER,
        *ALONE,
        *WITH_RABBITMQ,
        *WITH_BOTH_SERVERS,
        *BY_HTTP,
        *LIBRARIES,
    }


@pytest.mark.parametrize("name", sorted(ALONE))
def test_an_example_runs_alone(name: str, tmp_path: Path) -> None:
    assert ALONE[name] in run(tmp_path, str(EXAMPLES / f"{name}.py"))


@pytest.mark.parametrize("name", sorted(WITH_RABBITMQ))
def test_an_example_runs_beside_a_rabbitmq_server(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_server()
    server = shared_server()
    with server.virtual_host() as host:
        monkeypatch.setenv("RABBITMQ_URL", f"{server.url}{host}")
        assert run(tmp_path, str(EXAMPLES / f"{name}.py")) == WITH_RABBITMQ[name]
        if name == "rabbitmq":
            assert server.api("GET", f"bindings/{host}/e/Shop.x/q/Shop.orders")[0]["routing_key"] == "order.new"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", sorted(WITH_WORKER))
def test_an_example_runs_beside_a_worker(name: str, backend: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
    with worker(tmp_path, f"{name}:app", backend):
        assert WITH_WORKER[name] in run(tmp_path, f"{name}.py")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_http_door_by_curl(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(EXAMPLES / "http_door.py", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("DOOR", f"http://{address}")
    with worker(tmp_path, "http_door:app", backend, "--http", address) as lines:
        while "answering at" not in next(lines):
            pass
        said = subprocess.run(["sh", EXAMPLES / "http_door.sh"], capture_output=True, text=True, timeout=SECONDS, check=True)
        assert said.stderr == ""
        submitted, rendered, over, again, wrong, first, second, third, noted, looked = said.stdout.splitlines()
        assert '"task":"add","queue":"default","created":true' in submitted
        assert rendered == '"intro.mp4"'
        assert '"status":504' in over
        assert again == "77"
        assert '"field":"b"' in wrong
        assert [line[:13] for line in (first, third)] == ['{"status":202'] * 2
        assert '"urn:nursery-tasks:unknown-task"' in second
        assert noted == '"HELLO"'
        assert looked.startswith('{"jobs":[{"id":')


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "NURSERY_TASKS_BROKER": f"sqlite:///{folder / 'jobs.db'}", "PYTHONWARNINGS": "error"}


def run(folder: Path, *command: str) -> str:
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=SECONDS
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@contextmanager
def worker(folder: Path, target: str, backend: str, *options: str) -> Generator[IO[str], None, None]:
    command = [sys.executable, "-m", "nursery_tasks", "run", target, "--backend", backend, *options]
    process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout  # a job waits for its worker, so there is nothing to wait for here
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS)
    assert process.returncode == 0
