"""Who runs schedules: `run`, `run --no-schedules` and `tick`; and schedules that cannot be run while others go on."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from cli_shell import MODULE, Running, Shell, eventually
from msgspec.structs import replace

from nursery_tasks import ScheduleInfo, every
from nursery_tasks.brokers.needed import schedules_of
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.scheduling.schedule import Schedule, read_schedule

OFTEN = """
from nursery_tasks import every

@app.task(schedule=every(0.2))
async def beat() -> str:
    return "beat"
"""


def often(shell: Shell) -> Shell:
    shell.write("tasks_here.py", MODULE + OFTEN)
    return shell


def info(shell: Shell, name: str) -> ScheduleInfo:
    found = shell.app.sync.schedules.get(name)
    assert found is not None
    return found


def has_run(shell: Shell, name: str, times: int) -> bool:
    found = shell.app.sync.schedules.get(name)
    return found is not None and found.runs >= times


def make_due(shell: Shell, name: str, seconds_ago: float) -> None:
    part = schedules_of(shell.app.sync.broker())
    [row] = part.find_schedules([name])
    assert row is not None
    schedule = read_schedule(row.body)
    slot = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    schedule = Schedule(schedule.definition, replace(schedule.history, next_slot=slot))
    assert part.fire(ScheduleChange(name, row.version, schedule.look_at(name), schedule.to_body())) is not None


def objects(running: Running) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.seen]


def test_a_worker_runs_the_schedules_of_its_app(shell: Shell, loop: list[str]) -> None:
    worker = often(shell).start("run", "tasks_here:app", *loop)
    assert worker.wait_for("schedules ") == "schedules  beat"
    assert "  beat  " in worker.wait_for("  succeeded")
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0


def test_a_worker_without_schedules_neither_puts_nor_runs_them(shell: Shell) -> None:
    worker = often(shell).start("run", "tasks_here:app", "--no-schedules")
    assert worker.wait_for("schedules ") == "schedules  none: --no-schedules"
    worker.wait_for("to stop")
    shell.app.sync.schedules.put("mine", shell.app.job("beat"), every(0.2))
    assert shell.app.sync.run(shell.app.job("greet", "Ada"), timeout=20) == "Hello, Ada"
    assert [each.name for each in shell.app.sync.schedules.list()] == ["mine"]
    make_due(shell, "mine", 60)
    assert shell.app.sync.run(shell.app.job("greet", "Eve"), timeout=20) == "Hello, Eve"
    assert (info(shell, "mine").runs, info(shell, "mine").state) == (0, "late")
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0


def test_a_process_that_only_ticks_has_others_run_the_jobs(shell: Shell, loop: list[str]) -> None:
    tick = often(shell).start("tick", "tasks_here:app", "--json", *loop)
    tick.wait_for("worker-started")
    eventually(lambda: has_run(shell, "beat", 3))
    assert {str(job.state) for job in shell.app.sync.jobs.list(task="beat")} == {"ready"}
    worker = shell.worker("--no-schedules", "--json")
    done = json.loads(worker.wait_for('"succeeded"'))
    assert (done["task"], done["job_id"].partition("@")[0]) == ("beat", "beat")
    tick.send(signal.SIGTERM)
    ended = tick.end()
    assert (ended.code, ended.err) == (0, "")
    assert [each["event"] for each in objects(tick)] == ["worker-started", "worker-draining", "worker-stopped"]
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0


def test_a_process_that_only_ticks_says_so(shell: Shell) -> None:
    tick = often(shell).start("tick", "tasks_here:app", "--name", "clock")
    tick.wait_for("to stop")
    assert [line for line in tick.seen if line.startswith(("jobs", "schedules", "to stop"))] == [
        "jobs       none: it runs schedules, and other workers their jobs",
        "schedules  beat",
        "to stop    Ctrl-C",
    ]
    eventually(lambda: [worker.name for worker in shell.app.sync.broker().admin.list_workers()] == ["clock"])  # type: ignore[union-attr]
    found = json.loads(shell("doctor", "--json").out)["findings"]
    assert [each["level"] for each in found if each["what"] == "workers"] == ["problem"]  # nobody runs jobs
    [line] = [each["text"] for each in found if each["what"] == "worker"]
    assert line.endswith("runs schedules, and no jobs")
    waiting = shell("call", "greet", "Ada", "--timeout", "2")
    assert waiting.error_lines[0].startswith("waiting: no worker is running for ")
    tick.send(signal.SIGINT)
    assert tick.end().code == 0


def test_quiet_shows_nothing(shell: Shell) -> None:
    tick = often(shell).start("tick", "tasks_here:app", "--quiet")
    eventually(lambda: has_run(shell, "beat", 2))
    tick.send(signal.SIGTERM)
    ended = tick.end()
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_schedule_of_an_unknown_task_is_broken_and_the_others_go_on(shell: Shell) -> None:
    often(shell)
    shell("schedules", "add", "lost", "nosuch", "--every", "1h")
    make_due(shell, "lost", 30)
    worker = shell.worker("--json")
    eventually(lambda: info(shell, "lost").error)
    assert shell("schedules", "show", "lost").out.splitlines()[1] == "state      broken: no worker knows the task 'nosuch'"
    before = info(shell, "beat").runs
    eventually(lambda: info(shell, "beat").runs > before)
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0
    assert [each["text"] for each in objects(worker) if each["event"] == "log" and each["level"] == "ERROR"] == [
        "schedule lost cannot be run: no worker knows the task 'nosuch'"
    ]


def test_a_schedule_whose_arguments_do_not_fit_any_more_is_broken_until_they_do(shell: Shell) -> None:
    often(shell)
    shell("schedules", "add", "hello", "greet", "Ada", "--every", "1h", "--app", "tasks_here")
    shell.write("tasks_here.py", (MODULE + OFTEN).replace("name: str, seconds", "name: int, seconds"))
    make_due(shell, "hello", 30)
    worker = shell.worker()
    eventually(lambda: info(shell, "hello").error)
    state = shell("schedules", "show", "hello").out.splitlines()[1]
    assert state.startswith("state      broken: greet: argument 'name': Expected `int`, got `str`")
    before = info(shell, "beat").runs
    eventually(lambda: info(shell, "beat").runs > before)
    worker.send(signal.SIGTERM)
    worker.end()
    often(shell)
    shell("schedules", "resume", "hello")
    make_due(shell, "hello", 30)
    shell.worker()
    eventually(lambda: info(shell, "hello").last_state == "succeeded")
    assert info(shell, "hello").error == ""
