"""A program that forks, as gunicorn with `preload_app`: the child has a connection of its own, and the parent's goes on."""

from __future__ import annotations

import importlib
import importlib.abc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio import to_thread
from rabbit_server import fresh_rabbit_url
from redis_server import fresh_url
from support import DEADLINE, working

from nursery_tasks import App, Job, JobState, current_job, forks
from nursery_tasks.errors import AppNotOpen, BrokerError, NoLoopBehind, NotSupported
from nursery_tasks.forks import imports_late

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning"),
]


def job_of(app: App, name: str, job_id: str) -> Job[Any]:
    """Return a job with an id of its own."""

    async def nothing() -> None:
        """Do nothing."""

    return app.task(name=name)(nothing).options(id=job_id).job()


def in_child(work: Callable[[], object]) -> None:
    """Do it in a forked child; a failure there is one here."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(ours)
            signal.signal(signal.SIGALRM, signal.default_int_handler)  # or a child that hangs would be waited for
            signal.alarm(int(DEADLINE))
            work()
            code = 0
        except BaseException:
            os.write(theirs, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(theirs)
    with os.fdopen(ours) as said:
        text = said.read()
    status = os.waitpid(child, 0)[1]
    assert status == 0, text


on_what_processes_share = pytest.mark.parametrize("url", ["sqlite", "redis", "amqp"], indirect=True)


@on_what_processes_share
def test_the_sync_client_of_a_child_opens_its_own(url: str) -> None:
    app = App(url)
    with closing(app.sync):
        before = app.sync.enqueue(app.job("before"))

        def use() -> None:
            assert app.sync.enqueue(job_of(app, "in_child", "of-the-child")).status() is JobState.READY
            assert before.status() is JobState.READY
            app.sync.close()
            assert before.status() is JobState.READY  # and opens it once more
            app.sync.close()

        for _ in range(2):
            in_child(use)
            assert app.sync.handle("of-the-child").status() is JobState.READY
            assert app.sync.enqueue(app.job("after")).status() is JobState.READY


def test_rabbitmq_without_a_store_too() -> None:
    with fresh_rabbit_url("") as url:
        app = App(url)
        with closing(app.sync):
            app.sync.enqueue(app.job("before"))

            def use() -> None:
                app.sync.enqueue(app.job("in_child"))
                app.sync.close()

            in_child(use)
            app.sync.enqueue(app.job("after"))


@on_what_processes_share
def test_a_child_of_an_open_app_is_outside_of_it_and_can_open_it(url: str) -> None:
    app = App(url)

    async def alone() -> None:
        with pytest.raises(AppNotOpen):
            await app.enqueue_many([app.job("nowhere")])
        async with app:
            await app.enqueue_many([job_of(app, "in_child", "of-the-child")])

    async def main() -> None:
        async with app:
            await app.enqueue_many([app.job("before")])
            await to_thread.run_sync(in_child, lambda: anyio.run(alone))
            assert await app.handle("of-the-child").status() is JobState.READY
            await app.enqueue_many([app.job("after")])

    anyio.run(main)


def test_what_a_child_was_told_is_stored_stays_when_its_parent_closes(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    app.sync.enqueue(job_of(app, "before", "before"))
    heard, tell = os.pipe()
    done, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            app.sync.enqueue(job_of(app, "one", "one"))
            os.write(say, b"1")
            os.read(heard, 1)
            app.sync.enqueue(job_of(app, "two", "two"))
            os.write(say, b"2")
        finally:
            os._exit(0)
    assert os.read(done, 1) == b"1"
    app.sync.close()  # the last connection, were it not for the child's
    os.write(tell, b"x")
    assert os.read(done, 1) == b"2"
    os.waitpid(child, 0)
    with closing(app.sync):
        assert [app.sync.handle(name).status() for name in ("before", "one", "two")] == [JobState.READY] * 3
    for end in (heard, tell, done, say):
        os.close(end)


@on_what_processes_share
def test_forks_while_calls_are_under_way(url: str) -> None:
    app, ends = App(url), threading.Event()
    sent: list[str] = []

    def submit() -> None:
        while not ends.is_set():
            sent.append(app.sync.enqueue(app.job("parent")).id)

    threads = [threading.Thread(target=submit) for _ in range(2)]
    with closing(app.sync):
        app.sync.enqueue(app.job("before"))
        for thread in threads:
            thread.start()
        try:
            for number in range(5):
                in_child(partial(app.sync.enqueue, job_of(app, "child", f"child-{number}")))
        finally:
            ends.set()
            for thread in threads:
                thread.join()
        assert {app.sync.handle(f"child-{number}").status() for number in range(5)} == {JobState.READY}
        assert {app.sync.handle(job_id).status() for job_id in sent[:50]} == {JobState.READY}


def test_a_call_that_does_not_end_is_no_reason_to_wait_and_the_child_says_so(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    inside, go_on = threading.Event(), threading.Event()
    with closing(app.sync):
        app.sync.enqueue(app.job("before"))
        broker = app.sync.broker()

        def long(cursor: object, now: float) -> None:
            inside.set()
            go_on.wait(DEADLINE)

        thread = threading.Thread(target=broker._database.write, args=(long,))  # type: ignore[attr-defined]
        thread.start()
        inside.wait(DEADLINE)

        def use() -> None:
            with pytest.raises(BrokerError, match="forked during a call of its parent's that took longer than 1 s"):
                app.sync.enqueue(app.job("in_child"))

        in_child(use)
        go_on.set()
        thread.join()
        app.sync.enqueue(app.job("after"))


def test_memory_in_a_child_refuses_where_its_parent_has_the_jobs() -> None:
    app = App("memory:")
    with closing(app.sync):
        app.sync.enqueue(app.job("before"))

        def use() -> None:
            with pytest.raises(NotSupported, match=r"memory: has no way from a forked process into the memory of its parent"):
                app.sync.enqueue(app.job("in_child"))
            app.sync.close()

        in_child(use)
        app.sync.enqueue(app.job("after"))


def test_memory_that_was_not_open_yet_is_the_childs_own() -> None:
    app = App("memory:")
    in_child(lambda: app.sync.enqueue(app.job("in_child")))


async def test_a_child_of_a_handler_may_submit(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")

    def submit(name: str) -> None:
        with pytest.raises(NoLoopBehind):
            current_job().wait(anyio.sleep, 0)
        app.sync.enqueue(job_of(app, "sent", name))

    @app.task
    def in_thread() -> None:
        in_child(lambda: submit("from-a-thread"))

    @app.task
    async def in_loop() -> None:
        in_child(lambda: submit("from-the-loop"))

    async with working(app):
        await in_thread.run()
        await in_loop.run()
        for name in ("from-a-thread", "from-the-loop"):
            assert (await app.handle(name).status()) in (JobState.READY, JobState.CLAIMED, JobState.SCHEDULED)


def test_the_servers_side_of_the_parent_is_as_it_was() -> None:
    """Closing in the child must not end what the parent waits for."""
    with fresh_url() as url:
        app = App(url)
        with closing(app.sync):
            job = app.sync.enqueue(app.job("never"))
            with app.sync.lock("door"):

                def use() -> None:
                    assert job.status() is JobState.READY
                    with pytest.raises(TimeoutError), app.sync.lock("door", wait=0.05):
                        pass
                    app.sync.close()
                    sys.stdout.flush()

                in_child(use)
            with app.sync.lock("door", wait=DEADLINE):
                pass


def test_a_fork_waits_for_what_another_thread_imports() -> None:
    """In the child nobody would ever end that import: who opens a broker there would wait for it for ever."""
    begun, go_on = threading.Event(), threading.Event()

    class Loader(importlib.abc.Loader):
        def exec_module(self, module: ModuleType) -> None:
            begun.set()
            go_on.wait(DEADLINE)

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(name, Loader()) if name == "slow_to_import" else None

    def import_it() -> None:
        with imports_late():
            importlib.import_module("slow_to_import")

    finder = Finder()
    sys.meta_path.insert(0, finder)
    try:
        importing = threading.Thread(target=import_it)
        importing.start()
        assert begun.wait(DEADLINE)
        release = threading.Timer(0.2, go_on.set)
        release.start()
        in_child(import_it)
        importing.join()
    finally:
        go_on.set()
        sys.meta_path.remove(finder)
        sys.modules.pop("slow_to_import", None)


def test_hooks_that_are_registered_during_a_fork_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def register() -> None:
        if not called:
            forks.at_fork(before=lambda: called.append("late before"), in_parent=lambda: called.append("late in parent"))
        called.append("before")

    monkeypatch.setattr(forks._Here, "hooks", forks._Here.hooks)
    forks.at_fork(before=register)
    in_child(lambda: None)
    assert called == ["before"]
    in_child(lambda: None)
    assert called == ["before", "late before", "before", "late in parent"]


def test_a_fork_waits_while_another_thread_starts_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the child has a copy of the pipe whose end `Popen` waits for, and it waits for as long as the child lives."""
    begun, start = threading.Event(), subprocess._fork_exec  # type: ignore[attr-defined]

    def start_slowly(*args: Any) -> Any:
        begun.set()
        time.sleep(0.2)
        return start(*args)

    monkeypatch.setattr(subprocess, "_fork_exec", start_slowly)
    starting = threading.Thread(target=subprocess.run, args=([sys.executable, "-c", ""],), daemon=True)
    starting.start()
    assert begun.wait(DEADLINE)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        os.read(ours, 1)  # until its parent lets it go
        os._exit(0)
    starting.join(DEADLINE)
    was_stuck = starting.is_alive()
    os.close(theirs)
    os.close(ours)
    os.waitpid(child, 0)
    starting.join(DEADLINE)
    assert not was_stuck


BESIDE_EACH_OTHER = """
import subprocess, sys, threading, time
from nursery_tasks import forks

def start():
    subprocess.run([sys.executable, "-c", ""], preexec_fn=lambda: None)  # which makes Popen call the hooks

threads = [threading.Thread(target=start) for _ in range(8)]
began = time.monotonic()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(time.monotonic() - began < forks.START_SECONDS)
"""


def test_programs_that_start_beside_each_other_do_not_wait_for_each_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_EACH_OTHER], capture_output=True, text=True, check=True, timeout=DEADLINE
    )
    assert done.stdout == "True\n"
