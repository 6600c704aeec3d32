"""`run --workers N`: several processes, replaced when they end."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import anyio
import pytest
from cli_shell import Shell, eventually
from crew_shell import QUICK, Crew, kill, zombies_of

from nursery_tasks import App, JobState
from nursery_tasks.model.listing import WorkerRecord
from nursery_tasks.model.outcome import Outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests look at processes through /proc")


def listed(shell: Shell) -> list[WorkerRecord]:
    async def ask() -> list[WorkerRecord]:
        async with App(shell.app.url) as app:
            return await app.workers()

    return anyio.run(ask)


def outcome(shell: Shell, job_id: str) -> Outcome:
    return shell.app.sync.handle(job_id).outcome(20)


def test_workers_share_the_work_and_end_together(shell: Shell, loop: list[str]) -> None:
    crew = Crew(shell, "--slots", "1", *loop).wait_until_all_work()
    jobs = shell.app.sync.enqueue_many([shell.app.job("meet", 2) for _ in range(2)])
    assert {job.result(10) for job in jobs} == {"w-1", "w-2"}
    records = listed(shell)
    assert {(record.name, record.group, record.pid) for record in records} == {
        ("w-1", "w", crew.pids["w-1"]),
        ("w-2", "w", crew.pids["w-2"]),
    }
    doctor = shell("doctor").out
    assert all(f"{name} (process {pid}, of w)" in doctor for name, pid in crew.pids.items())
    crew.send(signal.SIGTERM)
    assert crew.end() == 0
    [summary] = crew.events("supervisor-stopped")
    assert (summary["exit_code"], summary["tasks"]["meet"]["succeeded"]) == (0, 2)
    assert listed(shell) == []


def test_a_killed_worker_is_replaced_and_the_others_go_on(shell: Shell, loop: list[str]) -> None:
    shell.write("quick.py", QUICK)
    crew = Crew(shell, "--slots", "1", *loop, workers=4, module="quick:app").wait_until_all_work()
    jobs = shell.app.sync.enqueue_many([shell.app.job("meet", 5) for _ in range(4)])
    for _ in range(4):
        crew.wait_for("started")
    eventually(lambda: all(job.status() is JobState.STARTED for job in jobs))
    kill(crew.pids["w-3"])
    died = crew.wait_for("worker-died")
    assert (died["worker"], died["signal"], died["pause_seconds"]) == ("w-3", 9, 0.0)
    started = crew.wait_for("worker-started")
    assert started["worker"] == "w-3.2"
    assert zombies_of(crew.running.process.pid) == []
    crew.wait_for("started", worker="w-3.2")  # when the lease is over; all others are busy
    (shell.directory / "met" / "somebody").touch()
    outcomes = [outcome(shell, job.id) for job in jobs]
    assert sorted(str(outcome.worker) for outcome in outcomes) == ["w-1", "w-2", "w-3.2", "w-4"]
    assert {outcome.state for outcome in outcomes} == {JobState.SUCCEEDED}
    crew.send(signal.SIGTERM)
    assert crew.end() == 0


def test_no_job_is_lost_when_workers_are_killed_at_random(shell: Shell) -> None:
    shell.write("quick.py", QUICK)
    crew = Crew(shell, "--slots", "4", "--backend", "trio", workers=3, module="quick:app").wait_until_all_work()
    job = shell.app.job("greet", "Ada", 0.05).with_options(max_crashes=20)
    jobs = shell.app.sync.enqueue_many([job for _ in range(150)])
    dice = random.Random(7)
    descriptors = Path(f"/proc/{crew.running.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        alive = [event["worker"] for event in crew.events("worker-started")]
        dead = [event["worker"] for event in crew.events("worker-died")]
        kill(crew.pids[dice.choice([name for name in alive if name not in dead])])
        crew.wait_for("worker-died")
        crew.wait_for("worker-started")
    assert {job.result(20) for job in jobs} == {"Hello, Ada"}
    eventually(lambda: len(list(descriptors.iterdir())) == before)
    crew.send(signal.SIGTERM)
    assert crew.end() == 0


def test_a_worker_that_is_told_to_end_by_hand_drains_and_is_replaced(shell: Shell) -> None:
    crew = Crew(shell).wait_until_all_work()
    os.kill(crew.pids["w-2"], signal.SIGTERM)
    assert crew.wait_for("worker-died")["exit_code"] == 0
    assert crew.wait_for("worker-started")["worker"] == "w-2.2"
    crew.send(signal.SIGTERM)
    assert crew.end() == 0


def test_one_that_dies_again_and_again_has_to_wait(shell: Shell) -> None:
    shell.write("moody.py", "import os\nif os.path.exists('bad_mood'): raise OSError('no')\nfrom tasks_here import app\n")
    quick = "from nursery_tasks.supervisor import pauses; pauses.FIRST_SECONDS = 0.1"
    crew = Crew(shell, module="moody:app", before=quick).wait_until_all_work()
    (shell.directory / "bad_mood").touch()
    kill(crew.pids["w-2"])
    died = [crew.wait_for("worker-died") for _ in range(4)]
    assert [event["pause_seconds"] <= most for event, most in zip(died, (0.0, 0.1, 0.2, 0.4), strict=True)] == [True] * 4
    assert [event["exit_code"] for event in died] == [None, 1, 1, 1]
    job = shell.app.sync.enqueue(shell.app.job("add", 1, 2))
    assert job.result(10) == 3  # by the other one
    (shell.directory / "bad_mood").unlink()
    begun = crew.wait_for("worker-started")["worker"]
    assert begun == f"w-2.{1 + len(crew.events('worker-died'))}"  # one more may have died before the bad mood was over
    crew.send(signal.SIGTERM)
    ended = crew.end()
    assert ended == 0
    assert any(line.startswith("[2.2] error: 'moody' cannot be imported") for line in crew.running.errors)


@pytest.mark.parametrize(
    ("module", "backend", "error"),
    [
        ("tasks_her:app", "asyncio", "there is no module 'tasks_her'"),
        ("unreachable:app", "trio", "jobs.db"),
        ("private:app", "asyncio", "the jobs of memory: live inside one program"),
        ("killed:app", "trio", "the worker was killed by SIGKILL before it worked"),
    ],
)
def test_a_start_without_hope_ends_with_the_error_of_one(shell: Shell, module: str, backend: str, error: str) -> None:
    shell.write("unreachable.py", "from nursery_tasks import App\napp = App('sqlite:////nowhere/at/all/jobs.db')\n")
    shell.write("private.py", "from nursery_tasks import App\napp = App('memory:')\n")
    shell.write("killed.py", "import os\nos.kill(os.getpid(), 9)\n")
    ended = shell("run", module, "--workers", "4", "--backend", backend)
    assert ended.code == 1
    assert error in ended.error_lines[0]
    assert len(ended.error_lines) <= 3
    assert ended.out == ""


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["--workers", "0"], "--workers"),
        (["--max-memory", "much"], "--max-memory='much': expected a size such as 512MB"),
        (["--max-jobs", "0"], "--max-jobs"),
        (["--workers", "2", "--name", "a b"], "--name='a b'"),
        (["--workers", "2", "--queues", ",", "-v"], "--queues"),
    ],
)
def test_wrong_usage_starts_nothing(shell: Shell, args: list[str], error: str) -> None:
    ended = shell("run", "tasks_here:app", *args)
    assert ended.code == 2
    assert any(error in line for line in ended.error_lines)


def test_for_people_there_is_one_banner_and_one_summary(shell: Shell) -> None:
    running = shell.start("run", "tasks_here:app", "--workers", "2", "--name", "w")
    for _ in range(2):
        running.wait_for(" works (process ")
    jobs = shell.app.sync.enqueue_many([shell.app.job("meet", 2), shell.app.job("meet", 2), shell.app.job("bad")])
    for job in jobs:
        job.outcome(10)
    running.send(signal.SIGINT)
    ended = running.end()
    assert ended.code == 0
    assert ended.err == ""
    assert ended.out.count("broker   sqlite:///jobs.db") == 1
    assert "workers  w-1 to w-2, each in a process of its own" in ended.out
    assert "slots    32 in each" in ended.out
    assert "3 jobs ended here" in ended.out
    labelled = [line for line in ended.out.splitlines() if "meet" in line and "succeeded" in line and line.startswith("[")]
    assert len(labelled) == 2
    assert all(line[:4] in ("[1] ", "[2] ") for line in labelled)


def test_json_lines_stay_json_lines_when_they_are_long(shell: Shell) -> None:
    shell.write(
        "long.py",
        "from nursery_tasks import App\napp = App('sqlite:///jobs.db')\n"
        "@app.task\nasync def fail(n: int) -> None:\n    raise ValueError('x' * 30_000)\n",
    )
    crew = Crew(shell, module="long:app").wait_until_all_work()
    jobs = shell.app.sync.enqueue_many([shell.app.job("fail", number) for number in range(60)])
    for job in jobs:
        job.outcome(10)
    crew.send(signal.SIGTERM)
    assert crew.end() == 0
    assert sum(event["event"] == "failed" and len(json.dumps(event)) > 4096 for event in crew.events()) == 60
