"""How a host starts, and what is said when it cannot: the main module, functions that cannot be found, strangers."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import process_tasks
import pytest
from anyio import create_task_group, fail_after, move_on_after
from host_tools import ASYNCIO, TRIO, UVLOOP, hosts_of_this_process, lives, register
from support import DEADLINE, until, working

from nursery_tasks import App
from nursery_tasks.errors import FunctionNotFound, HostDied, InvalidOptions, JobTimedOut, NotSupported
from nursery_tasks.execution.in_process.guard import KILL
from nursery_tasks.execution.in_process.rendezvous import Rendezvous

UNGUARDED = """
import anyio
from nursery_tasks import App
app = App("memory:")

@app.task(run_in="process")
def double(number: int) -> int:
    return 2 * number

async def main():
    async with app, app.open_worker(processes=1):
        try:
            print(await double.run(4))
        except Exception as error:
            print(type(error).__name__, error)

{start}
"""


def run_program(folder: Path, text: str) -> str:
    (folder / "program.py").write_text(text)
    return run_command(folder, "program.py")


def run_command(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, *arguments]  # without -W error: asyncio warns of processes that AnyIO could not start
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=40)
    # AnyIO leaves a process that it could not start to asyncio, which may see its end only after that of the loop.
    is_asyncios = done.stderr.startswith(("Loop <_UnixSelectorEventLoop", "Exception ignored in: <function BaseSubprocess"))
    said = "" if is_asyncios else done.stderr
    assert (done.returncode, said) == (0, "")
    return done.stdout


@ASYNCIO
async def test_a_task_of_the_program_itself_is_found_when_it_is_guarded(tmp_path: Path) -> None:
    text = UNGUARDED.format(start='if __name__ == "__main__":\n    anyio.run(main)')
    assert run_program(tmp_path, text) == "8\n"


@ASYNCIO
async def test_a_main_module_without_a_guard_is_told_so_and_starts_nothing_twice(tmp_path: Path) -> None:
    said = run_program(tmp_path, UNGUARDED.format(start="anyio.run(main)"))
    assert said.startswith("HostDied the process of double (")
    assert 'put what the module does under `if __name__ == "__main__":`' in said


@ASYNCIO
async def test_a_main_module_that_fails_when_it_is_imported_again_is_told_so(tmp_path: Path) -> None:
    start = 'if __name__ == "__main__":\n    anyio.run(main)\nelse:\n    raise KeyError("no settings")'
    said = run_program(tmp_path, UNGUARDED.format(start=start))
    assert "importing the main module again raised KeyError: 'no settings'" in said


@ASYNCIO
async def test_a_program_without_a_file_can_have_processes(tmp_path: Path) -> None:
    code = "import anyio, process_tasks as p\nasync def main():\n    print(await p.double.run_local(4))\nanyio.run(main)"
    assert run_command(tmp_path, "-c", code) == "8\n"


PACKAGE = """
import anyio

from nursery_tasks import App

app = App("memory:")


@app.task(run_in="process")
def double(number: int) -> int:
    return 2 * number


async def work() -> None:
    print(await double.run_local(4))


def main() -> None:
    print("main")
    anyio.run(work)
"""


@ASYNCIO
async def test_the_main_module_of_a_package_needs_no_guard(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "app.py").write_text(PACKAGE)
    (package / "__main__.py").write_text("from .app import main\n\nmain()\nprint(__file__ == str(__file__))\n")
    assert run_command(tmp_path, "-m", "shop") == "main\n8\nTrue\n"


@ASYNCIO
async def test_a_task_in_the_main_module_of_a_package_is_found_when_that_is_guarded(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__main__.py").write_text(PACKAGE + '\n\nif __name__ == "__main__":\n    main()\n')
    assert run_command(tmp_path, "-m", "shop") == "main\n8\n"


# --- functions ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_in", ["process"])
def test_what_cannot_be_found_by_import_is_refused(memory_app: App, run_in: str) -> None:
    def local() -> None: ...

    async def waits() -> None: ...

    class Callable:
        def __call__(self) -> None: ...

    with pytest.raises(InvalidOptions, match="a function at the top of a module"):
        memory_app.task(run_in=run_in)(local)
    with pytest.raises(InvalidOptions, match="a function at the top of a module"):
        memory_app.task(run_in=run_in, name="x")(lambda: None)
    with pytest.raises(InvalidOptions, match=r"an object of .*Callable"):
        memory_app.task(run_in=run_in, name="x")(Callable())
    with pytest.raises(InvalidOptions, match="has no event loop to run it on, write a def"):
        memory_app.task(run_in=run_in)(waits)


@pytest.mark.parametrize("run_in", ["thread", None])
def test_only_a_process_can_be_killed(memory_app: App, run_in: str | None) -> None:
    options: Any = {"kill_after": 1, **({"run_in": run_in} if run_in else {})}
    with pytest.raises(InvalidOptions, match="kill_after=1: expected run_in='process'"):
        memory_app.task(**options)(process_tasks.double.spec.function)
    with pytest.raises(InvalidOptions, match="kill_after='soon'"):
        memory_app.task(run_in="process", kill_after="soon")(process_tasks.double.spec.function)  # type: ignore[arg-type, call-overload]


@TRIO
async def test_a_function_that_is_not_registered_there_says_what_to_do(memory_app: App) -> None:
    tell = memory_app.task(run_in="process")(process_tasks.tell)
    async with working(memory_app, processes=1):
        with pytest.raises(FunctionNotFound, match="registers no task with this function"):
            await tell.run("x")


@UVLOOP
async def test_a_module_that_cannot_be_imported_there_says_so(
    memory_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "gone_later.py").write_text("def job() -> int:\n    return 1\n")
    import gone_later  # type: ignore[import-not-found, unused-ignore]

    job = memory_app.task(run_in="process")(gone_later.job)
    (tmp_path / "gone_later.py").write_text("1 / 0")
    async with working(memory_app, processes=1):
        with pytest.raises(FunctionNotFound, match="importing gone_later raised ZeroDivisionError"):
            await job.run()
    del sys.modules["gone_later"]


@ASYNCIO
async def test_a_memory_broker_cannot_be_reached_from_a_process(memory_app: App) -> None:
    submit = register(memory_app, process_tasks.submit)
    async with working(memory_app, processes=1):
        with pytest.raises(NotSupported, match="no way from a process for handlers"):
            await submit.run("memory:")


# --- the start itself --------------------------------------------------------------------------------------------------------


async def test_cancelled_starts_leak_nothing(memory_app: App) -> None:
    double = register(memory_app, process_tasks.double)
    async with working(memory_app, processes=3):
        for _ in range(3):
            with move_on_after(0.01):
                async with create_task_group() as group:
                    for number in range(3):
                        group.start_soon(double.run, number)
        assert await double.run(4) == 8
        assert len(hosts_of_this_process()) <= 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # AnyIO does not close what it cannot start
async def test_a_host_that_cannot_start_is_tried_twice_and_then_told(memory_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    double = register(memory_app, process_tasks.double)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with working(memory_app, processes=1):
        with pytest.raises(HostDied, match="could not be started"):
            await double.run(4)
        monkeypatch.undo()
        assert await double.run(4) == 8


async def test_only_who_knows_the_secret_is_let_in() -> None:
    with Rendezvous() as place, fail_after(DEADLINE):
        folder = Path(place.address).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        async with create_task_group() as group:
            found: list[Any] = []

            async def accept() -> None:
                found.append(await place.accept())

            group.start_soon(accept)
            for said in (b"x" * 32 + b"1 2", b"", place.secret[:-1]):
                with socket.socket(socket.AF_UNIX) as stranger:
                    stranger.connect(place.address)
                    stranger.sendall(said)
                    stranger.shutdown(socket.SHUT_WR)
                    await until(lambda stranger=stranger: is_closed(stranger))  # type: ignore[misc]
            assert not found
            group.cancel_scope.cancel()
    assert not folder.exists()


@ASYNCIO
async def test_a_guard_stays_until_its_worker_has_seen_the_end(tmp_path: Path) -> None:
    module = "nursery_tasks.execution.in_process.guard"
    code = f"import sys\nfrom {module} import host_main\nhost_main(sys.argv[1], bytes.fromhex(sys.argv[2]))"
    with Rendezvous() as place, fail_after(DEADLINE):
        command = [sys.executable, "-c", code, place.address, place.secret.hex()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guard:  # noqa: ASYNC220
            connected = await place.accept()
            connected.control.send(KILL)
            await until(lambda: is_closed(connected.link))
            connected.control.send(KILL)  # as the worker does when it finds the link closed
            assert guard.stdout is not None
            assert await anyio.to_thread.run_sync(guard.stdout.read) == b""  # the host is gone,
            with pytest.raises(subprocess.TimeoutExpired):  # but asyncio may still kill the guard
                await anyio.to_thread.run_sync(lambda: guard.wait(0.2))
            connected.control.close()
            await anyio.to_thread.run_sync(guard.wait)
            connected.link.close()
            for descriptor in (connected.out, connected.err):
                os.close(descriptor)


def is_closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


# --- without a worker --------------------------------------------------------------------------------------------------------


async def test_run_local_has_a_process_for_the_call(tmp_path: Path) -> None:
    with fail_after(DEADLINE):
        assert await process_tasks.double.run_local(4) == 8
        with pytest.raises(ExceptionGroup) as caught:
            await process_tasks.fail.run_local("group")
        assert [type(error) for error in caught.value.exceptions] == [ValueError, FileNotFoundError]
        with pytest.raises(HostDied, match="SIGSEGV"):
            await process_tasks.die.run_local("segfault")
        limited: Any = process_tasks.stubborn.options(timeout=0.3)
        with pytest.raises(JobTimedOut):
            await limited.run_local(str(tmp_path / "began"), "sleep")
        assert not any(lives(int(pid)) for pid in (tmp_path / "began").read_text().split())
        limited = process_tasks.listen.options(timeout=0.3)
        with pytest.raises(JobTimedOut):
            await limited.run_local(str(tmp_path / "heard"))
        assert (tmp_path / "heard.cleaned").exists()
        assert hosts_of_this_process() == []


@ASYNCIO
async def test_on_a_virtual_clock_processes_run_on_the_loop(memory_app: App) -> None:
    about = register(memory_app, process_tasks.about_me)
    async with working(memory_app, threads=False):
        assert (await about.run())["pid"] == os.getpid()
        await anyio.lowlevel.checkpoint()
