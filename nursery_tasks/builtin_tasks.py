"""Tasks that an app can have ready-made: `App(builtins=True)`. Without that there are none of them.

They are for programs that have no code of their own to share with the workers: to see that a fleet answers, and, where an
operator allows it, to let others say what is to run. So what they can reach is bounded here.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
from anyio import to_thread

from ._version import __version__
from .app import App
from .current import current_job
from .errors import InvalidOptions
from .model.duration import Duration, to_seconds
from .model.reject import Reject
from .shell import run_process

PYTHON_SECONDS: Final = 60.0
PYTHON_BYTES: Final = 512 * 1024 * 1024
_OPEN_FILES: Final = 256
_PROGRAM: Final = str(Path(__file__).with_name("limited_python.py"))
_ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C.UTF-8"}  # the worker's may hold passwords


@dataclass(frozen=True, kw_only=True)
class Builtins:
    """What `App(builtins=...)` allows; True is the same as `Builtins()`.

    Args:
        paths: What `execute.path` may call: dotted paths, where `*` stands for any part of one; default: nothing.
        python: Have `execute.python`, which runs any code that is submitted (default True). A caller who can submit a job can
            then do what the user of the workers can.
        python_timeout: How long that code may run, in seconds or as a timedelta (default 60).
        python_memory: How many bytes of address space it may have (default 512 MiB).
    """

    paths: Sequence[str] = ()
    python: bool = True
    python_timeout: Duration = PYTHON_SECONDS
    python_memory: int = PYTHON_BYTES

    def __post_init__(self) -> None:
        if isinstance(self.paths, str) or not all(isinstance(path, str) and path for path in self.paths):
            raise InvalidOptions("paths", self.paths, "a list of dotted paths, such as ['shop.reports.*']")
        to_seconds("python_timeout", self.python_timeout, at_least=0.1)
        if isinstance(self.python_memory, bool) or not isinstance(self.python_memory, int) or self.python_memory < 1:
            raise InvalidOptions("python_memory", self.python_memory, "a number of bytes")

    def allows(self, path: str) -> bool:
        """Say whether a dotted path may be called."""
        return any(fnmatchcase(path, allowed) for allowed in self.paths)


def register_builtins(app: App, given: Builtins | bool) -> None:
    """Give an app the tasks `noop`, `sleep`, `worker_info`, `execute.path` and, if allowed, `execute.python`.

    Raises:
        InvalidOptions: It is something else than True or a `Builtins`. Nothing that only looks true may let code in.
    """
    if given is not True and not isinstance(given, Builtins):
        raise InvalidOptions("builtins", given, "True, False, or Builtins(paths=[...], python=False)")
    builtins = Builtins() if given is True else given
    app.task(name="noop")(_noop)
    app.task(name="sleep")(_sleep)
    app.task(name="worker_info")(_worker_info(app))
    app.task(name="execute.path")(_execute_path(builtins))
    if builtins.python:
        app.task(name="execute.python", timeout=builtins.python_timeout)(_execute_python(builtins))


async def _noop() -> None:
    """Do nothing: to see that jobs run, and how long that takes."""


async def _sleep(seconds: float) -> float:
    """Sleep, and return how long."""
    await anyio.sleep(seconds)
    return seconds


def _worker_info(app: App) -> Callable[[], Any]:
    async def worker_info() -> dict[str, Any]:
        """Say what the worker that runs this is, and what it does."""
        name = current_job().worker
        known = [worker for worker in await app.workers() if worker.name == name]
        about: dict[str, Any] = {
            "name": name,
            "node": app.node,
            "pid": os.getpid(),
            "cores": os.cpu_count(),
            "nursery_tasks": __version__,
            "python": platform.python_version(),
            "executable": sys.executable,
            "platform": platform.platform(),
        }
        for worker in known:  # none in its first moment
            about |= {"loop": worker.backend, "queues": worker.queues, "slots": worker.slots, "processed": worker.processed}
            about |= {"running": worker.running, "started_at": worker.started_at}
        return about

    return worker_info


def _execute_path(builtins: Builtins) -> Callable[..., Any]:
    async def execute_path(path: str, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None) -> Any:
        """Call a function by its dotted path, if the workers allow that one; a `def` in a thread."""
        if not builtins.allows(path):
            raise Reject(f"{path!r} is not among the paths that this app allows")
        function = await to_thread.run_sync(_find, path, path in builtins.paths)
        if inspect.iscoroutinefunction(function):
            return await function(*(args or ()), **(kwargs or {}))
        return await to_thread.run_sync(_call, function, args or (), kwargs or {})

    return execute_path


def _find(path: str, is_named: bool) -> Callable[..., Any]:
    """Return the function of an allowed path. What only a `*` allows must be defined there: modules have other modules in them.

    Raises:
        Reject: There is none, or it comes from elsewhere.
    """
    module_name, _, name = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Reject(f"there is no function {path!r}: {error}") from error
    if not callable(function):
        raise Reject(f"{path!r} is no function: {type(function).__name__}")
    if not is_named and f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}" != path:
        raise Reject(f"{path!r} is only imported there; the app has to allow it by its full name")
    allowed: Callable[..., Any] = function
    return allowed


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return function(*args, **kwargs)


def _execute_python(builtins: Builtins) -> Callable[..., Any]:
    seconds = to_seconds("python_timeout", builtins.python_timeout)

    async def execute_python(code: str, args: list[str] | None = None) -> str:
        """Run Python code in a process of its own, and return what it printed.

        It has an empty directory, none of the worker's environment, and limits of time, memory and open files. That keeps
        accidents away, and no attacker: it runs as the worker's user. A code that fails is a failed job, with what it wrote to
        stderr.
        """
        limits = map(str, (builtins.python_memory, math.ceil(seconds), _OPEN_FILES))
        command = [sys.executable, "-I", _PROGRAM, *limits, *(args or ())]
        with TemporaryDirectory(prefix="nursery-tasks-") as directory:
            run = await run_process(command, stdin=code, cwd=directory, env=_ENVIRONMENT)
        return run.text

    return execute_python
