"""Where handlers run: on the loop, in a thread, in a process, in an interpreter; with a limit of its own for each."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from anyio import CancelScope, CapacityLimiter

from ..current import CurrentJob
from ..errors import PayloadTooLarge
from ..execution import call_in_loop, call_in_thread
from ..execution.in_interpreter import call_in_interpreter
from ..execution.in_process import MAX_BODY, CpuHosts, Work, default_limit
from ..registry import AWAY, Registry
from .in_flight import InFlightJob
from .options import WorkerSettings
from .prepare import Call

Execute = Callable[[Call, CurrentJob], Awaitable[Any]]


class Executors:
    """Calls the handlers of one worker. On a virtual clock (`threads=False`) everything runs on the loop.

    Args:
        limit_bytes: Larger results fail their job.

    Attributes:
        hosts: The processes; None on a virtual clock.
    """

    def __init__(self, registry: Registry, settings: WorkerSettings, limit_bytes: int) -> None:
        self.hosts: CpuHosts | None = None
        self._registry = registry
        self._limit_bytes = limit_bytes
        self._threads: CapacityLimiter | None = None
        self._interpreters = CapacityLimiter(default_limit())
        if settings.threads:
            # The slots are the limit; a handler that waits for another job keeps its thread and not its slot.
            self._threads = CapacityLimiter(math.inf)
            self.hosts = CpuHosts(
                settings.processes,
                jobs=settings.process_jobs,
                memory_bytes=settings.process_memory_bytes,
                is_warm=lambda: any(spec.kind == "process" for spec in registry.tasks.values()),
            )

    async def serve(self) -> None:
        """Own the processes until cancelled; nothing is left of them then."""
        if self.hosts is not None:
            await self.hosts.serve()

    def limits(self, call: Call) -> bool:
        """Say whether *call* needs a place that has to be `reserved()` before its attempt begins."""
        return call.spec.kind in AWAY and self.hosts is not None

    @asynccontextmanager
    async def reserved(self, job: InFlightJob, call: Call) -> AsyncGenerator[Execute, None]:
        """Wait for a place to run *call*, keep it while the context is open; yields what to call it with.

        When the job is cancelled meanwhile, or too late to start, it yields at once, and the caller must look before it calls.
        """
        async with AsyncExitStack() as stack:
            execute: Execute = self.call
            with CancelScope(deadline=_latest_start(job, call)) as waiting:
                job.scope = waiting  # so that a cancel finds something to cancel
                if job.cancelled:
                    waiting.cancel()
                try:
                    execute = await self._reserve(stack, job, call)
                finally:
                    job.scope = None
            yield execute

    async def _reserve(self, stack: AsyncExitStack, job: InFlightJob, call: Call) -> Execute:
        if self.hosts is not None and call.spec.kind == "process":
            place = await stack.enter_async_context(self.hosts.reserved())

            def in_process(call: Call, current: CurrentJob) -> Awaitable[Any]:
                payload = self._payload(job, call)
                return place.do(self._describe(call, current), payload, current, call.spec.kill_after_seconds)

            return in_process
        await stack.enter_async_context(self._interpreters)

        def in_interpreter(call: Call, current: CurrentJob) -> Awaitable[Any]:
            return call_in_interpreter(self._describe(call, current), self._payload(job, call))

        return in_interpreter

    def _payload(self, job: InFlightJob, call: Call) -> bytes:
        if call.rules:  # of a batch, which is made when it begins
            what = f"the arguments of a batch of {call.spec.name}"
            payload = self._registry.codec.encode(what, call.message)
            if len(payload) > MAX_BODY:
                raise PayloadTooLarge(what, len(payload), MAX_BODY, fixed=True)
            return payload
        return job.delivery.payload if call.payload is None else call.payload

    def call(self, call: Call, current: CurrentJob) -> Awaitable[Any]:
        """Call a handler that needs no reserved place; to be awaited at once."""
        function = call.spec.function
        if call.spec.kind == "loop":
            return call_in_loop(function, call.args, call.kwargs, current)
        if self._threads is None:
            return call_in_loop(_as_async(function), call.args, call.kwargs, current)
        return call_in_thread(function, call.args, call.kwargs, current, self._threads)

    def _describe(self, call: Call, current: CurrentJob) -> Work:
        """Return what another process or interpreter needs to know of a job."""
        module, qualname = call.spec.address
        return Work(
            id=current.id,
            task=current.task,
            module=module,
            qualname=qualname,
            form=self._registry.codec.form,
            limit_bytes=self._limit_bytes,
            attempt=current.attempt,
            queue=current.queue,
            worker=current.worker,
            parent=current.parent,
            tags=current.tags,
            headers=current.headers,
            slot=current.slot,
            batch=current.batch,
            rules=call.rules,
            rule=call.retry,
            streams=current.items is not None,
            broker=None if current.context is None else getattr(current.context.broker, "name", None),
            token=None if current.context is None else current.context.token,
        )


def _latest_start(job: InFlightJob, call: Call) -> float:
    """Return past what moment of the loop's clock the job is not to start any more."""
    return min(moment for moment in (math.inf, job.expires_deadline, call.deadline) if moment is not None)


def _as_async(function: Any) -> Any:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return handler
