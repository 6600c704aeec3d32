"""The commands that look at jobs and change them from outside: their JSON, their exit codes, and what people read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_shell import MODULE, Ended, Shell, eventually

from nursery_tasks import JobState
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.model.delivery import Started, Unresponsive
from nursery_tasks.model.listing import WorkerRecord
from nursery_tasks.model.outgoing import Outgoing
from nursery_tasks.testing.contract.steps import claim_one, job, settle, submit


def data(ended: Ended) -> Any:
    assert ended.err == ""
    return json.loads(ended.out)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database where one job has succeeded, one has failed, one waits for later and one is ready, in this order."""
    with Shell(tmp_path_factory.mktemp("history")).open() as shell:
        shell.write("tasks_here.py", MODULE)
        worker = shell.worker("--json")
        sync, job = shell.app.sync, shell.app.job
        sync.enqueue(job("greet", "Ada").with_options(tags=["first"], headers={"tenant": "blue"})).outcome(10)
        sync.enqueue(job("bad")).outcome(10)
        worker.send(signal.SIGTERM)
        assert worker.end().code == 0
        sync.enqueue(job("greet", "Grace").with_options(delay=1000))
        sync.enqueue(job("add", 1, b=2).with_options(queue="sums", priority=3))
    return shell.directory


@pytest.fixture
def worked(shell: Shell, history: Path) -> Shell:
    """A shell beside a copy of that database."""
    for file in history.glob("jobs.db*"):
        shutil.copy(file, shell.directory)
    return shell


# --- call -----------------------------------------------------------------------------------------------------------------


def test_call_prints_the_result_as_json_and_does_not_import_the_app(shell: Shell) -> None:
    worker = shell.worker("--json")
    (shell.directory / "tasks_here.py").unlink()
    assert data(shell("call", "add", "1", "2")) == 3
    assert data(shell("call", "greet", "Ada Lovelace")) == "Hello, Ada Lovelace"
    assert shell("call", "greet", "12").error_lines[0].startswith("error: greet failed: InvalidArguments: ")
    assert data(shell("call", "greet", '"12"')) == "Hello, 12"
    assert data(shell("call", "add", "--", "-1", "2")) == 1
    assert data(shell("call", "add", "--kwargs", '{"a": 1, "b": 5}')) == 6
    called = data(shell("call", "greet", '"12"', "--json"))
    assert (called["state"], called["result"], called["attempt"]) == ("succeeded", "Hello, 12", 1)
    assert worker.process.poll() is None


def test_send_puts_a_message_into_the_inbox(shell: Shell) -> None:
    worker = shell.worker("--json")
    sent = shell("send", "default", '{"task": "greet", "args": ["Ada"]}', "--id", "mine")
    assert (sent.code, sent.out, sent.err) == (0, "mine\n", "")
    assert data(shell("send", "default", "--json", stdin='{"task": "add", "args": [1, 2], "id": 7}'))["queue"] == "default"
    worker.wait_for('"succeeded"')
    worker.wait_for('"succeeded"')
    assert data(shell("jobs", "mine", "--json"))["result"] == "Hello, Ada"
    refused = shell("send", "default", "x", "--file", "y")
    assert (refused.code, refused.error_lines[0]) == (2, "error: BODY and --file both say what to send")


def test_call_tells_a_jobs_error_in_three_lines(shell: Shell) -> None:
    shell.worker("--json")
    ended = shell("call", "bad")
    assert ended.code == 1
    assert len(ended.error_lines) == 3
    assert ended.error_lines[0] == "error: bad failed: ValueError: no good"
    job_id = ended.error_lines[1].split()[1].rstrip(",")
    assert f"nursery-tasks jobs {job_id}" in ended.error_lines[2]
    called = shell("call", "bad", "--json")
    assert called.code == 1
    assert data(called)["error"]["type"] == "ValueError"
    assert data(called)["attempt"] == 2
    traced = shell("call", "bad", "-v")
    assert "in bad" in traced.err
    assert traced.error_lines[-3] == "error: bad failed: ValueError: no good"


def test_call_gives_up_and_cancels_when_the_time_is_over(shell: Shell) -> None:
    ended = shell("call", "greet", "Ada", "--timeout", "0.1")
    assert ended.code == 1
    assert "still ready after 0.1 s; no worker is running, start one with" in ended.error_lines[0]
    assert ended.error_lines[1] == "  it was cancelled"
    [job] = data(shell("jobs", "--json"))["jobs"]
    assert (job["state"], job["reason"]) == ("cancelled", "its caller went away")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_call_cancels_its_job_where_it_runs(shell: Shell, number: signal.Signals, code: int) -> None:
    worker = shell.worker("--json")
    call = shell.start("call", "greet", "Ada", "60")
    worker.wait_for('"started"')
    call.send(number)
    ended = call.end()
    assert ended.code == code
    assert ended.error_lines == ["it was cancelled", "error: stopped by a signal"]
    worker.wait_for('"cancelled"')


def test_call_says_when_nobody_is_there_to_run_the_job(shell: Shell) -> None:
    call = shell.start("call", "greet", "Ada")
    eventually(lambda: call.errors)
    place = f"sqlite:///jobs.db ({shell.directory / 'jobs.db'})"
    assert call.errors == [f"waiting: no worker is running for {place}; start one with `nursery-tasks run module:app`"]
    shell.worker()
    assert call.end().out == '"Hello, Ada"'


def test_call_says_when_nobody_serves_the_queue(shell: Shell) -> None:
    shell.worker()
    call = shell.start("call", "greet", "Ada", "--queue", "mail")
    eventually(lambda: call.errors)
    place = f"sqlite:///jobs.db ({shell.directory / 'jobs.db'})"
    assert call.errors == [f"waiting: no worker for {place} serves the queue 'mail', only default"]


def test_call_says_when_no_worker_knows_the_task(shell: Shell) -> None:
    shell.worker()
    call = shell.start("call", "greeet", "Ada")
    eventually(lambda: call.errors)
    place = f"sqlite:///jobs.db ({shell.directory / 'jobs.db'})"
    step = "does the module that they run declare it, and are they of this version?"
    assert call.errors == [f"waiting: the workers for {place} know no task of that name; {step}"]


def test_call_can_let_go_of_a_job(shell: Shell) -> None:
    ended = shell("call", "greet", "Ada", "--no-wait", "--delay", "100", "--priority", "7", "--id", "mine", "--key", "k")
    assert (ended.code, ended.out, ended.err) == (0, "mine\n", "")
    again = data(shell("call", "greet", "Ada", "--no-wait", "--id", "mine", "--json"))
    assert again == {"id": "mine", "task": "greet", "created": False}
    shown = data(shell("jobs", "mine", "--json"))
    assert (shown["state"], shown["priority"], shown["key"]) == ("scheduled", 7, "k")


def test_call_does_not_cancel_a_job_that_was_there_before(shell: Shell) -> None:
    shell("call", "greet", "Ada", "--no-wait", "--id", "mine")
    ended = shell("call", "greet", "Ada", "--id", "mine", "--timeout", "0.1")
    assert ended.error_lines[1] == "  the job was there before this call, and goes on"
    assert shell.app.sync.handle("mine").status() is JobState.READY


def test_call_knows_the_tasks_options_from_the_app(shell: Shell) -> None:
    shell.write(
        "queued.py",
        "from nursery_tasks import App\napp = App('sqlite:///jobs.db')\n@app.task(queue='mail')\nasync def post(n: int): ...\n",
    )
    data_id = shell("call", "post", "1", "--app", "queued", "--no-wait").out.strip()
    assert data(shell("jobs", data_id, "--json"))["queue"] == "mail"


def test_a_full_queue_is_told_to_call_and_shown_by_queues(shell: Shell) -> None:
    shell.write(
        "bounded.py",
        "from nursery_tasks import App\napp = App('sqlite:///jobs.db')\napp.queue('mail', max_length=2)\n"
        "@app.task(queue='mail')\nasync def post(n: int): ...\n",
    )
    for _ in range(2):
        assert shell("call", "post", "1", "--app", "bounded", "--no-wait").code == 0
    for more in ([], ["--no-wait"]):
        ended = shell("call", "post", "1", "--app", "bounded", *more)
        assert (ended.code, ended.out) == (1, "")
        assert ended.error_lines == [
            "error: queue 'mail' is full: 2 jobs wait there, as many as its max_length allows",
            "  nothing was submitted",
            "  more workers make room: nursery-tasks run module:app --queues mail",
        ]
    [mail] = data(shell("queues", "--app", "bounded", "--json"))
    assert (mail["counts"]["ready"], mail["max_length"]) == (2, 2)
    assert "max length" in shell("queues", "--app", "bounded").out
    assert "max length" not in shell("queues", "--broker", "sqlite:///jobs.db").out


# --- jobs -----------------------------------------------------------------------------------------------------------------


def test_jobs_lists_in_the_order_of_submission(worked: Shell) -> None:
    listed = data(worked("jobs", "--json"))
    assert [(job["task"], job["state"]) for job in listed["jobs"]] == [
        ("greet", "succeeded"),
        ("bad", "failed"),
        ("greet", "scheduled"),
        ("add", "ready"),
    ]
    assert listed["next_cursor"] is None
    first, failed, _, last = listed["jobs"]
    assert (first["result"], first["args"], first["tags"]) == ("Hello, Ada", ["Ada"], ["first"])
    assert first["headers"] == {"tenant": "blue"}
    assert (failed["attempts"], failed["error"]["type"], failed["error"]["text"]) == (2, "ValueError", "no good")
    assert (last["args"], last["kwargs"], last["queue"], last["priority"]) == ([1], {"b": 2}, "sums", 3)


@pytest.mark.parametrize(
    ("args", "tasks"),
    [
        (["--state", "ready"], ["add"]),
        (["--state", "ready", "--state", "failed"], ["bad", "add"]),
        (["--queue", "sums"], ["add"]),
        (["--task", "greet"], ["greet", "greet"]),
        (["--task", "nosuch"], []),
        (["--limit", "2"], ["greet", "bad"]),
        (["--limit", "2", "--newest"], ["add", "greet"]),
        (["--newest"], ["add", "greet", "bad", "greet"]),
        (["--tag", "first"], ["greet"]),
        (["--tag", "firs"], []),
    ],
)
def test_jobs_can_be_narrowed_down(worked: Shell, args: list[str], tasks: list[str]) -> None:
    assert [job["task"] for job in data(worked("jobs", "--json", *args))["jobs"]] == tasks


def test_jobs_goes_on_where_it_stopped(worked: Shell) -> None:
    page = data(worked("jobs", "--json", "--limit", "3"))
    rest = data(worked("jobs", "--json", "--after", str(page["next_cursor"])))
    assert [job["task"] for job in rest["jobs"]] == ["add"]
    shown = worked("jobs", "--limit", "3")
    assert shown.err == f"there are more: --after {page['next_cursor']}\n"


def test_jobs_goes_back_from_the_newest(worked: Shell) -> None:
    page = data(worked("jobs", "--json", "--newest", "--limit", "3"))
    assert [job["task"] for job in page["jobs"]] == ["add", "greet", "bad"]
    rest = data(worked("jobs", "--json", "--newest", "--after", str(page["next_cursor"])))
    assert [job["task"] for job in rest["jobs"]] == ["greet"]
    shown = worked("jobs", "--newest", "--limit", "3")
    assert shown.err == f"there are more: --newest --after {page['next_cursor']}\n"


def test_jobs_is_a_table_of_whole_lines_where_no_terminal_is(worked: Shell) -> None:
    header, *rows = worked("jobs").out.splitlines()
    assert re.split(r"\s{2,}", header) == ["id", "task", "queue", "state", "attempts", "created", "detail"]
    assert len(rows) == 4
    assert '"Hello, Ada"' in rows[0]
    assert "ValueError: no good" in rows[1]
    assert re.search(r"due in \d+ (min|s)", rows[2])  # of 16 min 40 s, less the age of the shared fixture


def test_one_job_is_shown_with_all_that_is_known(worked: Shell) -> None:
    job_id = data(worked("jobs", "--json", "--state", "failed"))["jobs"][0]["id"]
    for given in (job_id, job_id[-8:]):
        out = worked("jobs", given).out
        assert f"job        {job_id}" in out
        assert "task       bad()" in out
        assert "state      failed" in out
        assert "error      ValueError: no good" in out
        assert "tasks_here.py" in out
        assert "raise ValueError" in out
    assert "add(1, b=2)" in worked("jobs", data(worked("jobs", "--json", "--task", "add"))["jobs"][0]["id"]).out


@pytest.fixture
def hanging(shell: Shell) -> str:
    """The id of an owned job whose handler was cancelled and does not end, on a worker in this process."""
    broker = SqliteBroker(shell.directory / "jobs.db")
    try:
        submit(broker, job("0" * 31 + "1", owner=b"owner", owner_seconds=600.0))
        delivery = claim_one(broker, "0" * 31 + "1", worker="here", lease_seconds=600.0)
        settle(broker, Started(delivery), Unresponsive(delivery))
        here = WorkerRecord(name="here", node=socket.gethostname(), pid=os.getpid(), slots=2, unresponsive=(delivery.id,))
        broker.admin.beat(here, 600.0)
    finally:
        broker.close()
    return delivery.id


def test_a_handler_that_does_not_end_is_shown(shell: Shell, hanging: str) -> None:
    [found] = data(shell("jobs", "--json"))["jobs"]
    assert (found["id"], found["state"], found["unresponsive"], found["owned"]) == (hanging, "started", True, True)
    assert "  started, unresponsive  " in shell("jobs").out
    out = shell("jobs", hanging).out
    assert "state     started, unresponsive\n" in out
    assert "owned     it ends with whoever awaits it\n" in out
    assert shell("cancel", hanging, "--wait", "0.1").out == f"{hanging}  told to stop, but unresponsive\n"


def test_doctor_finds_handlers_that_do_not_end(shell: Shell, hanging: str) -> None:
    ended = shell("doctor", "--json")
    assert ended.code == 0
    [found] = [each for each in data(ended)["findings"] if each["what"] == "unresponsive"]
    assert found["level"] == "warning"
    assert found["text"] == (
        f"here: 1 handler that was cancelled does not end, such as that of job {hanging}; each costs a slot"
    )
    assert found["step"].endswith(f"to have the slots back: kill -TERM {os.getpid()}")


def test_a_part_of_an_id_that_fits_several_jobs_is_refused(shell: Shell) -> None:
    for name in ("1-abcdef", "2-abcdef"):
        shell.app.sync.enqueue(shell.app.job("greet", "Ada").with_options(id=name))
    ended = shell("jobs", "abcdef")
    assert ended.code == 1
    assert ended.error_lines[0] == "error: 'abcdef' fits 2 jobs"
    assert "1-abcdef and 2-abcdef" in ended.error_lines[1]


def test_an_unknown_job_is_said_to_be(worked: Shell) -> None:
    ended = worked("jobs", "0123456789")
    assert ended.code == 1
    assert ended.err.startswith("error: no job has the id '0123456789'")


# --- cancel, retry, purge -------------------------------------------------------------------------------------------------


def test_cancel_answers_for_each_job(worked: Shell) -> None:
    jobs = data(worked("jobs", "--json"))["jobs"]
    ended = worked("cancel", jobs[0]["id"], jobs[3]["id"], "--reason", "not needed", "--json")
    assert ended.code == 0
    assert [answer["answer"] for answer in data(ended)] == ["finished", "cancelled"]
    assert data(worked("jobs", jobs[3]["id"], "--json"))["reason"] == "not needed"
    unknown = worked("cancel", "nosuchjob", jobs[2]["id"])
    assert unknown.code == 1
    assert unknown.out == f"nosuchjob  unknown\n{jobs[2]['id']}  cancelled\n"


def test_cancel_reaches_a_job_that_runs(shell: Shell) -> None:
    worker = shell.worker("--json")
    job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 60))
    worker.wait_for('"started"')
    assert shell("cancel", job.id[-10:]).out == f"{job.id}  cancelled\n"
    stubborn = shell.app.sync.enqueue(shell.app.job("stubborn", 20.0))
    worker.wait_for('"started"')
    assert "asked to stop, still running" in shell("cancel", stubborn.id, "--wait", "0.1").out


def test_cancel_takes_all_that_match(worked: Shell) -> None:
    for number in range(3):
        worked.app.sync.enqueue(worked.app.job("add", number, b=2).with_options(queue="sums", tags=["bulk"]))
    assert worked("cancel", "--tag", "bulk", "--queue", "default").err == "no such jobs\n"
    assert worked("cancel", "--tag", "bulk", "--task", "add").out == "3 jobs cancelled\n"
    assert data(worked("cancel", "--queue", "sums", "--reason", "all of them", "--json")) == {
        "cancelled": 1,
        "requested": 0,
        "unresponsive": 0,
        "finished": 0,
        "unknown": 0,
    }
    left = data(worked("jobs", "--json", "--state", "scheduled", "--state", "ready"))["jobs"]
    assert [job["task"] for job in left] == ["greet"]
    reasons = {job["reason"] for job in data(worked("jobs", "--json", "--state", "cancelled"))["jobs"] if not job.get("tags")}
    assert reasons == {"all of them"}


@pytest.mark.parametrize("args", [[], ["0123456789", "--task", "add"]])
def test_cancel_wants_ids_or_something_to_choose_by(worked: Shell, args: list[str]) -> None:
    ended = worked("cancel", *args)
    assert ended.code == 2
    assert ended.error_lines[0] == "error: it wants either ids, or --task, --tag or --queue"
    assert len(data(worked("jobs", "--json", "--state", "ready"))["jobs"]) == 1


def test_retry_makes_jobs_ready_again(worked: Shell) -> None:
    good, bad, *_ = data(worked("jobs", "--json"))["jobs"]
    ended = worked("retry", bad["id"], good["id"], "nosuchjob")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        f"{bad['id']}  ready again",
        f"{good['id']}  not retried: it has succeeded; submit a new job instead",
        "nosuchjob  unknown",
    ]
    assert data(worked("jobs", bad["id"], "--json"))["attempts"] == 0


def test_retry_can_take_all(worked: Shell) -> None:
    assert worked("retry", "--all-dead").out == "0 jobs ready again\n"
    assert worked("retry", "--all-failed", "--task", "other").out == "0 jobs ready again\n"
    assert [answer["retried"] for answer in data(worked("retry", "--all-failed", "--json"))] == [True]


def test_purge_asks_and_then_deletes(worked: Shell) -> None:
    asked = worked("purge", "sums")
    assert asked.code == 2
    assert asked.error_lines == ["error: this deletes 1 job of queue 'sums' that is scheduled or ready", "  say --yes to do so"]
    assert worked("purge", "sums", "--yes").out == "1 job deleted\n"
    purged = data(worked("purge", "default", "--state", "failed", "--state", "succeeded", "--yes", "--json"))
    assert purged == {"queue": "default", "states": ["failed", "succeeded"], "purged": 2}
    assert [job["state"] for job in data(worked("jobs", "--json"))["jobs"]] == ["scheduled"]


# --- queues, tasks, doctor ------------------------------------------------------------------------------------------------


def test_queues_counts_and_pauses(worked: Shell) -> None:
    default, sums = data(worked("queues", "--json"))
    assert (default["name"], default["paused"], default["counts"]["succeeded"]) == ("default", False, 1)
    assert (sums["name"], sums["counts"]["ready"]) == ("sums", 1)
    assert [queue["paused"] for queue in data(worked("queues", "--pause", "sums", "--json"))] == [False, True]
    header, *rows = worked("queues").out.splitlines()
    assert header.split() == ["queue", "scheduled", "ready", "succeeded", "failed"]
    assert rows[1].split() == ["sums", "paused", "0", "1", "0", "0"]
    worker = worked.worker("--json", "--queues", "sums")
    assert [queue["paused"] for queue in data(worked("queues", "--resume", "sums", "--json"))] == [False, False]
    worker.wait_for('"succeeded"')


def test_a_task_is_paused_and_goes_on(worked: Shell) -> None:
    shell = worked
    begun = data(shell("pause", "add", "--where", "a=1", "--note", "ask Ada", "--json"))
    assert (begun["task"], begun["where"], begun["note"], begun["waiting"]) == ("add", {"a": "1"}, "ask Ada", 0)
    assert begun["by"]
    ended = shell("pause", "greet")
    assert (ended.out, ended.err) == ("greet is paused; to go on: nursery-tasks resume greet\n", "")
    worker = shell.worker("--json")
    sync, job = shell.app.sync, shell.app.job
    paused = sync.enqueue(job("add", 1, 2))
    assert sync.enqueue(job("add", 2, 2)).outcome(10).state is JobState.SUCCEEDED
    eventually(lambda: [each["waiting"] for each in data(shell("paused", "--json"))] == [1, 0])
    assert data(shell("jobs", paused.id, "--json"))["paused"] is True
    assert "the end of a pause" in shell("jobs", paused.id).out
    header, first, second = shell("paused").out.splitlines()
    assert header.split() == ["task", "where", "waiting", "since", "by", "note"]
    assert (first.split()[:3], first.endswith("ask Ada"), second.split()[:2]) == (["add", "a=1", "1"], True, ["greet", "0"])
    assert "paused add where a=1" in shell("queues").err
    assert "-> nursery-tasks resume add --where a=1" in shell("doctor").out
    worker.send(signal.SIGKILL)  # a worker that is started again knows it
    again = shell.worker("--json")
    wrong = shell("resume", "add")
    assert (wrong.code, wrong.err) == (1, "error: add is not paused\n  it is nursery-tasks resume add --where a=1\n")
    ended = shell("resume", "add", "--where", "a=1")
    assert ended.out == "add where a=1 goes on\n"
    assert paused.outcome(10).state is JobState.SUCCEEDED
    assert data(shell("resume", "greet", "--json")) == {"task": "greet", "where": {}, "resumed": True}
    assert "nothing is paused" in shell("paused").err
    again.send(signal.SIGTERM)
    assert again.end().code == 0


def test_pausing_what_makes_no_sense(worked: Shell) -> None:
    shell = worked
    ended = shell("pause", "greet", "--where", "name", "--app", "tasks_here")
    assert (ended.code, "expected an argument's name and its value" in ended.err) == (2, True)
    ended = shell("pause", "greet", "--where", "nmae=Ada", "--app", "tasks_here")
    assert "names of parameters of greet; it has name, seconds" in ended.err
    ended = shell("pause", "greeet", "--app", "tasks_here")
    assert (ended.code, "has no task 'greeet'" in ended.err) == (0, True)


def test_tasks_lists_an_app_without_its_broker(shell: Shell) -> None:
    listed = {task["name"]: task for task in data(shell("tasks", "--app", "tasks_here", "--json"))}
    blocking = {"stubborn", "polite", "hold_the_loop", "hold_the_loop_for_ever"}
    assert listed.keys() == {"greet", "add", "bad", "meet"} | blocking
    assert (listed["greet"]["kind"], listed["greet"]["timeout"], listed["greet"]["doc"]) == ("loop", 30.0, "Say hello.")
    assert [parameter["text"] for parameter in listed["greet"]["parameters"]] == ["name: str", "seconds: float = 0.0"]
    assert listed["bad"]["retry"]["attempts"] == 2
    assert listed["polite"]["kind"] == "thread"
    assert "greet(name: str, seconds: float = 0.0) -> str" in shell("tasks", "--app", "tasks_here").out
    assert not (shell.directory / "jobs.db").exists()


def findings(ended: Ended) -> dict[str, tuple[str, str]]:
    return {finding["what"]: (finding["level"], finding["text"]) for finding in data(ended)["findings"]}


def test_doctor_works_without_a_database_and_makes_none(shell: Shell) -> None:
    ended = shell("doctor", "--json")
    assert ended.code == 1
    assert findings(ended)["broker"][0] == "warning"
    assert findings(ended)["workers"][0] == "problem"
    assert findings(ended)["python"][0] == "ok"
    assert "asyncio" in findings(ended)["event loops"][1]
    assert not (shell.directory / "jobs.db").exists()


def test_doctor_finds_what_waits_for_nobody(worked: Shell) -> None:
    worked("queues", "--pause", "default")
    ended = worked("doctor", "--json")
    found = findings(ended)
    assert ended.code == 1
    assert found["broker"][0] == "ok"
    assert "journal mode wal" in found["storage"][1]
    assert found["clock"][0] == "ok"
    assert found["workers"] == ("problem", "none is running: jobs are accepted, and wait")
    assert found["queue sums"][0] == "warning"
    assert "no worker serves it" in found["queue sums"][1]
    assert found["queue default"][1].startswith("paused; ")
    assert found["failed"] == ("warning", "1 job")
    shown = worked("doctor").out
    assert "-> nursery-tasks queues --resume default" in shown
    assert "-> nursery-tasks jobs --state failed" in shown


def test_doctor_finds_messages_that_do_not_leave(worked: Shell) -> None:
    broker = SqliteBroker(worked.directory / "jobs.db")
    broker.outbox.put_outgoing([Outgoing("rabbit:orders", b"1"), Outgoing("rabbit:orders", b"2")])
    broker.close()
    with closing(sqlite3.connect(worked.directory / "jobs.db")) as file:
        file.execute("UPDATE outgoing SET at = at - 300")
        file.commit()
    level, text = findings(worked("doctor", "--json"))["outbox rabbit:orders"]
    assert (level, text.startswith("2 messages to send, the oldest waits for ")) == ("warning", True)
    assert "outbox rabbit:orders: 2 messages to send" in worked("queues").err
    worked.worker("--json")
    steps = {each["what"]: each["step"] for each in data(worked("doctor", "--json"))["findings"]}
    assert "channels={'rabbit': URL}" in steps["outbox rabbit:orders"]


def test_doctor_finds_workers_alive_and_dead(shell: Shell) -> None:
    dead, live = shell.worker("--json", "--name", "dead"), shell.worker("--json", "--name", "live")
    job = shell.app.sync.enqueue(shell.app.job("meet", 2))
    eventually(lambda: shell.app.sync.handle(job.id).status() is JobState.STARTED)
    dead.process.kill()
    dead.end()
    ended = shell("doctor", "--json")
    assert ended.code == 0
    found = data(ended)["findings"]
    workers = {finding["text"].split()[0]: finding["level"] for finding in found if finding["what"] == "worker"}
    assert workers == {"dead": "warning", "live": "ok"}
    live.process.kill()
    live.end()
    ended = shell("doctor", "--json")
    assert ended.code == 1  # nobody is left to take the job back
    held = [finding for finding in data(ended)["findings"] if finding["what"] == "held"]
    assert [finding["level"] for finding in held] == ["warning"]
    assert job.id in held[0]["text"]


@pytest.mark.parametrize(
    "args",
    [["--broker", "sqlite:///missing/jobs.db"], ["--broker", "nosuch:"], ["--app", "nosuch:app"], ["--broker", "memory:"]],
)
def test_doctor_calls_it_a_problem_when_the_broker_cannot_be_had(shell: Shell, args: list[str]) -> None:
    ended = shell("doctor", "--json", *args)
    assert ended.code == 1
    assert data(ended)["ok"] is False
    assert findings(ended)["broker"][0] == "problem"


# --- the rest -------------------------------------------------------------------------------------------------------------

OPTIONS = {
    "run": "backend uvloop slots queues strict drain name workers max-jobs max-memory processes process-jobs process-memory "
    "no-schedules http http-token-file http-cert http-key http-client-ca http-host http-any-task http-rpc until-done log-level "
    "quiet json verbose help",
    "tick": "backend uvloop name log-level quiet json verbose help",
    "call": "kwargs timeout no-wait queue delay expires priority retry job-timeout key id broker app json verbose help",
    "jobs": "state queue task tag parent limit newest after broker app json verbose help",
    "events": "follow job task kind since broker app json verbose help",
    "tree": "follow running broker app json verbose help",
    "cancel": "task tag queue reason wait broker app json verbose help",
    "retry": "all-dead all-failed queue task broker app json verbose help",
    "queues": "pause resume create delete force broker app json verbose help",
    "pause": "where note broker app json verbose help",
    "resume": "where broker app json verbose help",
    "paused": "broker app json verbose help",
    "purge": "state yes broker app json verbose help",
    "peek": "limit broker app json verbose help",
    "send": "file id reply-to correlation-id content-type broker app json verbose help",
    "tasks": "app json verbose help",
    "doctor": "broker app json verbose help",
    "graph": "verbose help",
    "demo": "backend uvloop broker verbose help",
    "schedules": "broker app json verbose help",
    "web": "help",
    "rabbitmq": "help",
}


def test_help_lists_the_commands(shell: Shell) -> None:
    out = shell("--help").out
    assert re.findall(r"^  ([a-z]+)  +[A-Z]", out, re.MULTILINE) == list(OPTIONS)
    assert shell().out == out
    assert re.fullmatch(r"nursery-tasks \d+\.\d+\.\d+\S*\n", shell("--version").out)


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option(shell: Shell, command: str) -> None:
    ended = shell(command, "--help", afresh=True)
    assert ended.code == 0
    assert re.findall(r"^ +(?:-\w, )?--([a-z-]+)", ended.out, re.MULTILINE) == OPTIONS[command].split()


def test_help_tells_the_exit_codes_of_a_worker(shell: Shell) -> None:
    out = shell("run", "--help").out
    assert [line.split()[0].rstrip(",") for line in out.partition("Exit codes:")[2].splitlines() if line.strip()] == [
        "0", "1", "2", "3", "second", "4", "they", "70", "130",
    ]  # fmt: skip


def test_a_reader_that_has_enough_gets_no_complaint(shell: Shell) -> None:
    jobs = [shell.app.job("greet", "x" * 50) for _ in range(3_000)]
    shell.app.sync.enqueue_many(jobs)
    listing = shell.start("jobs", "--limit", "3000")
    assert listing.process.stdout is not None
    listing.wait_for("greet")
    assert listing.end().code == 0
