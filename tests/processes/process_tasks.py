"""An app as a program has one, in a module that a process can import."""

from __future__ import annotations

import ctypes
import dataclasses
import datetime
import logging
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

from nursery_tasks import App, Batch, Retry, TaskClass, check_cancelled, current_job, run_process_sync

app = App("memory:", max_payload_bytes=16 * 1024 * 1024)


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code
        super().__init__(f"code {code}")


class Secret:
    """Travels only as its custom type."""

    def __init__(self, text: str) -> None:
        self.text = text


app.register_type(Secret, encode=lambda secret: secret.text, decode=Secret)


@dataclasses.dataclass
class Point:
    x: int
    y: int


@app.task(run_in="process", kill_after=30)
def run_tree(file: str) -> str:
    """Run a program with a child that does not hear SIGTERM, until the job is cancelled; *file* gets their pids."""
    script = 'sh -c \'trap "" TERM; echo $$ >> "$0"; while :; do sleep 100; done\' "$0" & echo $$ >> "$0"; wait'
    return run_process_sync(["sh", "-c", script, file], kill_after=0.1).text


class Triple(TaskClass):
    run_in = "process"

    def run(self, number: int) -> list[int]:
        self.log.debug("tripling")
        return [3 * number, os.getpid(), self.job.attempt]


triple = app.task(Triple)


@app.task(run_in="process")
def double(number: int) -> int:
    return 2 * number


@app.task(run_in="process")
def shift(point: Point, by: int = 1, *, day: datetime.date) -> Point:
    assert isinstance(point, Point)
    assert isinstance(day, datetime.date)
    return Point(point.x + by, point.y + day.day)


@app.task(run_in="process")
def length(data: bytes) -> int:
    return len(data)


@app.task(run_in="process")
def echo(value: Any) -> Any:
    return value


@app.task(run_in="process")
def reveal(secret: Secret) -> str:
    return secret.text


@app.task(run_in="process")
def about_me() -> dict[str, Any]:
    job = current_job()
    return {
        "pid": os.getpid(),
        "id": job.id,
        "task": job.task,
        "attempt": job.attempt,
        "queue": job.queue,
        "worker": job.worker,
        "parent": job.parent,
        "tags": list(job.tags),
        "headers": job.headers,
        "state": job.state,
        "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    }


@app.task(run_in="process")
def fail(how: str) -> Any:
    match how:
        case "exit":
            sys.exit(3)
        case "ctrl-c":
            raise KeyboardInterrupt
        case "generator exit":
            raise GeneratorExit
        case "stop iteration":
            raise StopIteration(1)
        case "keyword only":
            raise KeywordOnly(code=7)
        case "group":
            raise ExceptionGroup("several", [ValueError("a"), OSError(2, "no such file", "/x")])
        case "cause":
            try:
                raise KeyError("inner")
            except KeyError as error:
                other = ValueError("outer")
                other.add_note("a note")
                raise other from error
        case "retry":
            raise Retry(3, wait=0) from ValueError("why")
        case "unencodable result":
            return object()
        case "set":
            return {1}
        case "large result":
            return "x" * 20_000_000
        case "coroutine":

            async def nothing() -> None: ...

            return nothing()
    raise AssertionError(how)


@app.task(run_in="process")
def fail_until(attempt: int) -> int:
    if current_job().attempt < attempt:
        raise OSError("not yet")
    return current_job().attempt


@app.task(run_in="process")
def die(how: str) -> NoReturn:
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(5)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(how)


@app.task(run_in="process")
def die_once() -> int:
    if current_job().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return current_job().attempt


@app.task(run_in="process")
def say(lines: int, size: int = 10) -> None:
    for number in range(lines):
        print(f"{number} " + "p" * size)
        logging.getLogger("shop.cart").info("%s %s", number, "l" * size)


@app.task(run_in="process")
def write_everywhere() -> None:
    print("python out")
    print("python err", file=sys.stderr)
    os.write(1, b"fd 1\n")
    os.write(2, b"fd 2\n")
    subprocess.run(["/bin/sh", "-c", "echo child out; echo child err >&2"], check=True)
    current_job().log.info("job log")
    try:
        raise ValueError("logged")
    except ValueError:
        logging.getLogger("shop").exception("trouble", extra={"order": 7})
    sys.stdout.write("no end")


@app.task(run_in="process")
def write_raw(data: bytes) -> int:
    done = 0
    while done < len(data):
        done += os.write(1, data[done:])
    return done


@app.task(run_in="process")
def in_turn() -> None:
    for number in range(50):
        print(f"print {number}")
        logging.getLogger("shop").info(f"log {number}")


@app.task(run_in="process")
def flood(lines: int) -> int:
    for _ in range(lines):
        print("x" * 1000)
    return lines


@app.task(run_in="process")
def advance(gate: str) -> str:
    current_job().progress({"step": 1})
    wait_for(gate)
    return "done"


@app.task(run_in="process")
def too_much_progress() -> None:
    current_job().progress("x" * 100_000)


def wait_for(gate: str) -> None:
    while not os.path.exists(gate):
        time.sleep(0.005)


def tell(path: str, *pids: int) -> None:
    with open(f"{path}.new", "w") as file:
        file.write(" ".join(map(str, pids)))
    os.rename(f"{path}.new", path)


@app.task(run_in="process")
def listen(began: str) -> str:
    tell(began, os.getpid())
    try:
        while True:
            check_cancelled()
            time.sleep(0.005)
    finally:
        tell(f"{began}.cleaned", os.getpid())


@app.task(run_in="process")
def listen_and_answer(began: str) -> str:
    tell(began, os.getpid())
    try:
        while True:
            check_cancelled()
            time.sleep(0.005)
    except BaseException:
        return "finished all the same"


@app.task(run_in="process", kill_after=0.1)
def stubborn(began: str, how: str) -> NoReturn:
    """Never listen, with a grandchild and one that has left the group."""
    script = "trap '' TERM; while true; do sleep 1000; done"
    child = subprocess.Popen(["/bin/sh", "-c", script])
    escaped = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True)
    if how == "ignores SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(began, os.getpid(), child.pid, escaped.pid)
    match how:
        case "sleep" | "ignores SIGTERM":
            while True:
                time.sleep(1000)
        case "regex":  # holds the GIL for ever
            re.match(r"(a+)+$", "a" * 64 + "b")
        case "c":
            ctypes.PyDLL(None).sleep(1000)  # so does this
    raise AssertionError(how)


@app.task(run_in="process")
def hold(began: str, gate: str) -> int:
    tell(began, os.getpid())
    wait_for(gate)
    return os.getpid()


@app.task(run_in="process")
def hoard(size: int) -> int:
    HOARD.append(bytearray(os.urandom(1) * size))
    return os.getpid()


HOARD: list[bytearray] = []


@app.task(run_in="process")
def submit(url: str) -> str:
    other = App(url)
    job = other.job("double", 4)
    handle = other.sync.enqueue(job)
    other.sync.close()
    return handle.id


@app.task(run_in="process")
def fork_and_write() -> int:
    child = os.fork()
    if child == 0:
        print("from a forked child")
        logging.getLogger("shop").warning("logged there")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@app.task(run_in="process")
def listen_twice(began: str) -> int:
    if current_job().attempt == 1:
        listen.spec.function(began)
    check_cancelled()  # what it was asked would be known by now: the link keeps the order
    return current_job().attempt


@app.task(run_in="process")
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


class Halve(TaskClass):
    run_in = "process"
    kill_after = 1

    def run(self, number: int) -> float:
        self.log.info("halving")
        return number / 2


halve = app.task(Halve)


@app.task(run_in="process")
def own(url: str, began: str) -> None:
    other = App(url)
    other.sync.run(other.job("listen", began))


@app.task(run_in="process", batch=Batch(3, wait=0.05), retry=Retry(2, on=(LookupError,), wait=0.01))
def look_up(points: list[Point]) -> list[Any]:
    """Fail in several ways, each for one job."""
    jobs = current_job().batch
    current_job().progress(len(points))
    if any(point.x == 99 for point in points):
        raise KeyError("all")
    return [_found(point, job.attempt) for point, job in zip(points, jobs, strict=True)]


def _found(point: Point, attempt: int) -> Any:
    if point.x == 0:
        return LookupError("try again") if attempt == 1 else "found later"
    if point.x == 1:
        return KeywordOnly(code=7)
    return object() if point.x == 2 else [point.x, os.getpid()]


@app.task(run_in="process", batch=Batch(2, wait=0.05))
def count_wrongly(numbers: list[int]) -> list[int]:
    return [1]


@app.task(run_in="process", batch=Batch(2, wait=60), kill_after=0.2)
def hang(numbers: list[int]) -> None:
    time.sleep(300)


@app.task(run_in="process", batch=Batch(2, wait=60))
def die_with_all(numbers: list[int]) -> None:
    os._exit(3)
