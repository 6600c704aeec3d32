"""A worker as a process: its lines, its signals, its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import pytest
from cli_shell import MODULE, Running, Shell, eventually
from rabbit_server import fresh_rabbit_url
from redis_server import fresh_url

from nursery_tasks import App, JobState

# The constants that would make a test slow, made small in the process that is tested.
QUICK_SECOND_SIGNAL = "from nursery_tasks.cli import serve; serve.NEXT_SIGNAL_SECONDS = 0.0"
QUICK_WATCHDOG = f"{QUICK_SECOND_SIGNAL}; serve.CLEAN_UP_SECONDS = 0.3; serve.STORE_SECONDS = 0.3"
QUICK_LEASE = "from nursery_tasks.worker import leases, options; leases.MAX_STALL_SECONDS = 0.5; options.LEASE_SECONDS = 1.0"


def state_of(shell: Shell, job_id: str) -> JobState:
    return shell.app.sync.handle(job_id).status()


def events(running: Running) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.seen]


def test_a_worker_shows_each_step_of_a_job_and_sums_up(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker(*loop)
    banner = "\n".join(worker.seen)
    name = "uvloop" if "--uvloop" in loop else loop[-1]
    assert "tasks_here:app in tasks_here.py" in banner
    assert "sqlite:///jobs.db" in banner
    assert f"on {name}" in banner
    assert "greet (loop)" in banner
    assert "polite (thread)" in banner
    assert "Ctrl-C" in banner
    assert shell.app.sync.enqueue(shell.app.job("greet", "Ada")).result(10) == "Hello, Ada"
    assert "greet" in worker.wait_for("started")
    assert "ms" in worker.wait_for("succeeded")
    shell.app.sync.enqueue(shell.app.job("bad"))
    assert "attempt 1 failed" in worker.wait_for("retrying")
    assert "attempt 2 in" in worker.wait_for("ValueError: no good")
    worker.send(signal.SIGINT)
    ended = worker.end()
    assert ended.code == 0
    assert ended.err == ""
    assert "task   succeeded  failed  retried" in ended.out
    assert "2 jobs ended here" in ended.out


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("broker", ["redis", "amqp"])
def test_a_worker_on_a_server_does_the_same(shell: Shell, broker: str, backend: str) -> None:
    fresh = fresh_url() if broker == "redis" else fresh_rabbit_url(f"sqlite:///{shell.directory}/kept.db")
    with fresh as url:
        shell.write("there.py", MODULE.replace("sqlite:///jobs.db", url))
        worker = shell.worker("--backend", backend, "--drain", "0.2", app="there:app")
        assert "***" in "".join(worker.seen) or broker == "redis"
        app = App(url)
        with closing(app.sync) as here:
            assert here.enqueue(app.job("greet", "Ada")).result(20) == "Hello, Ada"
            assert here.enqueue(app.job("bad")).outcome(20).state is JobState.FAILED
            slow = here.enqueue(app.job("greet", "Grace", 60.0))
            eventually(lambda: slow.status() is JobState.STARTED)
            worker.send(signal.SIGTERM)
            ended = worker.end()
            assert ended.code == 3, ended
            assert slow.status() is JobState.READY
            slow.cancel(wait=0)
            assert slow.outcome(5).state is JobState.CANCELLED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_jobs_end(shell: Shell, loop: list[str], number: signal.Signals) -> None:
    worker = shell.worker("--json", *loop)
    running = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 0.5))
    worker.wait_for("started")
    worker.send(number)
    worker.wait_for("worker-draining")
    late = shell.app.sync.enqueue(shell.app.job("greet", "Grace"))
    ended = worker.end()
    assert ended.code == 0, ended
    assert running.result(1) == "Hello, Ada"
    assert late.status() is JobState.READY
    [summary] = [event for event in events(worker) if event["event"] == "worker-stopped"]
    assert summary["exit_code"] == 0
    assert summary["tasks"]["greet"]["succeeded"] == 1


def test_what_still_runs_when_the_drain_is_over_goes_back(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker("--json", "--drain", "0.3", *loop)
    job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 60.0))
    worker.wait_for("started")
    began = time.monotonic()
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert time.monotonic() - began < 5
    assert ended.code == 3, ended
    assert job.status() is JobState.READY
    assert events(worker)[-1]["interrupted"] == 1
    assert any(event["event"] == "released" for event in events(worker))


def test_a_second_signal_cancels_what_runs(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker("--json", *loop, before=QUICK_SECOND_SIGNAL)
    waiting = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 60.0))
    thread = shell.app.sync.enqueue(shell.app.job("polite"))
    worker.wait_for('"started"')
    worker.wait_for('"started"')
    worker.send(signal.SIGINT)
    worker.wait_for("worker-draining")
    worker.send(signal.SIGINT)
    worker.wait_for("worker-cancelling")
    assert worker.end().code == 3
    assert waiting.status() is JobState.READY
    assert thread.status() is JobState.READY


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_third_signal_leaves_at_once(shell: Shell, loop: list[str], number: signal.Signals, code: int) -> None:
    worker = shell.worker("--json", *loop, before=QUICK_SECOND_SIGNAL)
    shell.app.sync.enqueue(shell.app.job("stubborn", 60.0))
    worker.wait_for('"started"')
    for word in ("worker-draining", "worker-cancelling"):
        worker.send(number)
        worker.wait_for(word)
    worker.send(number)
    ended = worker.end()
    assert ended.code == code
    assert "left at once" in ended.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_third_signal_leaves_at_once_while_a_job_holds_the_loop(
    shell: Shell, loop: list[str], number: signal.Signals, code: int
) -> None:
    # A signal is met in this process by a thread that says so, since the loop cannot: the next one is sent only then.
    seen = (
        f"{QUICK_SECOND_SIGNAL}; last = serve.LastResort; before = last._count_signal;"
        "last._count_signal = lambda self, number: (before(self, number), print('met', self._count, flush=True))"
    )
    worker = shell.worker("--json", *loop, before=seen)
    shell.app.sync.enqueue(shell.app.job("hold_the_loop_for_ever"))
    worker.wait_for('"started"')
    for met in ("met 1", "met 2"):
        worker.send(number)
        worker.wait_for(met)
    worker.send(number)
    ended = worker.end()
    assert ended.code == code
    assert "left at once" in ended.err


def test_signals_in_quick_succession_are_one(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker("--json", *loop)
    job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 0.5))
    worker.wait_for('"started"')
    for _ in range(5):
        worker.send(signal.SIGINT)
    assert worker.end().code == 0
    assert job.result(1) == "Hello, Ada"


def test_signals_that_meet_a_busy_loop_are_one(shell: Shell, loop: list[str]) -> None:
    shell.write(
        "holding.py",
        "import os, time\nfrom nursery_tasks import App\napp = App('sqlite:///jobs.db')\n"
        "@app.task\nasync def hold():\n    while not os.path.exists('go_on'):\n        time.sleep(0.01)\n",
    )
    worker = shell.worker("--json", *loop, app="holding:app")
    job = shell.app.sync.enqueue(shell.app.job("hold"))
    worker.wait_for('"started"')
    worker.send(signal.SIGINT)
    time.sleep(0.6)  # nothing is waited for: so far apart they would count as two, were they not met at the same moment
    worker.send(signal.SIGINT)
    shell.write("go_on", "")
    assert worker.end().code == 0
    assert job.status() is JobState.SUCCEEDED


def test_a_thread_that_does_not_end_costs_the_process(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker("--json", "--drain", "0.1", *loop, before=QUICK_WATCHDOG)
    job = shell.app.sync.enqueue(shell.app.job("stubborn", 600.0))
    worker.wait_for('"started"')
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 70
    assert f"1 job did not end after being cancelled: stubborn {job.id}" in ended.err
    assert "check_cancelled()" in ended.err


def test_giving_up_names_also_a_job_that_was_given_up_before(shell: Shell, loop: list[str]) -> None:
    quick = f"{QUICK_WATCHDOG}; from nursery_tasks.worker import options; options.CLEANUP_SECONDS = 0.2"
    worker = shell.worker("--json", "--drain", "0.1", *loop, before=quick)
    job = shell.app.sync.enqueue(shell.app.job("stubborn", 600.0))
    worker.wait_for('"started"')
    job.cancel(wait=0)
    worker.wait_for('"unresponsive"')
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 70
    assert f"1 job did not end after being cancelled: stubborn {job.id}" in ended.err


def test_giving_up_names_a_lifespan_that_does_not_end(shell: Shell, loop: list[str]) -> None:
    shell.write(
        "slow.py",
        "from contextlib import asynccontextmanager\nimport anyio\nfrom nursery_tasks import App\napp = App('sqlite:///jobs.db')\n"
        "@app.lifespan\n@asynccontextmanager\nasync def pool():\n    yield\n    await anyio.sleep(600)\n",
    )
    worker = shell.worker("--drain", "0.1", *loop, app="slow:app", before=QUICK_WATCHDOG)
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 70
    assert ended.err == "error: giving up: the app's lifespan 'pool' does not end"


def test_a_drain_that_runs_out_is_told(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker("--json", "--drain", "0.3", *loop)
    shell.app.sync.enqueue(shell.app.job("greet", "Ada", 600.0))
    worker.wait_for('"started"')
    worker.send(signal.SIGTERM)
    worker.wait_for("worker-draining")
    assert "the drain is over: cancelling 1 running job" in worker.wait_for("worker-cancelling")
    assert worker.end().code == 3


def test_a_job_that_holds_the_loop_costs_the_process(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker("--json", *loop, before=QUICK_LEASE)
    shell.app.sync.enqueue(shell.app.job("hold_the_loop", 600.0))
    worker.wait_for('"started"')
    ended = worker.end()
    assert ended.code == 70
    assert "a job has held the event loop" in ended.err
    assert "in hold_the_loop" in ended.err  # the stack that shows who it was


def test_a_signal_before_the_worker_works_ends_it(shell: Shell, loop: list[str]) -> None:
    shell.write(
        "slow.py",
        "from contextlib import asynccontextmanager\nimport anyio\nfrom nursery_tasks import App\napp = App('sqlite:///jobs.db')\n"
        "@app.lifespan\n@asynccontextmanager\nasync def pool():\n    print('opening', flush=True)\n"
        "    await anyio.sleep(60)\n    yield\n",
    )
    worker = shell.start("run", "slow:app", *loop)
    worker.wait_for("opening")
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 0
    assert ended.err == ""


def test_two_workers_share_a_file(shell: Shell, loop: list[str]) -> None:
    first, second = shell.worker("--slots", "1", "--name", "one", *loop), shell.worker("--slots", "1", "--name", "two")
    handles = shell.app.sync.enqueue_many([shell.app.job("meet", 2) for _ in range(2)])
    assert {handle.result(10) for handle in handles} == {"one", "two"}
    many = shell.app.sync.enqueue_many([shell.app.job("add", number, 1) for number in range(200)])
    assert [handle.result(10) for handle in many] == list(range(1, 201))
    assert {handle.outcome(10).attempt for handle in many} == {1}
    for worker in (first, second):
        worker.send(signal.SIGTERM)
    assert (first.end().code, second.end().code) == (0, 0)


def test_a_killed_workers_job_is_taken_over(shell: Shell) -> None:
    lease = "from nursery_tasks.worker import options; options.LEASE_SECONDS = 0.6"
    first = shell.worker("--json", "--name", "one", before=lease)
    job = shell.app.sync.enqueue(shell.app.job("meet", 2))
    first.wait_for('"started"')
    eventually(lambda: state_of(shell, job.id) is JobState.STARTED)
    first.process.kill()
    first.end()
    second = shell.worker("--json", "--name", "two")
    second.wait_for('"started"')
    (shell.directory / "met" / "somebody").touch()
    assert job.result(10) == "two"


def test_only_the_queues_that_were_named_are_served(shell: Shell) -> None:
    worker = shell.worker("--json", "--queues", "mail:2,default:1", "--strict", "--slots", "3", "--name", "w")
    [started] = events(worker)
    assert (started["queues"], started["slots"], started["worker"]) == (["mail", "default"], 3, "w")
    other = shell.app.sync.enqueue(shell.app.job("add", 1, 2).with_options(queue="other"))
    mail = shell.app.sync.enqueue(shell.app.job("add", 1, 2).with_options(queue="mail"))
    assert mail.result(10) == 3
    assert other.status() is JobState.READY


def test_quiet_shows_nothing_and_warnings_go_to_stderr(shell: Shell) -> None:
    shell.write(
        "warns.py",
        "from nursery_tasks import App, current_job\nimport logging\napp = App('sqlite:///jobs.db')\n"
        "@app.task\nasync def warn():\n    logging.getLogger('mine').info('not this')\n"
        "    current_job().log.info('about the job')\n    logging.getLogger('mine').warning('look out')\n",
    )
    worker = shell.start("run", "warns:app", "--quiet")
    shell.app.sync.enqueue(shell.app.job("warn")).result(10)
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert (ended.code, ended.out) == (0, "")
    assert [line.split(maxsplit=2)[2] for line in ended.error_lines] == [
        "warn  INFO  about the job",
        "warn  WARNING  mine:  look out",
    ]


def test_a_failed_job_shows_its_traceback_with_v(shell: Shell) -> None:
    worker = shell.worker("-v")
    shell.app.sync.enqueue(shell.app.job("bad"))
    worker.wait_for("failed")
    worker.wait_for("Traceback (most recent call last)")
    worker.wait_for("in bad")


def test_a_reader_that_went_away_does_not_end_the_worker(shell: Shell) -> None:
    command = [sys.executable, "-m", "nursery_tasks", "run", "tasks_here:app"]
    with subprocess.Popen(
        command, cwd=shell.directory, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("to stop" in line for line in iter(process.stdout.readline, ""))
        process.stdout.close()
        assert [shell.app.sync.enqueue(shell.app.job("add", 1, 2)).result(10) for _ in range(2)] == [3, 3]
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read().count("nobody reads this worker's lines any more") == 1
        assert process.wait(10) == 0


def test_the_end_of_standard_input_ends_a_worker_that_was_told_to_watch_it(shell: Shell, loop: list[str]) -> None:
    ended = shell("run", "tasks_here:app", "--until-eof", *loop)
    assert ended.code == 0
    assert ended.err == ""


def test_standard_input_that_is_a_file_ends_at_once(shell: Shell, loop: list[str]) -> None:
    command = [sys.executable, "-m", "nursery_tasks", "run", "tasks_here:app", "--until-eof", *loop]
    done = subprocess.run(
        command,
        cwd=shell.directory,
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
