"""What can happen to the file of `sqlite:///` while programs use it: locked for good, replaced, not to be written any more."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest
from anyio import create_task_group, fail_after
from places import DISK
from support import open_file, until

from nursery_tasks import App
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.brokers.sqlite.failures import to_broker_error
from nursery_tasks.errors import BrokerClosed, BrokerFull, BrokerReplaced, BrokerUnavailable, BrokerUnreachable
from nursery_tasks.testing.contract.steps import job, submit

TASKS = """
import anyio
from nursery_tasks import App
app = App("sqlite:///jobs.db")
@app.task
async def nap(seconds: float) -> float:
    await anyio.sleep(seconds)
    return seconds
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nt", dir=DISK) as name:  # pytest's own have names too long for sockets
        yield Path(name).resolve()


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "jobs.db"


class Command:
    """A worker at the command line."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "tasks_here.py").write_text(TASKS)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nursery_tasks", "run", "tasks_here:app", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""

    def wait_for(self, text: str) -> None:
        """Read until it has said this."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if text in line:
                return
        pytest.fail(f"no {text!r} in:\n{self.said}")

    def end(self, seconds: float) -> int:
        """Wait until it has ended, and return its exit code."""
        rest, _ = self.process.communicate(timeout=seconds)
        self.said += rest
        return self.process.returncode


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*arguments: str) -> Command:
        started.append(Command(folder, *arguments))
        started[-1].wait_for("to stop")
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.communicate()


# --- locked for good ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_a_worker_stops_in_time_while_another_process_keeps_the_file_locked(
    folder: Path, path: Path, run: Callable[..., Command], loop: str, is_busy: bool
) -> None:
    command = run("--backend", loop, "--drain", "1")
    if is_busy:
        app = App(f"sqlite:///{path}")
        with closing(app.sync) as client:
            client.enqueue(app.job("nap", 3.0))
        command.wait_for("started")
    with closing(open_file(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(1.0)  # its own calls wait for the lock by now
        command.process.send_signal(signal.SIGTERM)
        code = command.end(30)
    assert code != 70, command.said  # its watchdog has not had to end it, which it would have after 1 + 5 + 4 s
    assert "giving up" not in command.said


def test_a_broker_is_closed_at_once_while_another_process_keeps_the_file_locked(path: Path) -> None:
    broker = SqliteBroker(path, busy_seconds=60.0)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    refused: list[Exception] = []

    def submit_one(name: str) -> None:
        try:
            broker.submit([job(name)])
        except (BrokerUnavailable, BrokerClosed) as error:
            refused.append(error)

    threads = [threading.Thread(target=submit_one, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    while not broker._database._writing.locked():
        time.sleep(0.001)
    began = time.monotonic()
    broker.close()
    for thread in threads:
        thread.join()
    other.close()
    assert time.monotonic() - began < 10
    assert len(refused) == 3


# --- deleted or replaced --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "replaced"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_worker_whose_file_was_deleted_or_replaced_ends_and_says_so(
    folder: Path, path: Path, run: Callable[..., Command], loop: str, how: str
) -> None:
    command = run("--backend", loop)
    path.unlink()
    if how == "replaced":
        path.touch()
    assert command.end(30) == 1
    last = [line for line in command.said.splitlines() if line.startswith("error:")]
    assert len(last) == 1
    assert f"{path} was deleted or replaced; restart all programs that use it" in last[0]
    assert "Traceback" not in command.said


async def test_whoever_waits_for_a_job_of_a_file_that_is_gone_is_told(path: Path) -> None:
    app = App(f"sqlite:///{path}")
    with fail_after(30):
        async with app:
            [handle] = await app.enqueue_many([app.job("nobody_knows_it")])
            os.unlink(path)
            with pytest.raises(BrokerReplaced, match="was deleted or replaced"):
                await handle


def test_a_program_without_a_loop_that_waits_is_told_too(path: Path) -> None:
    app = App(f"sqlite:///{path}")
    with closing(app.sync) as client:
        handle = client.enqueue(app.job("nobody_knows_it"))
        os.unlink(path)
        with pytest.raises(BrokerReplaced, match="was deleted or replaced"):
            handle.result(timeout=30)


async def test_whoever_watches_one_is_told(path: Path) -> None:
    app = App(f"sqlite:///{path}")
    with fail_after(30):
        async with app:
            [handle] = await app.enqueue_many([app.job("nobody_knows_it")])
            watch = handle.watch()
            await anext(watch)
            os.unlink(path)
            with pytest.raises(BrokerReplaced):
                await anext(watch)


def test_whoever_watches_one_without_a_loop_is_told_too(path: Path) -> None:
    app = App(f"sqlite:///{path}")
    with closing(app.sync) as client:
        watch = client.enqueue(app.job("nobody_knows_it")).watch(timeout=30)
        next(watch)
        os.unlink(path)
        with pytest.raises(BrokerReplaced):
            next(watch)


@pytest.fixture
def taken(path: Path) -> Iterator[SqliteBroker]:
    """The lock `reports` is another program's."""
    broker = SqliteBroker(path)
    broker.locks.lock("reports", b"x" * 16, 1000.0, wait=False)
    yield broker
    broker.close()


async def test_whoever_stands_in_line_for_a_lock_is_told(path: Path, taken: SqliteBroker) -> None:
    app = App(f"sqlite:///{path}")

    async def stand() -> None:
        with pytest.raises(BrokerReplaced):
            async with app.lock("reports"):
                pytest.fail("it is another program's")

    with fail_after(30):
        async with app, create_task_group() as waiting:
            waiting.start_soon(stand)
            await until(lambda: taken.locks.list_locks(1)[0].waiting)
            os.unlink(path)


def test_whoever_stands_in_line_without_a_loop_is_told_too(path: Path, taken: SqliteBroker) -> None:
    app = App(f"sqlite:///{path}")

    def remove() -> None:
        while not taken.locks.list_locks(1)[0].waiting:
            time.sleep(0.01)
        os.unlink(path)

    removing = threading.Thread(target=remove)
    removing.start()
    with closing(app.sync) as client, pytest.raises(BrokerReplaced), client.lock("reports", wait=30):
        pytest.fail("it is another program's")
    removing.join()


def test_nothing_is_written_into_a_file_that_is_gone(path: Path) -> None:
    broker = SqliteBroker(path)
    submit(broker, "a")
    path.unlink()
    calls: list[Callable[[], object]] = [
        lambda: broker.submit([job("b")]),
        lambda: broker.claim(["work"], 1, "w", 15.0),
        lambda: broker.cancel(["a"], None),
        lambda: broker.renew_owners([b"owner"], 0.0),
        lambda: broker.outcomes(["a"]),
        lambda: broker.sweep(10),
    ]
    for call in calls:
        with pytest.raises(BrokerReplaced):
            call()
    broker.close()


# --- not to be written ----------------------------------------------------------------------------------------------------


@pytest.fixture
def immutable() -> Iterator[Callable[[Path], None]]:
    """Make files immutable, as `chattr +i` does; a skip where that is not possible."""
    made: list[Path] = []

    def make(path: Path) -> None:
        tool = shutil.which("chattr")
        if tool is None or subprocess.run([tool, "+i", path], capture_output=True).returncode:
            pytest.skip("files cannot be made immutable here")
        made.append(path)

    yield make
    for path in made:
        subprocess.run(["chattr", "-i", path], check=True)


def test_a_log_that_is_immutable_is_not_a_full_disk(path: Path, immutable: Callable[[Path], None]) -> None:
    broker = SqliteBroker(path)
    submit(broker, "a")
    immutable(path.with_name("jobs.db-wal"))
    with pytest.raises(BrokerUnavailable, match=r"may not be written any more .*lsattr") as refused:
        broker.submit([job("b")])
    assert not isinstance(refused.value, BrokerFull)
    with pytest.raises(BrokerUnavailable):
        broker.cancel(["a"], None)
    assert path.with_name("jobs.db-reserve").exists()  # the reserve is for a full disk
    broker.close()


def test_a_file_that_is_immutable_is_refused_with_the_reason(path: Path, immutable: Callable[[Path], None]) -> None:
    SqliteBroker(path).close()
    immutable(path)
    with pytest.raises(BrokerUnreachable, match=r"jobs\.db is immutable, .*; see lsattr"):
        SqliteBroker(path)


def test_a_directory_that_is_immutable_is_refused_with_the_reason(folder: Path, immutable: Callable[[Path], None]) -> None:
    place = folder / "place"
    place.mkdir()
    immutable(place)
    with pytest.raises(BrokerUnreachable, match=r"place is immutable, .*; see lsattr"):
        SqliteBroker(place / "jobs.db")


def test_a_file_system_that_can_only_be_read_is_refused_with_the_reason(folder: Path) -> None:
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("nothing can be mounted here")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(BrokerUnreachable, match=r"is on a file system that can only be read; mount it for writing"):
            SqliteBroker(folder / "jobs.db")
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (0, "the disk is full"),  # a write that came to less than it should
        (errno.EPERM, "may not be written any more"),
        (errno.EACCES, "may not be written any more"),
        (errno.EROFS, "its file system can only be read"),
    ],
)
def test_what_the_system_says_of_a_failed_write_decides(number: int, said: str) -> None:
    error = apsw.IOError("IOError: disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_WRITE
    told = to_broker_error("sqlite:///x", error, number)
    assert said in str(told)
    assert isinstance(told, BrokerFull) == (said == "the disk is full")


def test_a_log_that_cannot_be_moved_into_the_file_is_told(
    path: Path, immutable: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nursery_tasks.brokers.sqlite.maintenance.SWEEP_PAGES", 1)
    broker = SqliteBroker(path)
    immutable(path)
    submit(broker, *(str(number) for number in range(100)))
    for _ in range(3):
        with suppress(BrokerUnavailable):
            broker.sweep(10)
    broker.close()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "its log grows, it cannot be moved into the file" in told[0]
