"""The handlers under test; `run.py` makes programs of them.

They append one line per event to the file in LOG: what, which handler, process, attempt, and the moment on CLOCK_MONOTONIC,
which all processes of a machine share.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

import anyio

from nursery_tasks import App, check_cancelled, current_job

app = App(owner_lease=float(os.environ.get("OWNER_LEASE", "15")))
LOG: Final = Path(os.environ.get("LOG", "log"))
NODES: Final = {"loop": "node", "thread": "thread_node", "process": "process_node"}  # the tasks of a tree
NAP_SECONDS: Final = 0.005  # how often a handler in a thread looks whether it was cancelled


class Oops(Exception):
    """What handlers raise."""


app.error(Oops)


def note(word: str, path: str) -> None:
    """Write down what the current job's handler does."""
    write(word, path, current_job().attempt)


def write(word: str, path: str, attempt: int) -> None:
    """Append one line to the log, in one write, so that several processes can share it."""
    line = f"{word} {path} {os.getpid()} {attempt} {time.monotonic():.6f}\n"
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)


# --- trees -------------------------------------------------------------------------------------------------------------------
#
# A tree is a dict: `kind` (loop, thread or process), `how` it awaits its children (group or run), `children` (trees), `seconds`
# that it works after they have ended, and `fails`: whether it raises then. A node's path is "run.0.2": the third child of the
# first.


def job_of(path: str, tree: dict[str, Any]) -> Any:
    """Return the unsent job that is a tree's root."""
    return app.job(NODES[tree["kind"]], path, tree)


def children_of(path: str, tree: dict[str, Any]) -> list[Any]:
    """Return the unsent jobs of a node's children."""
    return [job_of(f"{path}.{number}", child) for number, child in enumerate(tree.get("children", ()))]


@app.task
async def node(path: str, tree: dict[str, Any]) -> int:
    """Await the children, then sleep; a watcher beside notes the cancel when it comes, not when the children have ended."""
    note("start", path)
    done = False

    async def watch() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            if not done:
                note("cancelled", path)
            raise

    try:
        async with anyio.create_task_group() as around:
            around.start_soon(watch)
            await anyio.lowlevel.checkpoint()
            count = await await_children(path, tree)
            await anyio.sleep(tree.get("seconds", 60))
            done = True
            around.cancel_scope.cancel()
        if tree.get("fails"):
            raise Oops(path)
        return 1 + count
    finally:
        note("left", path)


async def await_children(path: str, tree: dict[str, Any]) -> int:
    """Await all children, by a group of ours or by `run` in one of AnyIO's."""
    jobs = children_of(path, tree)
    if tree.get("how") == "group":
        async with app.create_task_group() as group:
            children = [group.start_soon(job) for job in jobs]
        return sum(child.return_value for child in children)
    counts: list[int] = []

    async def run(job: Any) -> None:
        counts.append(await job.run())

    async with anyio.create_task_group() as tg:
        for job in jobs:
            tg.start_soon(run, job)
    return sum(counts)


@app.task(run_in="thread")
def thread_node(path: str, tree: dict[str, Any]) -> int:
    """Await the children one after the other (or all at once, on the loop), then work."""
    note("start", path)
    told, count = False, 0
    try:
        try:
            if tree.get("how") == "group":
                count = current_job().wait(await_children, path, tree)
            else:
                count = sum(app.sync.run(job) for job in children_of(path, tree))
            nap(tree.get("seconds", 60))
        except BaseException as error:
            told = not isinstance(error, Exception)
            raise
        if tree.get("fails"):
            raise Oops(path)
        return 1 + count
    finally:
        if told:
            note("cancelled", path)
        note("left", path)


def nap(seconds: float) -> None:
    """Sleep in a thread or a process, looking for a cancel."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_cancelled()
        time.sleep(min(NAP_SECONDS, left))


@app.task(run_in="thread")
def warm(seconds: float) -> None:
    """Take a thread, so that the pools are as large as they will ever be."""
    time.sleep(seconds)


# --- single jobs -------------------------------------------------------------------------------------------------------------


@app.task
async def work(path: str, seconds: float) -> str:
    """Sleep."""
    note("start", path)
    try:
        await anyio.sleep(seconds)
        note("done", path)
    finally:
        note("left", path)
    return path


@app.task
async def tick(path: str, seconds: float) -> None:
    """Have a side effect every 10 ms."""
    end = anyio.current_time() + seconds
    while anyio.current_time() < end:
        note("tick", path)
        await anyio.sleep(0.01)


@app.task
async def fail_after(path: str, seconds: float) -> None:
    """Raise."""
    await anyio.sleep(seconds)
    note("raise", path)
    raise Oops(path)


@app.task
async def parent(path: str, queue: str, seconds: float) -> int:
    """Await two children on another queue; return which attempt this is."""
    note("start", path)
    if current_job().attempt == 1:
        async with app.create_task_group() as group:
            for number in range(2):
                group.start_soon(work.options(queue=queue), f"{path}.{number}", seconds)
    return current_job().attempt


@app.task
async def stubborn(path: str, seconds: float) -> str:
    """Swallow every cancellation for so long, without burning the processor."""
    note("start", path)
    end = anyio.current_time() + seconds
    while anyio.current_time() < end:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.02)
    note("left", path)
    return path


@app.task(run_in="thread")
def busy(path: str, seconds: float) -> str:
    """Compute, without a look at whether it was cancelled."""
    note("start", path)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(500))
        time.sleep(0)  # to others their turn
    note("left", path)
    return path


@app.task
async def hold_loop(path: str, seconds: float) -> None:
    """Block the event loop, as a handler should not."""
    note("start", path)
    time.sleep(seconds)  # noqa: ASYNC251 - that is what it is for
    note("left", path)
