"""The demo: it works on each loop, its table is true, and it leaves no process behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cli_shell import Running, Shell, eventually
from rabbit_server import fresh_rabbit_url
from redis_server import fresh_url, need_server
from redis_topologies import Watched, fresh_cluster_url

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


@pytest.fixture
def demo_shell(shell: Shell) -> Shell:
    """A shell whose temporary directory is its own, by which its processes can be told from others."""
    shell.environment["TMPDIR"] = str(shell.directory)
    return shell


def processes_of(shell: Shell) -> list[int]:
    """Find the processes that have this shell's directory in their environment."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment, command = path.read_bytes(), (path.parent / "cmdline").read_bytes()
        except OSError:  # gone, or somebody else's
            continue
        if os.fsencode(f"TMPDIR={shell.directory}") in environment.split(b"\0") and command:
            found.append(int(path.parent.name))
    return found


def directories(shell: Shell) -> list[Path]:
    return list(shell.directory.glob("nursery-tasks-demo-*"))


def test_the_demo_shows_a_table_that_can_be_checked(demo_shell: Shell, loop: list[str]) -> None:
    ended = demo_shell("demo", "--files", "40", *loop)
    assert (ended.code, ended.err) == (0, "")
    assert "40 source files of Python's standard library in " in ended.out
    assert "84 jobs in " in ended.out
    header, first, *_ = ended.out.partition("largest modules:\n\n")[2].splitlines()
    assert re.split(r"\s{2,}", header) == ["module", "lines", "lines with code", "functions", "classes", "bytes"]
    checked = re.search(r"Check it: wc -l (\S+)   says (\d+)", ended.out)
    assert checked is not None
    data = Path(checked[1]).read_bytes()
    assert data.count(b"\n") == int(checked[2])
    assert first.split()[1] == f"{int(checked[2]):,}"
    assert first.split()[-1] == f"{len(data):,}"
    assert "endless   was cancelled from here" in ended.out
    assert "A scope was left early, around 13 jobs on three levels; all had ended" in ended.out
    assert "flaky     failed twice with a ConnectionError" in ended.out
    assert "too_slow  wanted 60 s, has a timeout of 1 s" in ended.out
    assert "unexpected" not in ended.out


@contextmanager
def watched_url() -> Generator[str, None, None]:
    need_server()
    with TemporaryDirectory() as folder, Watched(Path(folder)) as watched:
        yield f"{watched.url}?replicas=1"


SERVERS = [
    pytest.param(fresh_url, ["--backend", "trio"], id="server-trio"),
    pytest.param(fresh_url, ["--backend", "asyncio"], id="server-asyncio"),
    pytest.param(fresh_cluster_url, ["--uvloop"], id="cluster-uvloop"),
    pytest.param(watched_url, ["--backend", "asyncio"], id="sentinel-asyncio"),
]


@pytest.mark.parametrize("loop", [["--backend", "asyncio"], ["--backend", "trio"]], ids=lambda words: words[-1])
def test_the_demo_works_with_rabbitmq_and_shows_no_password(demo_shell: Shell, loop: list[str]) -> None:
    with fresh_rabbit_url(f"sqlite:///{demo_shell.directory}/jobs.db") as url:
        ended = demo_shell("demo", "--files", "3", "--broker", url, *loop)
        assert (ended.code, ended.err) == (0, "")
        assert "the jobs go through amqp://guest:***@127.0.0.1:" in ended.out
        assert "guest:guest" not in ended.out.partition("export")[0]
        queues = demo_shell("queues", "--broker", url)
        assert re.search(r"queue +messages +held +consumers", queues.out)


@pytest.mark.parametrize(("fresh", "loop"), SERVERS)
def test_the_demo_works_with_a_server_and_shows_no_password(
    demo_shell: Shell, fresh: Callable[[], AbstractContextManager[str]], loop: list[str]
) -> None:
    with fresh() as url:
        shown, secret = (url.replace("://", f"://default:{word}@") for word in ("***", "secret"))
        ended = demo_shell("demo", "--files", "3", "--broker", secret, *loop)
        assert (ended.code, ended.err) == (0, "")
        assert f"the jobs go through {shown}, to a worker process" in ended.out
        assert "all had ended" in ended.out
        looked = [demo_shell(command, "--broker", secret).out for command in ("queues", "jobs", "doctor")]
        assert "default" in looked[0]
        assert len(looked[1].splitlines()) == 1 + 3 * 2 + 3 + 1 + 13
        assert re.search(r"storage +(Redis|Valkey) ", looked[2])
        assert "secret" not in "".join([ended.out, *looked])


def test_the_demos_jobs_can_be_looked_at_afterwards(demo_shell: Shell) -> None:
    ended = demo_shell("demo", "--files", "3")
    url = re.search(r"NURSERY_TASKS_BROKER=(\S+)", ended.out)
    assert url is not None
    demo_shell.environment["NURSERY_TASKS_BROKER"] = url[1]
    listed = demo_shell("jobs")
    assert len(listed.out.splitlines()) == 1 + 3 * 2 + 3 + 1 + 13
    assert "JobTimedOut" in demo_shell("jobs", "--state", "failed").out
    assert "the demo has seen enough" in demo_shell("jobs", "--state", "cancelled").out


def test_the_demo_works_on_a_broker_of_yours(demo_shell: Shell) -> None:
    ended = demo_shell("demo", "--files", "3", "--broker", f"sqlite:///{demo_shell.directory}/mine.db")
    assert (ended.code, ended.err) == (0, "")
    assert (demo_shell.directory / "mine.db").exists()
    assert directories(demo_shell) == []


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_its_worker(demo_shell: Shell, loop: list[str], number: signal.Signals) -> None:
    demo = start_and_wait_for_work(demo_shell, loop)
    demo.send(number)
    ended = demo.end()
    assert ended.code == 128 + number
    assert ended.error_lines == ["error: stopped by a signal"]
    assert processes_of(demo_shell) == []
    assert directories(demo_shell) == []


@needs_proc
def test_a_killed_demo_leaves_no_worker(demo_shell: Shell, loop: list[str]) -> None:
    demo = start_and_wait_for_work(demo_shell, loop)
    demo.send(signal.SIGKILL)
    demo.end()
    eventually(lambda: not processes_of(demo_shell))


@needs_proc
def test_a_killed_worker_ends_the_demo_with_a_word(demo_shell: Shell) -> None:
    demo = start_and_wait_for_work(demo_shell, [])
    [worker] = [process for process in processes_of(demo_shell) if process != demo.process.pid]
    os.kill(worker, signal.SIGKILL)
    ended = demo.end()
    assert ended.code == 1
    assert ended.error_lines[0] == "error: the worker ended with exit code -9"
    assert len(ended.error_lines) == 3
    assert processes_of(demo_shell) == []


def start_and_wait_for_work(shell: Shell, loop: list[str]) -> Running:
    demo = shell.start("demo", "--files", "100", *loop)  # the slow job alone takes a second
    demo.wait_for("files read: ")
    return demo
