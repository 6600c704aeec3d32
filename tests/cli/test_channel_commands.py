"""Channels on the command line: sent to, looked into, and shown by doctor, where one is down and the others go on."""

from __future__ import annotations

import json

import redis
from cli_shell import Shell
from redis_server import need_server, shared_server

MODULE = """
import os

from nursery_tasks import App

app = App(
    "sqlite:///jobs.db",
    channels={{"cache": "{url}?namespace=cli:", "gone": "amqp://me:s3cret@127.0.0.1:1/?timeout=1", "hook": "http://127.0.0.1:1/"}},
)
"""


def test_channels_on_the_command_line(shell: Shell) -> None:
    need_server()
    server = shared_server()
    shell.write("doors.py", MODULE.format(url=server.url))
    try:
        sent = shell("send", "cache:orders", "hello", "--app", "doors:app")
        assert sent.code == 0, sent.err
        with redis.Redis(port=server.port) as client:
            assert client.lrange("cli:orders", 0, -1) == [b"hello"]
        shown = shell("peek", "cache:orders", "--app", "doors:app", "--json")
        assert [each["body"] for each in json.loads(shown.out)] == ["hello"]

        wrong = shell("send", "cach:orders", "x", "--app", "doors:app")
        assert (wrong.code != 0, "cache:" in wrong.err, len(wrong.error_lines) <= 3) == (True, True, True)
        away = shell("send", "gone:orders", "x", "--app", "doors:app")
        assert away.code != 0
        assert "is the server running" in away.err
        assert "Traceback" not in away.err

        found = shell("doctor", "--app", "doors:app", "--json")
        findings = {each["what"]: each for each in json.loads(found.out)["findings"]}
        assert (findings["channel cache"]["level"], findings["channel gone"]["level"]) == ("ok", "problem")
        assert "public internet" in findings["channel hook"]["text"]
        assert "s3cret" not in found.out + found.err + away.err
    finally:
        with redis.Redis(port=server.port) as client:
            client.flushdb()
