"""`nursery-tasks events`: what has happened and what happens, for people and for programs, and how to go on."""

from __future__ import annotations

import json
import re
import signal

from cli_shell import MODULE, Shell

LOGGED = MODULE.replace('App("sqlite:///jobs.db")', 'App("sqlite:///jobs.db", event_log=3600)')


def test_events_are_shown_followed_and_gone_on_with(shell: Shell) -> None:
    shell.write("tasks_here.py", LOGGED)
    shell.worker("--json")
    assert shell("call", "add", "1", "2").out == "3\n"
    assert shell("call", "bad").code == 1
    follower = shell.start("events", "--follow", "--since", "start", "--task", "add", "--json")
    first = json.loads(follower.wait_for("succeeded"))
    assert (first["event"], first["task"], first["attempt"]) == ("succeeded", "add", 1)
    assert shell("call", "add", "3", "4").out == "7\n"
    second = json.loads(follower.wait_for("succeeded"))
    follower.send(signal.SIGINT)
    ended = follower.end()
    assert ended.code == 130
    said = re.fullmatch(r"go on with: --since (\S+)\n?", ended.err)  # and no word more
    assert said is not None
    cursor = said[1]
    assert cursor == second["cursor"]
    assert shell("events", "--since", cursor, "--task", "add").out == ""

    shown = shell("events", "--task", "b*", "--kind", "started", "--kind", "ended")
    kinds = [re.fullmatch(r"\d\d:\d\d:\d\d  [0-9a-f]+  bad  (\w+)(  .*)?", line) for line in shown.out.splitlines()]
    assert [match and match[1] for match in kinds] == ["started", "started", "failed"]
    assert "ValueError: no good" in shown.out
    only = shell("events", "--job", first["job_id"][-8:], "--since", "1h", "--json")
    assert {json.loads(line)["job_id"] for line in only.out.splitlines()} == {first["job_id"]}
    assert shell("events", "--kind", "expired").err == "no such events\n"


def test_events_say_what_is_wrong(shell: Shell) -> None:
    shell.worker("--json")
    assert shell("events").err == "no events; App(event_log=timedelta(days=1)) keeps them\n"
    assert "expected ended, or one of queued" in shell("events", "--kind", "done").err
    assert "--since 2026-99-99 is no moment" in shell("events", "--since", "2026-99-99").err
    assert "'start', 'now', the cursor of an event" in shell("events", "--since", "yesterday").err
    assert "the log that it belongs to is gone" in shell("events", "--since", "0123-7").err
