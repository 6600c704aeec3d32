"""Where handlers run: on the loop, in a thread, in a process, in an interpreter; with a limit of its own for each."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter

from ..current import CurrentJob
from ..execution import call_in_loop, call_in_thread
from .held import Held
from .options import WorkerSettings
from .prepare import Call

Execute = Callable[[Call, CurrentJob], Awaitable[Any]]


class Executors:
    """Calls the handlers of one worker. On a virtual clock (`threads=False`) everything runs on the loop."""

    def __init__(self, settings: WorkerSettings) -> None:
        # The slots are the limit; a handler that waits for another job keeps its thread and not its slot.
        self._threads = CapacityLimiter(math.inf) if settings.threads else None

    async def serve(self) -> None:
        """Own what outlives attempts, until cancelled."""

    def limits(self, call: Call) -> bool:
        """Say whether *call* needs a place that has to be `reserved()` before its attempt begins."""
        return False

    @asynccontextmanager
    async def reserved(self, held: Held, call: Call) -> AsyncGenerator[Execute, None]:
        """Wait for a place to run *call*, keep it while the context is open; yields what to call it with.

        When the job is cancelled meanwhile, it yields at once, and the caller must look before it calls.
        """
        yield self.call

    async def call(self, call: Call, job: CurrentJob) -> Any:
        """Call a handler that needs no reserved place."""
        function = call.spec.function
        if call.spec.kind == "loop":
            return await call_in_loop(function, call.args, call.kwargs, job)
        if self._threads is None:
            return await call_in_loop(_as_async(function), call.args, call.kwargs, job)
        return await call_in_thread(function, call.args, call.kwargs, job, self._threads)


def _as_async(function: Any) -> Any:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return handler
