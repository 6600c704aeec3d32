"""Signals to a supervisor: its workers end as one worker would, and nothing is ever left behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from cli_shell import DEADLINE_SECONDS, Shell, eventually
from crew_shell import QUICK, QUICK_SUPERVISOR, Crew, is_gone, kill

from nursery_tasks import JobState

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests look at processes through /proc")

NEXT_AT_ONCE = "from nursery_tasks.cli import supervise; supervise.NEXT_SIGNAL_SECONDS = 0.0"
# Workers that would wait for ever without their supervisor, were it not for what they do when it is gone.
PATIENT = """
from nursery_tasks.cli import serve
from nursery_tasks.supervisor import link

serve.CLEAN_UP_SECONDS = 600.0
"""


def quick_crew(shell: Shell, *args: str, workers: int = 2) -> Crew:
    shell.write("quick.py", QUICK)
    crew = Crew(shell, *args, workers=workers, module="quick:app", before=QUICK_SUPERVISOR)
    return crew.wait_until_all_work()


@pytest.mark.parametrize(("number", "backend"), [(signal.SIGINT, "asyncio"), (signal.SIGTERM, "trio")])
def test_the_first_signal_lets_jobs_end(shell: Shell, backend: str, number: signal.Signals) -> None:
    crew = Crew(shell, "--slots", "1", "--backend", backend).wait_until_all_work()
    jobs = shell.app.sync.enqueue_many([shell.app.job("greet", "Ada", 0.5) for _ in range(2)])
    for _ in range(2):
        crew.wait_for("started")
    crew.send(number)
    crew.wait_for("supervisor-draining")
    late = shell.app.sync.enqueue(shell.app.job("greet", "Grace"))
    assert crew.end() == 0
    assert [job.result(1) for job in jobs] == ["Hello, Ada"] * 2
    assert late.status() is JobState.READY


def test_what_still_runs_when_the_drain_is_over_goes_back(shell: Shell) -> None:
    crew = Crew(shell, "--drain", "0.3").wait_until_all_work()
    job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 60.0))
    crew.wait_for("started")
    crew.send(signal.SIGTERM)
    assert crew.end() == 3
    assert job.status() is JobState.READY
    assert crew.events("supervisor-stopped")[0]["interrupted"] == 1


def test_a_second_signal_cancels_what_runs(shell: Shell, loop: list[str]) -> None:
    crew = Crew(shell, *loop, before=NEXT_AT_ONCE).wait_until_all_work()
    jobs = shell.app.sync.enqueue_many([shell.app.job("greet", "Ada", 60.0), shell.app.job("polite")])
    for _ in range(2):
        crew.wait_for("started")
    for word in ("draining", "cancelling"):
        crew.send(signal.SIGINT)
        crew.wait_for(f"supervisor-{word}")
    assert crew.end() == 3
    assert [job.status() for job in jobs] == [JobState.READY] * 2


@pytest.mark.parametrize(("number", "code", "backend"), [(signal.SIGINT, 130, "asyncio"), (signal.SIGTERM, 143, "trio")])
def test_a_third_signal_leaves_at_once(shell: Shell, backend: str, number: signal.Signals, code: int) -> None:
    crew = Crew(shell, "--slots", "1", "--backend", backend, before=NEXT_AT_ONCE).wait_until_all_work()
    shell.app.sync.enqueue_many([shell.app.job("stubborn", 60.0), shell.app.job("hold_the_loop", 60.0)])
    for _ in range(2):
        crew.wait_for("started")
    for word in ("draining", "cancelling"):
        crew.send(number)
        crew.wait_for(f"supervisor-{word}")
    crew.send(number)
    ended = crew.running.end()
    assert ended.code == code
    assert "left at once" in ended.err
    eventually(lambda: all(map(is_gone, crew.pids.values())))


def test_signals_in_quick_succession_are_one(shell: Shell) -> None:
    crew = Crew(shell).wait_until_all_work()
    job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 0.5))
    crew.wait_for("started")
    for _ in range(5):
        crew.send(signal.SIGINT)
    assert crew.end() == 0
    assert job.result(1) == "Hello, Ada"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_workers_that_do_not_end_are_killed_in_time(shell: Shell, backend: str) -> None:
    shell.write("quick.py", QUICK)
    late = f"{QUICK_SUPERVISOR}; supervise.LATE_SECONDS = 5.0"  # the one that can may say before what has not ended
    options = ("--slots", "1", "--drain", "0.2", "--backend", backend)
    crew = Crew(shell, *options, module="quick:app", before=late).wait_until_all_work()
    shell.app.sync.enqueue_many([shell.app.job("stubborn", 600.0), shell.app.job("hold_the_loop", 600.0)])
    for _ in range(2):
        crew.wait_for("started")
    crew.send(signal.SIGTERM)
    assert crew.end() == 70
    assert any("1 job did not end after being cancelled: stubborn" in line for line in crew.running.errors)


def test_a_stopped_worker_does_not_hold_up_the_end(shell: Shell) -> None:
    crew = quick_crew(shell, "--drain", "0.2")
    os.kill(crew.pids["w-1"], signal.SIGSTOP)
    crew.send(signal.SIGTERM)
    assert crew.end() == 70


def test_a_signal_before_a_worker_works_ends_all(shell: Shell) -> None:
    shell.write(
        "slow.py",
        "from contextlib import asynccontextmanager\nimport anyio\nfrom nursery_tasks import App\napp = App('sqlite:///jobs.db')\n"
        "@app.lifespan\n@asynccontextmanager\nasync def pool():\n    print('opening', flush=True)\n"
        "    await anyio.sleep(60)\n    yield\n",
    )
    running = shell.start("run", "slow:app", "--workers", "3")
    running.wait_for("opening")
    running.send(signal.SIGTERM)
    ended = running.end()
    assert ended.code == 0
    assert ended.err == ""
    assert "opening" not in ended.out.replace("opening", "", 1)  # one worker has begun, and no other


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_in_a_terminal_reaches_jobs_only_through_the_supervisor(shell: Shell, backend: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nursery_tasks", "run", "tasks_here:app", "--workers", "2", "--backend", backend]
    # The terminal is its controlling one, and its process group the one in the foreground, as below a shell.
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", take, *command],
        cwd=shell.directory,
        env=shell.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""

        def read_until(text: bytes) -> None:
            nonlocal shown
            while text not in shown:
                shown += os.read(ours, 65536)

        try:
            read_until(b"-2 works")
            job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 0.5))
            read_until(b"started")
            os.write(ours, b"\x03")
            read_until(b"stopping all workers")
            with suppress(OSError):  # how a terminal ends
                read_until(b"nothing more")
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()
            os.close(ours)
    assert job.result(1) == "Hello, Ada"
    assert b"cancelling" not in shown
    assert b"Traceback" not in shown


@pytest.mark.parametrize(
    ("task", "loop"),
    [
        ("greet", ["--backend", "asyncio"]),
        ("greet", ["--uvloop"]),
        ("greet", ["--backend", "trio"]),
        ("stubborn", ["--backend", "asyncio"]),
        ("hold_the_loop", ["--backend", "trio"]),
        ("hold_the_loop", ["--uvloop"]),
    ],
)
def test_workers_do_not_outlive_their_supervisor(shell: Shell, loop: list[str], task: str) -> None:
    limit = "link.ORPHAN_SECONDS = 600.0\n" if task == "greet" else ""  # this one needs none
    shell.write("patient.py", f"{PATIENT}{limit}from tasks_here import app\n")
    crew = Crew(shell, "--slots", "1", "--drain", "600", *loop, module="patient:app").wait_until_all_work()
    args = ("Ada", 600.0) if task == "greet" else (600.0,)
    jobs = shell.app.sync.enqueue_many([shell.app.job(task, *args) for _ in range(2)])
    for _ in range(2):
        crew.wait_for("started")
    kill(crew.running.process.pid)
    eventually(lambda: all(map(is_gone, crew.pids.values())))
    if task == "greet":
        assert [job.status() for job in jobs] == [JobState.READY] * 2  # given back, and not only lost with their leases


def test_a_hangup_without_a_terminal_replaces_the_workers_in_turn(shell: Shell) -> None:
    # As an init system starts it, also where this test was started with `nohup`.
    alone = "import os, signal; os.setsid(); signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    crew = Crew(shell, "--slots", "1", before=alone).wait_until_all_work()
    job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 1.0))
    crew.wait_for("started")
    crew.send(signal.SIGHUP)
    fresh = [crew.wait_for("worker-started")["worker"] for _ in range(2)]
    assert fresh == ["w-1.2", "w-2.2"]
    eventually(lambda: all(is_gone(crew.pids[name]) for name in ("w-1", "w-2")))
    assert job.result(1) == "Hello, Ada"
    assert shell.app.sync.enqueue(shell.app.job("add", 1, 2)).result(10) == 3
    crew.send(signal.SIGTERM)
    eventually(lambda: crew.running.process.poll() is not None or crew.send(signal.SIGHUP))  # until the very end
    assert crew.end() == 0
    found = sorted(crew.events(), key=lambda event: event["at"])  # not as their lines came, through several pipes
    order = [(event["event"], event["worker"]) for event in found if event["event"] in ("worker-started", "worker-draining")]
    assert order.index(("worker-started", "w-1.2")) < order.index(("worker-draining", "w-1"))
    assert order.index(("worker-draining", "w-1")) < order.index(("worker-started", "w-2.2"))
    assert crew.events("worker-died") == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_processes_of_jobs_do_not_outlive_the_supervisor(shell: Shell, backend: str) -> None:
    shell.write(
        "compute.py",
        f"{PATIENT}import os, time\nfrom pathlib import Path\nfrom nursery_tasks import App\napp = App('sqlite:///jobs.db')\n"
        "@app.task(run_in='process')\ndef compute() -> None:\n"
        "    Path('pid-' + str(os.getpid())).touch()\n    while True:\n        time.sleep(0.1)\n",
    )
    crew = Crew(shell, "--slots", "1", "--drain", "600", "--backend", backend, module="compute:app").wait_until_all_work()
    shell.app.sync.enqueue_many([shell.app.job("compute") for _ in range(2)])
    eventually(lambda: len(list(shell.directory.glob("pid-*"))) == 2)
    hosts = [int(path.name.removeprefix("pid-")) for path in shell.directory.glob("pid-*")]
    kill(crew.running.process.pid)
    eventually(lambda: all(map(is_gone, [*crew.pids.values(), *hosts])))
