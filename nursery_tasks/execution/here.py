"""Run a task in this program, without a broker and without a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from anyio import current_time, move_on_after

from ..current import CurrentJob
from ..errors import JobTimedOut
from .in_loop import call_in_loop
from .in_thread import call_in_thread


class Callee(Protocol):
    """What is needed of a task to run it."""

    @property
    def name(self) -> str: ...
    @property
    def function(self) -> Callable[..., Any]: ...
    @property
    def kind(self) -> str: ...


async def run_here(
    task: Callee, args: Sequence[Any], kwargs: dict[str, Any], timeout_seconds: float | None, state: dict[str, Any]
) -> Any:
    """Run *task* here and return its result.

    Args:
        state: The open resources, by name.

    Raises:
        JobTimedOut: It ran longer than its timeout, by the clock, whatever it returned.
        Exception: What it raised.
    """
    job, result = CurrentJob(id="local", task=task.name, state=state), None
    with move_on_after(timeout_seconds) as clock:
        if task.kind == "loop":
            result = await call_in_loop(task.function, args, kwargs, job)
        else:
            result = await call_in_thread(task.function, args, kwargs, job, None)
    if current_time() >= clock.deadline:
        raise JobTimedOut("local", task.name, timeout_seconds)
    return result
