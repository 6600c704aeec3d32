"""The ready-made tasks: there only when an app asks for them, and bounded in what they reach."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from support import DEADLINE

from nursery_tasks import App, Builtins
from nursery_tasks.errors import InvalidOptions, JobDead, JobTimedOut, ProcessFailed, UnknownTask

NAMES = ["execute.path", "execute.python", "noop", "sleep", "worker_info"]


def app_with(builtins: Any) -> App:
    return App("memory:", builtins=builtins)


async def run(builtins: Any, name: str, /, *args: Any) -> Any:
    app = app_with(builtins)
    async with app, app.open_worker(name="w"):
        return await (await app.job(name, *args).enqueue()).result(DEADLINE)


def test_an_app_has_none_of_them_unless_it_asks() -> None:
    assert not app_with(False).registry.tasks
    assert sorted(app_with(True).registry.tasks) == NAMES
    assert "execute.python" not in app_with(Builtins(python=False)).registry.tasks
    with pytest.raises(UnknownTask):
        App("memory:").get_task("execute.python")


async def test_a_worker_says_what_it_is() -> None:
    about = await run(True, "worker_info")
    assert (about["name"], about["pid"], about["executable"]) == ("w", os.getpid(), sys.executable)
    assert await run(True, "noop") is None
    assert await run(True, "sleep", 0.01) == 0.01


async def test_code_runs_in_a_process_and_its_prints_come_back() -> None:
    assert await run(True, "execute.python", "print('Hello World!')") == "Hello World!\n"
    assert await run(True, "execute.python", "import sys; print(sys.executable)") == f"{sys.executable}\n"
    assert await run(True, "execute.python", "import sys; print(sys.argv[1:], __name__)", ["a b"]) == "['a b'] __main__\n"


async def test_code_sees_nothing_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NURSERY_TASKS_BROKER", "redis://:secret@host")
    code = "import os; print(sorted(os.environ), os.listdir('.'))"
    assert "SECRET" not in (printed := await run(True, "execute.python", code)).upper()
    assert "NURSERY" not in printed
    assert printed.endswith("[]\n")


async def test_code_that_fails_is_a_failed_job_with_what_it_said() -> None:
    with pytest.raises(ProcessFailed, match="no such file"):
        await run(True, "execute.python", "raise SystemExit('no such file')")
    with pytest.raises(ProcessFailed, match="MemoryError"):
        await run(True, "execute.python", "bytearray(1024 ** 3)")


async def test_code_that_goes_on_is_ended() -> None:
    with pytest.raises(JobTimedOut):
        await run(Builtins(python_timeout=0.5), "execute.python", "while True: pass")


async def test_only_paths_that_are_allowed_are_called() -> None:
    allowed = Builtins(paths=["posixpath.*", "os.path.basename"])
    assert await run(allowed, "execute.path", "posixpath.join", ["a", "b"]) == "a/b"
    assert await run(allowed, "execute.path", "os.path.basename", ["a/b"]) == "b"
    with pytest.raises(JobDead, match=r"'os\.system' is not among the paths that this app allows"):
        await run(allowed, "execute.path", "os.system", ["false"])
    with pytest.raises(JobDead, match="only imported there"):
        await run(allowed, "execute.path", "posixpath.commonprefix", [["a"]])
    with pytest.raises(JobDead, match="has no attribute 'nothing'"):
        await run(allowed, "execute.path", "posixpath.nothing")


async def test_a_coroutine_function_is_awaited_on_the_loop() -> None:
    path = f"{__name__}.double"
    assert await run(Builtins(paths=[path]), "execute.path", path, [], {"number": 21}) == 42


async def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("given", [{"paths": "os.*"}, {"paths": [1]}, {"python_timeout": -1}, {"python_memory": 0}])
def test_what_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptions):
        Builtins(**given)


@pytest.mark.parametrize("given", [1, "shop.*", ["shop.*"], {"paths": ["shop.*"]}, {"python": False}])
def test_nothing_that_only_looks_true_lets_code_in(given: Any) -> None:
    with pytest.raises(InvalidOptions, match=r"expected True, False, or Builtins\(paths="):
        app_with(given)
