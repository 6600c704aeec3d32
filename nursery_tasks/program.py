"""What this process is: the program itself, or one that AnyIO has started for its handlers.

Such a process imports the program's main module again, under the name `__mp_main__`. A main module without a guard would do
there what the program does, from submitting its jobs twice to starting processes without end.
"""

from __future__ import annotations

import inspect
import resource
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from .errors import MainNotGuarded, NotSupported


class _Process:
    is_host = False


def become_host() -> None:
    """Note that this process runs handlers for a worker."""
    _Process.is_host = True


def module_of_caller() -> str:
    """Return the name of the module outside this package that called into it; where that is the program itself, by its file."""
    frame = inspect.currentframe()
    while frame is not None and _module_of(frame).partition(".")[0] == __package__:
        frame = frame.f_back
    if frame is None:
        return ""
    name, spec, file = _module_of(frame), frame.f_globals.get("__spec__"), frame.f_globals.get("__file__")
    if name not in ("__main__", "__mp_main__"):
        return name
    return str(spec.name).removesuffix(".__main__") if spec is not None else Path(file).stem if file else ""


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def check_is_guarded(call: str) -> None:
    """Check that this is not the main module, imported a second time.

    Args:
        call: What was called, for the error.

    Raises:
        MainNotGuarded: It is.
    """
    # AnyIO takes `__main__` away before it imports, and puts it back when that is done.
    if "__main__" not in sys.modules and "__mp_main__" in sys.modules:
        raise MainNotGuarded(call)


def check_can_be_reached(broker: str, is_in_memory: bool) -> None:
    """Check that a broker is the worker's, and not a new and empty one, when it is used in a process for handlers.

    Raises:
        NotSupported: It lives in the memory of the process.
    """
    if is_in_memory and _Process.is_host:
        raise NotSupported(broker, "way from a process for handlers to its worker's memory; use sqlite:///jobs.db")


@cache
def why_no_interpreters() -> str | None:
    """Say why handlers cannot run in sub-interpreters here; None: they can.

    Asking costs an interpreter, so it is asked once, when a task wants one.
    """
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < (3, 13):
        return f"needs Python 3.13 or newer, this is {version}"
    problem = _try_in_interpreter("import msgspec")
    return None if problem is None else f"needs libraries that can be loaded in one, and says here: {problem}"


def _try_in_interpreter(code: str) -> str | None:
    """Run *code* in a new interpreter; returns what it raised, in words."""
    if sys.version_info >= (3, 14):
        interpreters: Any = import_module("concurrent.interpreters")
        interpreter = interpreters.create()
        try:
            interpreter.exec(code)
        except interpreters.ExecutionFailed as error:
            return str(error.excinfo.formatted)
        finally:
            interpreter.close()
        return None
    private: Any = import_module("_interpreters")  # as in AnyIO, which has nothing else on 3.13 either
    number = private.create()
    try:
        problem = private.exec(number, code)
        return None if problem is None else str(problem.formatted)
    finally:
        private.destroy(number)


def resident_bytes() -> int:
    """Return how much memory this process has now; where only its peak is known, the peak."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
