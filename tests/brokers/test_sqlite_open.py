"""Opening a database: what is made, what is refused, and in which words."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import apsw
import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker, checks
from nursery_tasks.brokers.sqlite.checks import check_driver, file_system, has_wal_reset_bug
from nursery_tasks.brokers.sqlite.schema import SCHEMA_VERSION
from nursery_tasks.brokers.url import open_broker as open_url
from nursery_tasks.errors import BrokerClosed, BrokerUnavailable, BrokerUnreachable, InvalidBrokerUrl, InvalidOptions
from nursery_tasks.testing.contract.steps import job, submit


def refusal(path: Path | str) -> str:
    with pytest.raises(BrokerUnreachable) as caught:
        SqliteBroker(path, busy_seconds=0.1)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_url_opens_the_file(path: Path) -> None:
    broker = open_url(f"sqlite:///{path}?synchronous=normal&busy_timeout=1.5")
    submit(broker, "a")
    broker.close()
    assert path.exists()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("journal=wal", "sqlite: has no option 'journal', only synchronous and busy_timeout"),
        ("synchronous=off", "synchronous='off' is neither full nor normal"),
        ("busy_timeout=soon", "busy_timeout='soon' is no number of seconds"),
        ("busy_timeout=-1", "busy_timeout='-1' is no number of seconds"),
    ],
)
def test_a_wrong_option_in_the_url_is_named(path: Path, query: str, problem: str) -> None:
    with pytest.raises(InvalidBrokerUrl, match=problem):
        open_url(f"sqlite:///{path}?{query}")
    assert not path.exists()


def test_a_wrong_option_in_the_call_is_named(path: Path) -> None:
    with pytest.raises(InvalidOptions, match="full or normal"):
        SqliteBroker(path, synchronous="off")  # type: ignore[arg-type]


def test_only_the_owner_may_read_the_files(broker: SqliteBroker, path: Path) -> None:
    submit(broker, "a")
    listener = broker.listen(["work"], lambda hint: None)
    names = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    listener.close()
    assert names == {
        "jobs.db": 0o600,
        "jobs.db-wal": 0o600,
        "jobs.db-shm": 0o600,
        "jobs.db-reserve": 0o600,
        "jobs.db-hints": 0o700,
    }


def test_closing_leaves_nothing_but_the_database_and_its_reserve(broker: SqliteBroker, path: Path) -> None:
    broker.listen(["work"], lambda hint: None)
    submit(broker, "a")
    broker.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["jobs.db", "jobs.db-reserve"]


def test_a_relative_path_survives_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    broker = SqliteBroker("jobs.db")
    monkeypatch.chdir("/")
    submit(broker, "a")
    assert len(broker.admin.list_queues()) == 1  # on a connection that was opened after the change
    broker.close()
    assert (tmp_path / "jobs.db").exists()


def test_many_can_make_the_file_at_once(path: Path) -> None:
    together = Barrier(8)
    opened: list[SqliteBroker] = []

    def open_it() -> None:
        together.wait()
        opened.append(SqliteBroker(path))

    threads = [Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 8
    for number, broker in enumerate(opened):
        submit(broker, f"job-{number}")
        broker.close()


# --- refusals -------------------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    text = refusal(tmp_path / "no" / "jobs.db")
    assert f"the directory {tmp_path / 'no'} does not exist, or may not be entered; mkdir -p {tmp_path / 'no'}" in text


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert f"{tmp_path} is a directory; name a file in it" in refusal(tmp_path)


def test_another_kind_of_file_is_no_database(path: Path) -> None:
    path.write_text("these are not the bytes of a database, however many there are of them " * 20)
    assert "the file is no SQLite database" in refusal(path)
    assert path.read_text().startswith("these")


def test_a_database_of_another_program_stays_untouched(path: Path) -> None:
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE customer (name)")
    theirs.close()
    before = path.read_bytes()
    assert f"{path} is the database of another program; give the jobs a file of their own" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("step", "age", "advice"),
    [(1, "a newer", "upgrade this program"), (-SCHEMA_VERSION, "an older", "remove it once its jobs have ended")],
)
def test_tables_of_another_version_are_refused(broker: SqliteBroker, path: Path, step: int, age: str, advice: str) -> None:
    broker.close()
    with_tools = sqlite3.connect(path)
    with_tools.execute(f"PRAGMA user_version = {SCHEMA_VERSION + step}")
    with_tools.close()
    text = refusal(path)
    assert f"was made by {age} version of nursery-tasks" in text
    assert advice in text


def test_a_locked_file_is_reported(path: Path) -> None:
    theirs = apsw.Connection(str(path))  # the same library: locks of another one in this process would not count
    theirs.execute("BEGIN EXCLUSIVE")
    assert "other processes kept the file locked for too long" in refusal(path)
    theirs.close()


def test_missing_rights_are_reported_with_the_user(path: Path) -> None:
    """In a process of its own, which gives up the rights of root if it has them."""
    program = """
import os, sys
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.errors import BrokerUnreachable
if os.geteuid() == 0:
    os.setuid(65534)
for place in sys.argv[1:]:
    try:
        SqliteBroker(place)
    except BrokerUnreachable as error:
        print(error)
"""
    closed = path.parent / "closed"
    closed.mkdir(mode=0o555)
    hidden = path.parent / "hidden"
    (hidden / "deep").mkdir(parents=True)
    secret = path.parent / "secret.db"
    secret.touch(mode=0o000)
    for folder in (path.parent, *path.parent.parents):  # pytest's folders are for their owner only
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o055)
    path.parent.chmod(0o777)
    hidden.chmod(0o000)
    done = subprocess.run(
        [sys.executable, "-c", program, closed / "jobs.db", secret, hidden / "deep" / "jobs.db"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    hidden.chmod(0o700)
    in_closed, of_secret, in_hidden = done.stdout.splitlines()
    assert f"may not create files in {closed}; see ls -ld {closed}" in in_closed
    assert f"may not read and write {secret}; see ls -l {secret}" in of_secret
    assert f"the directory {hidden / 'deep'} does not exist, or may not be entered" in in_hidden


def test_network_file_systems_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "file_system", lambda directory: "nfs4")
    assert f"{path.parent} is on a network file system (nfs4), where SQLite cannot lock; use a local directory" in refusal(path)


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    deep = tmp_path / "a b" / "c"
    deep.mkdir(parents=True)
    escaped = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"disk / ext4 rw 0 0\nserver:/x {escaped} nfs4 rw 0 0\ntmpfs {tmp_path}/a tmpfs rw 0 0\n")
    assert file_system(deep, mounts) == "nfs4"
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(tmp_path, tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("version", "has_bug"),
    [
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.53.0", False),
        ("3.6.23", False),
        ("4.0.0", False),
    ],
)
def test_the_versions_with_the_wal_reset_bug_are_known(version: str, has_bug: bool) -> None:
    assert has_wal_reset_bug(version) is has_bug


def test_an_sqlite_with_the_bug_is_refused() -> None:
    with pytest.raises(BrokerUnreachable, match=r"SQLite 3\.50\.4 can corrupt .*; pip install --upgrade apsw"):
        check_driver("sqlite:///x", "3.50.4")
    check_driver("sqlite:///x")  # the one that is installed here


# --- later ----------------------------------------------------------------------------------------------------------------


def test_a_deleted_file_is_noticed(broker: SqliteBroker, path: Path) -> None:
    submit(broker, "a")
    path.unlink()
    with pytest.raises(BrokerUnavailable, match="was deleted or replaced; restart all programs that use it"):
        broker.submit([job("b")])
    with pytest.raises(BrokerUnavailable, match="was deleted or replaced"):
        broker.sweep(10)


def test_a_file_in_its_place_is_noticed(broker: SqliteBroker, path: Path) -> None:
    submit(broker, "a")
    path.rename(path.with_name("moved.db"))
    path.touch()
    with pytest.raises(BrokerUnavailable, match="was deleted or replaced"):
        broker.submit([job("b")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_told_to_open_its_own(open_broker: Callable[..., SqliteBroker]) -> None:
    broker = open_broker()
    submit(broker, "a")
    receive, send = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            broker.submit([job("b")])
        except BrokerUnavailable as error:
            broker.close()  # does nothing: the connections are its parent's
            send.send(str(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert "it was opened before this process was forked; open the broker in each process" in receive.recv()
    receive.close()
    send.close()
    submit(broker, "c")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize(("seconds", "code"), [(0.2, 0), (1.5, 3)])
def test_a_child_that_is_forked_while_a_thread_opens_a_file_does_not_hang(
    path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, code: int
) -> None:
    """SQLite has locks that are there once per process, and a copy that is locked nobody gives back."""
    begun = Event()
    connect = apsw.Connection

    def slowly(*args: Any, **options: Any) -> apsw.Connection:
        begun.set()
        time.sleep(seconds)
        return connect(*args, **options)

    SqliteBroker(path).close()
    with monkeypatch.context() as patched:
        patched.setattr(apsw, "Connection", slowly)
        opening = Thread(target=lambda: SqliteBroker(path).close())
        opening.start()
        begun.wait()
        child = os.fork()
        if child == 0:
            patched.undo()
            try:
                SqliteBroker(path).submit([job("a")])
            except BrokerUnreachable as error:
                os._exit(3 if "this process was forked during a call" in str(error) else 4)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
        opening.join()


def test_driver_errors_do_not_leak(broker: SqliteBroker, path: Path) -> None:
    with_tools = apsw.Connection(str(path))
    with_tools.execute("ALTER TABLE job RENAME TO jobs_of_tomorrow")
    with_tools.close()
    with pytest.raises(BrokerUnavailable, match="the file's tables are not those of this version"):
        broker.outcomes(["a"])
    with pytest.raises(BrokerUnavailable, match="the file's tables are not those of this version"):
        broker.submit([job("a")])


def test_every_call_after_a_close_says_so(broker: SqliteBroker) -> None:
    broker.close()
    broker.close()
    submit, sweep, listen = lambda: broker.submit([job("a")]), lambda: broker.sweep(1), lambda: broker.listen([], print)
    for call in (submit, sweep, broker.admin.list_queues, listen):
        with pytest.raises(BrokerClosed, match="is closed"):
            call()
