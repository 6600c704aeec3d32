"""How listeners hear of changes: from the calling thread, from other processes, and when nobody says a word."""

from __future__ import annotations

import errno
import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread, current_thread

import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker, wakeup
from nursery_tasks.brokers.sqlite.sockets import Mailbox, Post, decode_hint, encode_hint, socket_directory
from nursery_tasks.model.delivery import CancelAnswer, Hint, Topic
from nursery_tasks.testing.contract.steps import cancel, claim_one, job, settle, submit, succeeded

OpenBroker = Callable[..., SqliteBroker]
SECONDS = 10.0  # for what happens at once; much, because the machine may be busy


class Ear:
    """Keeps what it hears, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self._lock = Lock()
        self._new = Event()

    def __call__(self, hint: Hint) -> None:
        with self._lock:
            self.heard.append(hint)
            self._new.set()

    def wait_for(self, topic: Topic, name: str | None = None) -> Hint:
        """Wait for a hint; *name* None: for one that names nothing."""
        give_up_at = time.monotonic() + SECONDS
        while True:
            with self._lock:
                self._new.clear()
                for hint in self.heard:
                    if hint.topic == topic and (not hint.names if name is None else name in hint.names):
                        return hint
            if not self._new.wait(give_up_at - time.monotonic()):
                raise AssertionError(f"no hint of {topic} {name} came, only {self.heard}")


@pytest.fixture
def no_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is heard then came by a datagram."""
    monkeypatch.setattr(wakeup, "LOOK_SECONDS", 3600.0)


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is heard from another broker then was seen in the file."""
    monkeypatch.setattr(wakeup, "open_mailbox", lambda directory, topics: None)


def mailboxes(path: Path) -> list[str]:
    directory = socket_directory(path)
    return sorted(os.listdir(directory)) if directory.exists() else []


def test_a_local_listener_is_told_by_the_thread_that_made_the_change(broker: SqliteBroker) -> None:
    threads = []
    listener = broker.listen(["work"], lambda hint: threads.append((current_thread(), hint)))
    submit(broker, "a")
    listener.close()
    assert threads == [(current_thread(), Hint("work", ("work",)))]


@pytest.mark.usefixtures("no_looking")
def test_another_broker_on_the_file_is_told_by_datagram(open_broker: OpenBroker) -> None:
    here, there = open_broker(), open_broker()
    ear = Ear()
    listener = there.listen(["work", "due", "cancel", "outcome"], ear)
    submit(here, job("a"), job("later", delay_seconds=60))
    ear.wait_for("work", "work")
    ear.wait_for("due", "work")
    delivery = claim_one(here, "a")
    cancel(here, "a", CancelAnswer.REQUESTED)
    ear.wait_for("cancel", "a")
    settle(here, succeeded(delivery))
    ear.wait_for("outcome", "a")
    listener.close()


@pytest.mark.usefixtures("no_looking")
def test_only_the_topics_asked_for_are_sent(open_broker: OpenBroker) -> None:
    here, there = open_broker(), open_broker()
    ear = Ear()
    listener = there.listen(["outcome"], ear)
    submit(here, "a")
    settle(here, succeeded(claim_one(here, "a")))
    ear.wait_for("outcome", "a")
    listener.close()
    assert {hint.topic for hint in ear.heard} == {"outcome"}


def test_another_process_is_told(broker: SqliteBroker, path: Path) -> None:
    program = """
import sys, threading
from nursery_tasks.brokers.sqlite import SqliteBroker, wakeup
wakeup.LOOK_SECONDS = 3600.0
broker = SqliteBroker(sys.argv[1])
heard = threading.Event()
listener = broker.listen(["work"], lambda hint: "work" in hint.names and heard.set())
print("listening", flush=True)
print("heard" if heard.wait(10) else "nothing", flush=True)
listener.close()
broker.close()
"""
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "listening\n"
        submit(broker, "a")
        assert other.stdout.readline() == "heard\n"


@pytest.mark.usefixtures("no_sockets")
def test_a_change_without_a_datagram_is_seen(open_broker: OpenBroker) -> None:
    here, there = open_broker(), open_broker()
    ear = Ear()
    listener = there.listen(["work", "outcome"], ear)
    submit(here, "a")
    ear.wait_for("work")
    ear.wait_for("outcome")
    listener.close()


def test_a_program_without_this_package_is_seen(broker: SqliteBroker, path: Path) -> None:
    ear = Ear()
    listener = broker.listen(["work"], ear)
    program = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    connection.execute("INSERT INTO inbox (body) VALUES ('{}')")
"""
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=30)
    ear.wait_for("work")
    listener.close()


def test_nothing_is_said_while_nothing_happens(broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "LOOK_SECONDS", 0.0)
    looks: list[bool] = []
    looked = Event()
    see = wakeup._Eyes.saw_change

    def watch(eyes: wakeup._Eyes) -> bool:
        looks.append(see(eyes))
        if len(looks) == 20:
            looked.set()
        return looks[-1]

    monkeypatch.setattr(wakeup._Eyes, "saw_change", watch)
    ear = Ear()
    listener = broker.listen(["work"], ear)
    assert looked.wait(SECONDS)
    listener.close()
    assert ear.heard == []
    assert not any(looks)


# --- sockets --------------------------------------------------------------------------------------------------------------


def test_the_directory_of_the_sockets_goes_with_the_last_listener(open_broker: OpenBroker, path: Path) -> None:
    here, there = open_broker(), open_broker()
    first = here.listen(["work", "cancel"], lambda hint: None)
    second = there.listen(["outcome"], lambda hint: None)
    assert [name.split(".")[0] for name in mailboxes(path)] == ["o", "wc"]
    first.close()
    assert [name.split(".")[0] for name in mailboxes(path)] == ["o"]
    second.close()
    assert not socket_directory(path).exists()


def test_the_socket_of_a_dead_process_is_deleted(broker: SqliteBroker, path: Path) -> None:
    directory = socket_directory(path)
    directory.mkdir()
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(directory / "wdco.1.00000000"))
    dead.close()
    submit(broker, "a")
    assert mailboxes(path) == []


def test_the_last_listener_removes_the_sockets_of_dead_processes_too(broker: SqliteBroker, path: Path) -> None:
    listener = broker.listen(["work"], lambda hint: None)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(socket_directory(path) / "o.1.00000000"))
    dead.close()
    listener.close()
    assert not socket_directory(path).exists()


def test_a_listener_that_leaves_is_none_of_another_process(broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Mailbox.close

    def close_late(mailbox: Mailbox) -> None:
        submit(broker, "a")
        close(mailbox)

    monkeypatch.setattr(Mailbox, "close", close_late)
    broker.listen(["work"], lambda hint: None).close()
    assert broker._audience._post._socket is None


def test_a_sender_that_nobody_closes_leaves_no_socket_open(path: Path) -> None:
    """As with `app.sync`, which need not be closed."""
    mailbox = Mailbox(socket_directory(path), ["work"])
    post = Post(socket_directory(path))
    post.send([Hint("work", ("q",))])
    assert mailbox.receive() == b"wq"
    opened = post._socket
    assert opened is not None
    del post
    gc.collect()
    assert opened.fileno() == -1
    mailbox.close()


@pytest.mark.parametrize("missing", ["threading.Thread.start", "socket.socketpair"])
def test_a_listener_that_cannot_begin_leaves_nothing_behind(
    broker: SqliteBroker, path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EMFILE, "too many, says the test")

    monkeypatch.setattr(missing, refuse)
    with pytest.raises(OSError, match="says the test"):
        broker.listen(["work"], lambda hint: None)
    monkeypatch.undo()
    gc.collect()  # what is open still is an error
    assert not socket_directory(path).exists()
    assert broker._audience._members == ()


def test_a_full_socket_costs_the_sender_nothing_and_the_listener_no_news(
    open_broker: OpenBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names may be lost; then the listener is told to look at everything."""
    monkeypatch.setattr(wakeup, "LOOK_SECONDS", 3600.0)
    here, there = open_broker(), open_broker()
    ear, let_go, busy = Ear(), Event(), Event()

    def emit(hint: Hint) -> None:
        ear(hint)
        busy.set()
        let_go.wait(SECONDS)

    listener = there.listen(["work"], emit)
    submit(here, "first")
    assert busy.wait(SECONDS)
    for number in range(100):  # the system keeps far fewer
        submit(here, job(f"job-{number}", queue=f"queue-{number}"))
    let_go.set()
    ear.wait_for("work")
    listener.close()


def test_a_long_path_has_its_sockets_among_the_temporary_files(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    directory = socket_directory(folder / "jobs.db")
    assert directory.parent == Path(tempfile.gettempdir())
    assert directory == socket_directory(folder / ".." / folder.name / "jobs.db")
    assert directory != socket_directory(folder / "other.db")
    here, there = SqliteBroker(folder / "jobs.db"), SqliteBroker(folder / "jobs.db")
    ear = Ear()
    listener = there.listen(["work"], ear)
    assert len(list(directory.iterdir())) == 1
    submit(here, "a")
    ear.wait_for("work", "work")
    listener.close()
    assert not directory.exists()
    here.close()
    there.close()


def test_a_directory_of_somebody_else_is_not_used(open_broker: OpenBroker, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket_directory(path).mkdir()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    here, there = open_broker(), open_broker()
    ear = Ear()
    listener = there.listen(["work"], ear)
    assert mailboxes(path) == []
    submit(here, "a")
    ear.wait_for("work")
    listener.close()


def test_a_new_mailbox_is_seen_by_who_has_just_listed_the_directory(path: Path) -> None:
    """Two changes of a directory within one tick of the file system's clock leave the same time stamp."""
    directory = socket_directory(path)
    post = Post(directory)
    boxes: list[Mailbox] = []
    for number in range(20):
        boxes.append(Mailbox(directory, ["work"]))
        post.send([Hint("work", (str(number),))])
        received = boxes[-1].receive()
        assert received is not None
        assert decode_hint(received) == Hint("work", (str(number),))
    post.close()
    for box in boxes:
        box.close()


@pytest.mark.parametrize("hint", [Hint("work", ("a", "ünï")), Hint("outcome"), Hint("cancel", ("x" * 200,))])
def test_a_datagram_keeps_a_hint(hint: Hint) -> None:
    assert decode_hint(encode_hint(hint)) == hint


def test_a_hint_with_very_many_names_says_anything() -> None:
    hint = Hint("outcome", tuple(f"{number:032}" for number in range(2_000)))
    assert decode_hint(encode_hint(hint)) == Hint("outcome")


def test_a_datagram_of_another_version_is_ignored() -> None:
    assert decode_hint(b"") is None
    assert decode_hint(b"\xff\x00") is None


# --- closing --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "_CLOSE_SECONDS", 0.05)


def test_a_listener_may_close_itself(broker: SqliteBroker) -> None:
    heard = []

    def emit(hint: Hint) -> None:
        heard.append(hint)
        listener.close()

    listener = broker.listen(["work"], emit)
    submit(broker, "a")
    submit(broker, "b")
    assert len(heard) == 1


@pytest.mark.usefixtures("no_looking")
def test_a_listener_may_close_itself_in_its_own_thread(open_broker: OpenBroker, path: Path) -> None:
    here, there = open_broker(), open_broker()
    closed = Event()

    def emit(hint: Hint) -> None:
        listener.close()
        closed.set()

    listener = there.listen(["work"], emit)
    submit(here, "a")
    assert closed.wait(SECONDS)


@pytest.mark.usefixtures("quick_close")
def test_closing_does_not_wait_for_ever_for_a_stuck_listener(broker: SqliteBroker) -> None:
    """Whoever closes may hold what the listener waits for."""
    stuck, let_go = Event(), Event()

    def emit(hint: Hint) -> None:
        stuck.set()
        let_go.wait(SECONDS)

    listener = broker.listen(["work"], emit)
    submitter = Thread(target=submit, args=(broker, "a"))
    submitter.start()
    assert stuck.wait(SECONDS)
    listener.close()
    broker.close()
    let_go.set()
    submitter.join()


def test_a_listener_that_raises_does_not_fail_the_call(broker: SqliteBroker, caplog: pytest.LogCaptureFixture) -> None:
    def emit(hint: Hint) -> None:
        raise RuntimeError("not my day")

    listener = broker.listen(["work"], emit)
    submit(broker, "a")
    listener.close()
    assert "a listener raised on a hint of topic 'work'" in caplog.text
