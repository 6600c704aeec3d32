"""Programs as children of a scope: what goes in, what comes out, and that nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from anyio import Event, create_task_group, current_time, fail_after, move_on_after, run, sleep, to_thread
from support import DEADLINE, until

from nursery_tasks import CompletedRun, run_process, run_process_sync
from nursery_tasks.errors import InvalidOptions, ProcessFailed, ProcessTimedOut, WouldBlockLoop
from nursery_tasks.shell import child as child_module

# Two levels below the program, each in its place: one in the background, one that does not hear SIGTERM.
TREE = """
echo $$
sh -c 'echo $$; exec sleep 100' &
sh -c 'trap "" TERM; echo $$; while :; do sleep 100; done' &
wait
"""


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    """The pids of this process's children, the dead included."""
    found: set[int] = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(name))
    return found


def nothing_new(known_children: set[int], known_descriptors: int) -> bool:
    """Whether nothing has come that is still there; what other tests have left may have gone meanwhile."""
    return children() <= known_children and descriptors() <= known_descriptors


class Pids:
    """Collects the process ids that a program writes."""

    def __init__(self, expected: int) -> None:
        self.pids: list[int] = []
        self.all_there = Event()
        self._expected = expected

    def add(self, line: str) -> None:
        self.pids.append(int(line))
        if len(self.pids) == self._expected:
            self.all_there.set()

    def alive(self) -> list[int]:
        return [pid for pid in self.pids if is_alive(pid)]


# --- in and out --------------------------------------------------------------------------------------------------------------


async def test_a_program_runs_and_its_output_comes_back() -> None:
    ended = await run_process(sh("echo out; echo err >&2"))
    assert ended == CompletedRun(("sh", "-c", "echo out; echo err >&2"), 0, b"out\n", b"err\n")
    assert ended.text == "out\n"


@pytest.mark.parametrize(("given", "seen"), [(b"\x00\xff", b"\x00\xff"), ("grüße", "grüße".encode()), ("", b""), (None, b"")])
async def test_stdin_is_delivered_and_closed(given: bytes | str | None, seen: bytes) -> None:
    assert (await run_process(["cat"], stdin=given)).stdout == seen


async def test_more_than_a_pipe_holds_goes_both_ways_at_once() -> None:
    data = bytes(range(256)) * 20_000
    with fail_after(DEADLINE):
        ended = await run_process(["cat"], stdin=data, capture_bytes=len(data))
    assert ended.stdout == data


async def test_a_program_that_does_not_read_its_stdin_is_no_error() -> None:
    with fail_after(DEADLINE):
        assert (await run_process(["true"], stdin=b"x" * 5_000_000)).returncode == 0


async def test_what_is_kept_is_bounded_and_says_what_was_cut() -> None:
    ended = await run_process(
        sh("printf start; head -c 3000000 /dev/zero; printf end; head -c 500 /dev/zero >&2"), capture_bytes=100
    )
    assert ended.stdout_cut == 3_000_008 - 100
    assert ended.stdout.startswith(b"start\0")
    assert ended.stdout.endswith(b"\0end")
    assert b"\n[... 2999908 bytes were cut here ...]\n" in ended.stdout
    assert len(ended.stdout) < 200
    assert ended.stderr_cut == 400


async def test_lines_come_while_the_program_runs(tmp_path: Path) -> None:
    go_on, seen = tmp_path / "go on", list[str]()

    async def listen(line: str) -> None:
        seen.append(line)
        if line == "first":
            go_on.touch()  # without this line it waits for ever

    with fail_after(DEADLINE):
        ended = await run_process(
            sh("echo first; until [ -e 'go on' ]; do sleep 0.01; done; printf 'second\\r\\n\\nlast'; echo e >&2"),
            cwd=tmp_path,
            on_output=listen,
            on_error=seen.append,
        )
    assert [line for line in seen if line != "e"] == ["first", "second", "", "last"]
    assert "e" in seen
    assert ended.stdout == b"first\nsecond\r\n\nlast"


async def test_a_line_without_an_end_comes_in_pieces() -> None:
    pieces: list[str] = []
    await run_process(sh("head -c 1000000 /dev/zero"), on_output=pieces.append)
    assert len(pieces) > 1
    assert sum(map(len, pieces)) == 1_000_000


async def test_a_slow_listener_loses_nothing() -> None:
    seen: list[str] = []

    async def listen(line: str) -> None:
        await sleep(0.002)
        seen.append(line)

    await run_process(sh("for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo $n; done"), on_output=listen, kill_after=0.005)
    assert seen == [str(number) for number in range(1, 16)]


async def test_a_listener_that_fails_ends_the_program() -> None:
    pids = Pids(1)

    def listen(line: str) -> None:
        pids.add(line)
        raise ZeroDivisionError("by the listener")

    with fail_after(DEADLINE), pytest.raises(ZeroDivisionError, match="by the listener"):
        await run_process(sh("echo $$; exec sleep 100"), on_output=listen)
    assert not pids.alive()


async def test_the_directory_and_the_environment_can_be_given(tmp_path: Path) -> None:
    ended = await run_process(sh("pwd; echo $WORD"), cwd=tmp_path, env={"WORD": "hello", "PATH": os.defpath})
    assert ended.text == f"{tmp_path}\nhello\n"


async def test_the_program_has_a_session_of_its_own() -> None:
    code = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid())"
    assert (await run_process([sys.executable, "-c", code])).text == "True\n"


# --- wrong, failed, late -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("git pull --all", "a list of arguments: ['git', 'pull', '--all']; for what a shell must read"),
        ("it's", 'a list of arguments: ["it\'s"]'),
        (b"ls", 'a list of arguments, the program first: ["ls", "-l"]'),
        ([], "the program first"),
        (["sleep", 3], "texts and paths as arguments; write '3'"),
    ],
)
async def test_a_command_that_is_no_list_is_refused(command: Any, words: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        await run_process(command)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"timeout": -1}, {"kill_after": float("inf")}, {"capture_bytes": -1}, {"capture_bytes": True}]
)
async def test_a_number_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptions):
        await run_process(["true"], **wrong)


async def test_a_program_that_does_not_exist_leaves_nothing() -> None:
    before = children(), descriptors()
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        await run_process(["no-such-program"])
    assert nothing_new(*before)


async def test_a_return_code_is_an_error_that_carries_it() -> None:
    with pytest.raises(ProcessFailed, match="exited with 3: the reason") as caught:
        await run_process(sh("echo the reason >&2; exit 3"))
    assert (caught.value.returncode, caught.value.command[0], caught.value.stderr) == (3, "sh", "the reason\n")
    with pytest.raises(ProcessFailed, match="was ended by SIGKILL"):
        await run_process(sh("kill -KILL $$"))


async def test_without_check_the_return_code_is_in_the_result() -> None:
    assert (await run_process(sh("exit 3"), check=False)).returncode == 3


async def test_a_program_that_runs_too_long_is_ended_and_its_last_words_are_read() -> None:
    pids = Pids(1)
    with pytest.raises(ProcessTimedOut, match=r"(?s)longer than 0.3 s and was ended: .*going down") as caught:
        await run_process(
            sh("trap 'echo going down >&2; exit 0' TERM; echo $$; while :; do sleep 0.01; done"),
            timeout=0.3,
            on_output=pids.add,
        )
    assert caught.value.timeout_seconds == 0.3
    assert pids.pids
    assert not pids.alive()


# --- nothing is left ---------------------------------------------------------------------------------------------------------


async def test_a_cancel_ends_the_program_with_all_that_it_started() -> None:
    before, pids = children(), Pids(3)
    async with create_task_group() as group:
        group.start_soon(lambda: run_process(sh(TREE), on_output=pids.add, kill_after=0.2))
        with fail_after(DEADLINE):
            await pids.all_there.wait()
        assert len(pids.alive()) == 3
        began = current_time()
        group.cancel_scope.cancel()
    assert not pids.alive()
    assert 0.15 < current_time() - began < 2  # one of them had to be killed
    assert children() <= before


async def test_a_program_that_hears_ends_at_once() -> None:
    pids = Pids(1)
    async with create_task_group() as group:
        group.start_soon(lambda: run_process(sh("echo $$; exec sleep 100"), on_output=pids.add, kill_after=30))
        await pids.all_there.wait()
        began = current_time()
        group.cancel_scope.cancel()
    assert current_time() - began < 2
    assert not pids.alive()


async def test_a_program_that_is_stopped_is_ended_too() -> None:
    pids = Pids(1)
    async with create_task_group() as group:
        group.start_soon(lambda: run_process(sh("echo $$; exec sleep 100"), on_output=pids.add, kill_after=30))
        await pids.all_there.wait()
        os.kill(pids.pids[0], signal.SIGSTOP)
        group.cancel_scope.cancel()
    assert not pids.alive()


async def test_jobs_of_a_shell_in_groups_of_their_own_are_ended_too() -> None:
    pids = Pids(2)
    async with create_task_group() as group:
        job = "import os, time; os.setpgid(0, 0); print(os.getpid(), flush=True); time.sleep(100)"  # what `set -m` does
        command = sh('echo $$; "$0" -c "$1" & wait')
        group.start_soon(lambda: run_process([*command, sys.executable, job], on_output=pids.add, kill_after=30))
        await pids.all_there.wait()
        assert os.getpgid(pids.pids[1]) != os.getpgid(pids.pids[0])
        group.cancel_scope.cancel()
    assert not pids.alive()


@pytest.mark.parametrize("redirected", ["", ">/dev/null 2>&1"])
async def test_what_a_program_leaves_behind_is_ended_after_a_moment(redirected: str) -> None:
    began = current_time()
    ended = await run_process(sh(f"sleep 100 {redirected} & echo $!"), kill_after=0.1)
    assert not is_alive(int(ended.text))
    assert current_time() - began < 2


async def test_what_a_program_leaves_behind_may_finish_its_last_line() -> None:
    assert (await run_process(sh("(sleep 0.1; echo late) & echo early"))).text == "early\nlate\n"


async def test_a_daemon_that_holds_the_pipe_does_not_hold_the_call(tmp_path: Path) -> None:
    code = "import os, time\nif os.fork(): os._exit(0)\nos.setsid(); print(os.getpid(), flush=True); time.sleep(100)"
    with fail_after(DEADLINE):
        ended = await run_process([sys.executable, "-c", f"{code}"], kill_after=0.5, check=False)
    if ended.stdout:  # it had left the session in time; else it was ended with it
        os.kill(int(ended.text), signal.SIGKILL)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.002, 0.003, 0.004, 0.006, 0.01])
async def test_a_cancel_at_any_moment_of_the_start_leaves_nothing(seconds: float) -> None:
    before = children()
    threads = threading.active_count()
    for _ in range(5):
        with move_on_after(seconds):
            await run_process(sh("sleep 100 & sleep 100"))
    assert children() <= before
    await until(lambda: threading.active_count() <= threads + 2)  # AnyIO keeps idle threads


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.003, 0.01, 0.05])
async def test_a_cancel_by_asyncio_itself_leaves_nothing(seconds: float) -> None:
    before = children()

    async def start() -> None:
        await run_process(sh("sleep 100 & sleep 100"))

    task = asyncio.create_task(start())
    await asyncio.sleep(seconds)
    for _ in range(3):  # it does not care for shields
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: children() <= before)


async def test_many_at_once_leave_no_descriptor_and_no_child() -> None:
    await run_process(["true"])
    before = children(), descriptors()
    async with create_task_group() as group:
        for number in range(30):
            group.start_soon(lambda n=number: run_process(sh(f"exit {n % 3}"), check=False, stdin=b"x"))
    assert nothing_new(*before)


def test_a_killed_program_takes_what_it_started_with_it(tmp_path: Path) -> None:
    code = (
        "import anyio, sys\nfrom nursery_tasks import run_process\n"
        f"anyio.run(lambda: run_process(['sh', '-c', {TREE!r}], on_output=lambda l: print(l, flush=True), kill_after=0.2))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        pids = [int(program.stdout.readline()) for _ in range(3)]
        program.send_signal(signal.SIGKILL)
        program.wait()
        run(until, lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize("missing", ["guard", "pidfd", "proc"])
async def test_it_works_where_the_system_has_less(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if missing == "guard":
        monkeypatch.setattr(child_module, "SHELL", str(tmp_path / "no-shell"))
    elif missing == "pidfd":
        monkeypatch.delattr(os, "pidfd_open")
    else:
        monkeypatch.setattr("nursery_tasks.shell.members.PROC", tmp_path)
    pids = Pids(3)
    async with create_task_group() as group:
        group.start_soon(lambda: run_process(sh(TREE), on_output=pids.add, kill_after=0.1))
        await pids.all_there.wait()
        group.cancel_scope.cancel()
    monkeypatch.undo()
    await until(lambda: not pids.alive())


# --- blocking ----------------------------------------------------------------------------------------------------------------


def test_a_script_calls_the_blocking_twin() -> None:
    lines: list[tuple[str, int]] = []
    ended = run_process_sync(
        sh("cat; echo err >&2"), stdin="in\n", on_output=lambda line: lines.append((line, threading.get_ident()))
    )
    assert (ended.stdout, ended.stderr) == (b"in\n", b"err\n")
    assert lines == [("in", threading.get_ident())]
    with pytest.raises(ProcessFailed) as caught:
        run_process_sync(sh("exit 3"))
    assert caught.value.returncode == 3


async def test_a_thread_calls_the_blocking_twin_and_its_listener_may_block() -> None:
    loop_thread, threads = threading.get_ident(), set[int]()

    def listen(_: str) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.01)

    ended = await to_thread.run_sync(lambda: run_process_sync(sh("echo a; echo b"), on_output=listen))
    assert ended.text == "a\nb\n"
    assert loop_thread not in threads


async def test_cancelling_the_thread_ends_the_program() -> None:
    pids, outcome = Pids(3), list[BaseException]()

    def handler() -> None:
        try:
            run_process_sync(sh(TREE), on_output=lambda line: from_loop(pids.add, line), kill_after=0.1)
        except Exception:
            raise AssertionError("a cancellation is no Exception") from None
        except BaseException as error:
            outcome.append(error)
            raise

    async with create_task_group() as group:
        group.start_soon(to_thread.run_sync, handler)
        await pids.all_there.wait()
        group.cancel_scope.cancel()
    assert outcome
    assert not pids.alive()


def from_loop(function: Callable[[str], object], line: str) -> None:
    from anyio import from_thread

    from_thread.run_sync(function, line)


async def test_on_the_loop_the_blocking_twin_is_refused() -> None:
    with pytest.raises(WouldBlockLoop, match=r"await run_process\(\.\.\.\)"):
        run_process_sync(["true"])
