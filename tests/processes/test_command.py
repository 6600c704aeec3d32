"""The worker of the command line, with the signals of a terminal, which go to the whole process group."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host_tools import ASYNCIO, children_of, lives, wait_gone
from support import until

from nursery_tasks import App

TASKS = """
import os, time
from nursery_tasks import App, current_job

app = App()

@app.task(run_in="process")
def hold(began: str, gate: str) -> int:
    open(began, "w").close()
    while not os.path.exists(gate):
        time.sleep(0.005)
    print("let through")
    return os.getpid()
"""


@contextmanager
def command(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run a worker in a process group of its own, as a shell does."""
    (folder / "held.py").write_text(TASKS)
    environment = {**os.environ, "NURSERY_TASKS_BROKER": url_in(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-m", "nursery_tasks", "run", "held:app", "--json", *options]
    log = (folder / "log").open("w")
    worker = subprocess.Popen(line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0)
    try:
        yield worker
    finally:
        if worker.poll() is None:
            worker.kill()
        worker.communicate()
        log.close()


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'jobs.db'}"


LOOPS = [
    pytest.param((), id="asyncio"),
    pytest.param(("--uvloop",), id="uvloop"),
    pytest.param(("--backend", "trio"), id="trio"),
]


@ASYNCIO
@pytest.mark.parametrize("loop", LOOPS)
async def test_ctrl_c_drains_and_harms_no_process(tmp_path: Path, loop: tuple[str, ...]) -> None:
    began, gate = tmp_path / "began", tmp_path / "gate"
    options = ("--processes", "1", "--process-jobs", "50", "--process-memory", "1GB", *loop)
    with command(tmp_path, *options) as worker:
        async with App(url_in(tmp_path)) as app:
            handle = await app.job("hold", str(began), str(gate)).enqueue()
            await until(began.exists, 20)
            guards = children_of(worker.pid)
            assert worker.stdout is not None
            ready: dict[str, Any] = json.loads(worker.stdout.readline())
            assert (ready["tasks"], ready["processes"]) == ({"hold": "process"}, 1)
            os.killpg(worker.pid, signal.SIGINT)
            gate.touch()
            await until(lambda: worker.poll() is not None, 20)
            assert worker.returncode == 0
            host = await handle
            assert not lives(host)
            assert guards
            assert not any(map(lives, guards))
            assert "let through" in worker.stdout.read()


@ASYNCIO
async def test_a_worker_that_is_killed_leaves_its_job_to_the_next(tmp_path: Path) -> None:
    began, gate = tmp_path / "began", tmp_path / "gate"
    with command(tmp_path) as worker:
        async with App(url_in(tmp_path)) as app:
            handle = await app.job("hold", str(began), str(gate)).enqueue()
            await until(began.exists, 20)
            pids = [*children_of(worker.pid), *(child for guard in children_of(worker.pid) for child in children_of(guard))]
            assert len(pids) >= 2
            worker.kill()
            worker.wait()
            wait_gone(pids, 1.0)
            assert not (await handle.status()).ended  # it comes back when its lease is over
