"""Programs that know nothing of nursery-tasks and have `redis-cli`, and a real worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redis_server import fresh_url, shared_server

WAIT = "20"  # seconds; what should happen at once fails after this long
GARBAGE = [b"not json", b"garbage-no-pipe", b"\xff\x00{", b'{"args": [1, 2]}', b"x" * 1_100_000]


class Elsewhere:
    """A worker on one broker, and how another program on the machine sees that broker."""

    def __init__(self, url: str, folder: Path, backend: str) -> None:
        self.prefix = f"{{{url.rpartition('=')[2]}}}:"
        self.environment = os.environ | {"NURSERY_TASKS_BROKER": url, "NO_COLOR": "1", "COLUMNS": "200"}
        self.log = (folder / "log").open("w+b")
        where = ["run", "foreign_program:app", "--slots", "2", "--backend", backend]
        self.worker = subprocess.Popen(
            [sys.executable, "-m", "nursery_tasks", *where],
            cwd=Path(__file__).parent,
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
        )

    def redis(self, *words: str, stdin: bytes | None = None) -> str:
        """Run `redis-cli`; with *stdin* the last word of the command is read from there."""
        how = ["-x"] if stdin is not None else []
        command = ["redis-cli", "-p", str(shared_server().port), *how, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=60)
        assert not done.stderr, done.stderr
        return done.stdout.decode().rstrip("\n")

    def put(self, name: str, body: str, command: str = "RPUSH") -> None:
        self.redis(command, self.prefix + name, body)

    def answer(self, name: str = "answers") -> str:
        """Wait for an answer."""
        found = self.redis("BLPOP", f"{self.prefix}out:{name}", WAIT)
        assert found, f"no answer in {name}; the worker says:\n{self.said()}"
        return found.partition("\n")[2]

    def ask(self, **message: Any) -> Any:
        self.put("in:default", json.dumps({"reply_to": "answers", **message}))
        return json.loads(self.answer())

    def jobs(self, *more: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "nursery_tasks", "jobs", "--json", *more]
        done = subprocess.run(command, env=self.environment, capture_output=True, check=True, timeout=60)
        found: list[dict[str, Any]] = json.loads(done.stdout)["jobs"]
        return found

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def close(self) -> None:
        self.worker.send_signal(signal.SIGTERM)
        try:
            code = self.worker.wait(20)
        finally:
            self.worker.kill()
            self.worker.wait()
            said = self.said()
            self.log.close()
        assert code == 0, said
        assert "Traceback" not in said.replace("no such file", ""), said


@pytest.fixture(params=["asyncio", "trio"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Elsewhere, None, None]:
    with fresh_url() as url:
        if shutil.which("redis-cli") is None:
            pytest.fail("no redis-cli beside the server; on Debian it is in redis-tools")
        elsewhere = Elsewhere(url, tmp_path, request.param)
        try:
            assert elsewhere.ask(task="add", args=[0, 0])["response"] == 0  # it works
            yield elsewhere
        finally:
            elsewhere.close()


def test_one_line_from_a_shell_runs_a_task(elsewhere: Elsewhere) -> None:
    elsewhere.put("in:default", '{"id": "mine", "task": "add", "args": [1, 2], "reply_to": "answers"}')
    assert elsewhere.answer() == '{"id":"mine","response":3}'
    elsewhere.put("in:default", '{"id": "left", "task": "add", "kwargs": {"a": 2, "b": 3}, "reply_to": "answers"}', "LPUSH")
    assert elsewhere.answer() == '{"id":"left","response":5}'
    assert elsewhere.ask(id=7, task="fail") == {
        "id": 7,
        "error": {"state": "failed", "type": "ValueError", "text": "no such file"},
    }
    elsewhere.put("in:default", '{"id": "silent", "task": "add", "args": [1, 2]}')
    assert elsewhere.ask(id="last", task="add", args=[3, 4]) == {"id": "last", "response": 7}
    assert elsewhere.redis("LLEN", f"{elsewhere.prefix}out:answers") == "0"
    states = {job["id"]: (job["state"], job["task"]) for job in elsewhere.jobs()}
    assert states["mine"] == states["left"] == states["silent"] == ("succeeded", "add")
    assert states["7"] == ("failed", "fail")


def test_the_example_in_sh(elsewhere: Elsewhere) -> None:
    script = Path(__file__).parents[2] / "examples" / "other_languages.sh"
    environment = os.environ | {"PORT": str(shared_server().port), "PREFIX": elsewhere.prefix[1:-2]}
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == '{"id":"sum","response":3}\nres-hello\n'
    elsewhere.ask(task="add", args=[1, 2])
    assert [job["body"] for job in elsewhere.jobs("--state", "dead")] == ["not json"]


def test_a_user_for_other_programs_needs_no_more_than_the_lists(elsewhere: Elsewhere) -> None:
    mine, user = elsewhere.prefix, ["--user", "others", "--pass", "secret", "--no-auth-warning"]
    rights = [f"~{mine}{name}:*" for name in ("in", "raw", "out")]
    elsewhere.redis("ACL", "SETUSER", "others", "reset", "on", ">secret", *rights, "+rpush", "+lpush", "+blpop")
    try:
        elsewhere.redis(*user, "RPUSH", f"{mine}in:default", '{"id": 1, "task": "add", "args": [1, 2], "reply_to": "others"}')
        assert elsewhere.redis(*user, "BLPOP", f"{mine}out:others", WAIT).endswith('{"id":1,"response":3}')
        assert elsewhere.redis(*user, "RPUSH", f"{mine}ready:default", "1").startswith("NOPERM")
    finally:
        elsewhere.redis("ACL", "DELUSER", "others")


def test_raw_bodies_from_a_shell(elsewhere: Elsewhere) -> None:
    elsewhere.put("raw:notes", "hello", "LPUSH")
    assert elsewhere.answer("notes-answers") == "res-hello"
    elsewhere.put("raw:orders", '{"what": "tea", "count": 2, "id": "x"}')
    assert json.loads(elsewhere.answer("order-answers")) == {"id": "x", "response": {"tea": 2}}
    elsewhere.put("raw:orders", '{"what": 7}')
    refused = json.loads(elsewhere.answer("order-answers"))["error"]
    assert refused["state"] == "dead"
    assert "order: argument 'body': Expected `str`, got `int`" in refused["reason"]
    (dead,) = elsewhere.jobs("--state", "dead")
    assert (dead["queue"], dead["body"]) == ("orders", '{"what": 7}')


def test_what_is_malformed_is_put_aside_and_the_next_one_runs(elsewhere: Elsewhere) -> None:
    for body in GARBAGE:
        elsewhere.redis("RPUSH", f"{elsewhere.prefix}in:default", stdin=body)
    assert elsewhere.ask(id="next", task="add", args=[1, 2])["response"] == 3
    (good,) = (job for job in elsewhere.jobs() if job["id"] == "next")
    took = datetime.fromisoformat(good["ended_at"]) - datetime.fromisoformat(good["created_at"])
    assert took.total_seconds() < 1.0
    dead = elsewhere.jobs("--state", "dead")
    assert [job["body"] if "body" in job else job["body_base64"] for job in dead] == [
        "not json",
        "garbage-no-pipe",
        "/wB7",
        '{"args": [1, 2]}',
        "x" * 1_100_000,
    ]
    reasons = [job["reason"] for job in dead]
    assert all(reason.startswith("undecodable: not a message: ") for reason in reasons[:4])
    assert reasons[4] == "oversize: 1,100,000 bytes, this app's max_payload_bytes is 1,048,576"
    assert elsewhere.worker.poll() is None
