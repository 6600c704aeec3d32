"""`nursery-tasks run --until-done`: how it ends, and where it is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from nursery_tasks import App
from nursery_tasks.stages import publisher

publisher.AGAIN_SECONDS = (0.01, 0.01)
app = App("memory:")


@app.publisher("numbers")
def numbers():
    yield 1
    raise OSError("the disk is gone")


@app.listener("numbers")
def hear(number: int) -> None:
    print("heard", number)
"""


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "failing.py").write_text(APP)
    command = [sys.executable, "-m", "nursery_tasks", "run", "failing:app", "--until-done", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)


def test_a_pipeline_that_has_failed_says_so_and_its_code_is_1(tmp_path: Path) -> None:
    ended = run(tmp_path)
    shown = ended.stdout + ended.stderr
    assert ended.returncode == 1, shown
    assert "publisher numbers has failed: OSError: the disk is gone" in shown
    assert "heard 1" in shown


def test_it_is_refused_with_several_processes(tmp_path: Path) -> None:
    ended = run(tmp_path, "--workers", "2")
    assert ended.returncode == 2
    assert "--until-done goes with one worker process" in ended.stderr


BLOCKING = """
import os
import signal
import threading

from nursery_tasks import App

app = App("memory:")


@app.publisher("numbers")
def numbers():
    os.kill(os.getpid(), signal.SIGINT)
    yield threading.Event().wait()
"""


def test_a_generator_that_does_not_return_keeps_no_worker_from_ending(tmp_path: Path) -> None:
    (tmp_path / "blocking.py").write_text(BLOCKING)
    command = [sys.executable, "-m", "nursery_tasks", "run", "blocking:app"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    shown = ended.stdout + ended.stderr
    assert ended.returncode == 0, shown
    assert "the generator of publisher numbers was left" in shown
    assert "leaving a function behind" not in shown  # its thread is none that a program waits for


PROGRAM = """
import sys
import threading

import anyio

from nursery_tasks import App

app = App("memory:")


@app.publisher("numbers")
def numbers():
    yield 1
    threading.Event().wait()


@app.listener("numbers")
async def take(number: int) -> None:
    taken.set()


async def main() -> None:
    global taken
    taken = anyio.Event()
    async with app, anyio.create_task_group() as group:
        group.start_soon(app.run_pipeline)
        await taken.wait()
        group.cancel_scope.cancel()
    print("left")


anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_nor_does_it_keep_a_program_from_ending(loop: str) -> None:
    command = [sys.executable, "-c", PROGRAM, loop]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (0, "left\n"), ended.stderr
    assert "the generator of publisher numbers was left" in ended.stderr
