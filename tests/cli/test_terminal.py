"""Terminals that close, and standard streams that are not there."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_shell import DEADLINE_SECONDS, Shell, eventually

from nursery_tasks import JobState

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # the child calls exec at once

MODULE = """
import anyio

from nursery_tasks import App

app = App("sqlite:///jobs.db")


@app.task
async def slow(seconds: float) -> str:
    await anyio.sleep(seconds)
    print("printed by a job", flush=True)
    return "done"
"""


class Terminal:
    """A worker in a terminal of its own, which can be closed."""

    def __init__(self, shell: Shell, *args: str, before: str = "") -> None:
        shell.write("slow.py", MODULE)
        pid, self._terminal = pty.fork()
        if pid == 0:
            try:
                os.chdir(shell.directory)
                command = [sys.executable, "-m", "nursery_tasks", "run", "slow:app", *args]
                os.execve("/bin/sh", ["sh", "-c", f'{before} exec "$@"', "sh", *command], shell.environment)
            finally:
                os._exit(127)
        self.pid = pid

    def close(self) -> None:
        os.close(self._terminal)

    def end(self) -> int:
        eventually(lambda: os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.mark.parametrize("quiet", [[], ["--quiet"]], ids=["loud", "quiet"])
def test_a_terminal_that_closes_drains_the_worker(shell: Shell, loop: list[str], quiet: list[str]) -> None:
    terminal = Terminal(shell, *loop, *quiet)
    try:
        job = shell.app.sync.enqueue(shell.app.job("slow", 1.0))
        eventually(lambda: job.status() is JobState.STARTED)
        terminal.close()
        assert terminal.end() == 0
        outcome = job.outcome(1)
        assert (outcome.state, outcome.attempt) == (JobState.SUCCEEDED, 1)
    finally:
        terminal.kill()


def test_a_worker_with_nohup_goes_on(shell: Shell, loop: list[str]) -> None:
    terminal = Terminal(shell, *loop, before="trap '' HUP; exec </dev/null >/dev/null 2>&1;")
    try:
        assert shell.app.sync.enqueue(shell.app.job("slow", 0.0)).result(20) == "done"
        terminal.close()
        os.kill(terminal.pid, signal.SIGHUP)
        assert shell.app.sync.enqueue(shell.app.job("slow", 0.0)).result(20) == "done"
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 0
    finally:
        terminal.kill()


def test_several_hangups_are_one(shell: Shell, loop: list[str]) -> None:
    worker = shell.worker(*loop)
    job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 2.0))
    worker.wait_for("started")
    worker.send(signal.SIGHUP)
    worker.wait_for("stopping: 1 running job may go on")
    eventually(lambda: not worker.send(signal.SIGHUP) and job.status() is JobState.SUCCEEDED)
    assert worker.end().code == 0


def test_a_hangup_of_one_worker_of_a_group_replaces_it(shell: Shell) -> None:
    crew = shell.start("run", "tasks_here:app", "--workers", "2")
    crew.wait_for("works (process")
    pid = int(crew.wait_for("works (process").rpartition("process ")[2].rstrip(")"))
    os.kill(pid, signal.SIGHUP)
    assert "ended with exit code 0" in crew.wait_for("another one starts")
    crew.wait_for("works (process")
    crew.send(signal.SIGTERM)
    assert crew.end().code == 0


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one", "two"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_worker_runs_without_its_standard_streams(shell: Shell, closed: str, workers: list[str]) -> None:
    shell.write("slow.py", MODULE)
    command = f'exec "$@" {closed}'
    program = [sys.executable, "-m", "nursery_tasks", "run", "slow:app", *workers]
    with subprocess.Popen(
        ["/bin/sh", "-c", command, "sh", *program],
        cwd=shell.directory,
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        try:
            assert shell.app.sync.enqueue(shell.app.job("slow", 0.0)).result(20) == "done"
            worker.send_signal(signal.SIGTERM)
            out, err = worker.communicate(timeout=DEADLINE_SECONDS)
        finally:
            worker.kill()
        assert worker.returncode == 0, (out, err)
        assert err == ""
        assert Path(shell.directory / "jobs.db").read_bytes().startswith(b"SQLite format 3\0")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_other_commands_run_without_them_too(shell: Shell, closed: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "nursery_tasks", "jobs"],
        cwd=shell.directory,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_nobody_reads_and_the_exit_code_is_the_workers_own(shell: Shell, loop: list[str]) -> None:
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "nursery_tasks", "run", "tasks_here:app", "--drain", "0", *loop]
    with subprocess.Popen(command, cwd=shell.directory, env=shell.environment, stdout=theirs) as worker:
        os.close(theirs)
        job = shell.app.sync.enqueue(shell.app.job("greet", "Ada", 60.0))
        eventually(lambda: job.status() is JobState.STARTED)
        os.close(ours)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(DEADLINE_SECONDS) == 3
    assert job.status() is JobState.READY
