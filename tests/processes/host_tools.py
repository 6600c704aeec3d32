"""Looking at processes from outside; Linux's /proc where it exists."""

from __future__ import annotations

import glob
import os
import tempfile
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from nursery_tasks import App
from nursery_tasks.execution.in_process.host import CpuHost
from nursery_tasks.worker import Worker

ASYNCIO, UVLOOP, TRIO = (  # for tests of what does not depend on the loop: each new process takes a tenth of a second
    pytest.mark.parametrize("anyio_backend", [(name, options)], ids=[shown])
    for shown, name, options in (
        ("asyncio", "asyncio", {"use_uvloop": False}),
        ("uvloop", "asyncio", {"use_uvloop": True}),
        ("trio", "trio", {}),
    )
)


def register(app: App, *functions: Any, **options: Any) -> Any:
    """Register tasks of `process_tasks` with another app; returns the only one, or all."""
    tasks = [app.task(run_in="process", name=task.name, **options)(task.spec.function) for task in functions]
    return tasks[0] if len(tasks) == 1 else tasks


def pool_of(worker: Worker) -> Any:
    """Return the worker's hosts."""
    return worker._runner.executors.hosts


def hosts_of(worker: Worker) -> list[CpuHost]:
    """Return the hosts that are up."""
    return [host for host in pool_of(worker).hosts if host.pid]


def lives(pid: int) -> bool:
    """Say whether a process is there; a zombie is not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_gone(pids: list[int], seconds: float) -> float:
    """Wait until none of the processes lives; returns the seconds that it took."""
    began = time.monotonic()
    while any(map(lives, pids)):
        if time.monotonic() - began > seconds:
            raise AssertionError(f"still there after {seconds} s: {[pid for pid in pids if lives(pid)]}")
        time.sleep(0.005)
    return time.monotonic() - began


def children_of(pid: int) -> list[int]:
    """Return the living children of a process."""
    found: list[int] = []
    for listing in glob.glob(f"/proc/{pid}/task/*/children"):
        with suppress(FileNotFoundError, ProcessLookupError), open(listing) as file:  # a thread that has ended meanwhile
            found += [int(child) for child in file.read().split()]
    return [child for child in found if lives(child)]


def hosts_of_this_process() -> list[int]:
    """Return the processes for handlers below this one."""
    found: list[int] = []
    for pid in children_of(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"anyio.to_process" in file.read():
                found.append(pid)
    return found


def leftovers() -> set[str]:
    """Return what a pool could leave behind: sockets and pipes, socket files, threads of its own."""
    folders = glob.glob(os.path.join(tempfile.gettempdir(), f"nursery-host-{os.getpid()}-*"))
    threads = [thread.name for thread in threading.enumerate() if "nursery-tasks" in thread.name]
    return {*folders, *threads}


def descriptors() -> set[str]:
    """Return what the descriptors of this process are, for those that matter here."""
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # that of the listing itself
            continue
        if target.startswith(("socket:", "pipe:", "/memfd")):
            found.add(f"{name} {target}")
    return found
