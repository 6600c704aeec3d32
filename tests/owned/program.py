"""The programs under test, each a process of its own on one SQLite file.

`python program.py work BACKEND OPTIONS` is a worker, `python program.py own BACKEND OPTIONS` a client that awaits jobs until it
is killed. OPTIONS are JSON. Handlers append one line per event to the file in LOG: what, which handler, process, attempt, and
the moment on CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio

from nursery_tasks import App, check_cancelled, current_job
from nursery_tasks.events import EventKind, JobEvent

app = App(owner_lease=float(os.environ.get("OWNER_LEASE", "15")))
LOG: Final = Path(os.environ.get("LOG", "log"))
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
    return {"loop": node, "thread": thread_node, "process": process_node}[tree["kind"]].job(path, tree)


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


@app.task(run_in="process")
def process_node(path: str, tree: dict[str, Any]) -> int:
    """Await the children one after the other, then work; in a process."""
    note("start", path)
    told = False
    try:
        count = sum(app.sync.run(job) for job in children_of(path, tree))
        nap(tree.get("seconds", 60))
        return 1 + count
    except BaseException as error:
        told = not isinstance(error, Exception)
        raise
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


@app.task(run_in="process", kill_after=0.2)
def spin(path: str) -> None:
    """Compute for ever in a process that hears no SIGTERM, beside a program that hears none either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sh", "-c", 'trap "" TERM; while :; do sleep 100; done'])
    note("start", path)
    write(f"child{child.pid}", path, 1)
    while True:
        sum(range(1000))


# --- processes ---------------------------------------------------------------------------------------------------------------


def note_event(event: JobEvent) -> None:
    """Write down that something was refused because it came too late."""
    if event.kind is EventKind.STALE:
        write("stale", event.job_id, event.attempt)


async def serve(options: dict[str, Any]) -> None:
    """Work until standard input ends."""
    app.subscribe(note_event)
    async with app, app.open_worker(**options):
        print("ready", flush=True)
        await anyio.wait_readable(0)
        threading.Timer(10, os._exit, [3]).start()  # what does not stop then is a failure of the test that sees it


async def own(options: dict[str, Any]) -> None:
    """Await a tree, beside jobs that are enqueued, until killed."""
    async with app:
        for path in options.get("enqueue", ()):
            await work.enqueue(path, options["seconds"])
        print("ready", flush=True)
        await job_of(options["path"], options["tree"]).run()


def run(main: Callable[[dict[str, Any]], Any], backend: str, options: dict[str, Any]) -> None:
    """Run one of the two on an event loop."""
    loop: dict[str, Any] = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(main, options, backend="trio" if backend == "trio" else "asyncio", backend_options=loop)


def set_clock(seconds_off: float) -> None:
    """Let this process's wall clock be wrong; not the broker's, whose clock is the machine's and that of all its processes."""
    from nursery_tasks.brokers import sqlite as sqlite  # it takes the right clock with it

    right = time.time
    time.time = lambda: right() + seconds_off  # type: ignore[assignment]


if __name__ == "__main__":
    what, backend, text = sys.argv[1:]
    options = json.loads(text)
    set_clock(options.pop("clock_off", 0))
    run({"work": serve, "own": own}[what], backend, options)
    os._exit(0)  # not held up by a thread that never ends
