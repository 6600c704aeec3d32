"""Run a task in this program, without a broker and without a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, cast

import msgspec
from anyio import current_time, move_on_after

from ..current import BatchedJob, CurrentJob
from ..errors import JobTimedOut
from ..model.failure import ForeignError, rebuild_error
from ..registry import Registry, TaskSpec
from .in_interpreter import call_in_interpreter
from .in_loop import call_in_loop
from .in_process import MAX_BODY, Place, Work, open_hosts
from .in_thread import call_in_thread
from .results import Encoded
from .shares import opened_shares, result_of_one

LOCAL: Final = "local"  # the id of a job that is none


class Callee(Protocol):
    """What is needed of a task to run it."""

    @property
    def name(self) -> str: ...
    @property
    def function(self) -> Callable[..., Any]: ...
    @property
    def kind(self) -> str: ...
    @property
    def batch(self) -> object: ...


async def run_here(
    task: Callee,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    timeout_seconds: float | None,
    state: dict[str, Any],
    attempt: int = 1,
) -> Any:
    """Run *task* here and return its result.

    Args:
        state: The open resources, by name.

    Raises:
        JobTimedOut: It ran longer than its timeout, by the clock, whatever it returned.
        InvalidBatchResult: The function of a batch task, which gets a list of one, has not returned one.
        Exception: What it raised.
    """
    batch = () if task.batch is None else (BatchedJob(LOCAL, attempt),)
    args = args if task.batch is None else [[*args, *kwargs.values()]]
    kwargs = kwargs if task.batch is None else {}
    job, result = CurrentJob(id=LOCAL, task=task.name, attempt=attempt, state=state, batch=batch), None
    with move_on_after(timeout_seconds) as clock:
        if task.kind == "loop":
            result = await call_in_loop(task.function, args, kwargs, job)
        else:
            result = await call_in_thread(task.function, args, kwargs, job, None)
    if current_time() >= clock.deadline:
        raise JobTimedOut(LOCAL, task.name, timeout_seconds)
    return result if task.batch is None else result_of_one(task.name, result)


async def run_away(spec: TaskSpec, payload: bytes, registry: Registry, timeout_seconds: float | None, attempt: int = 1) -> Any:
    """Run a task of a process or an interpreter in one that is made for this call.

    Args:
        payload: The message, as it would travel.

    Raises:
        JobTimedOut, HostDied: As in a worker.
        Exception: What it raised, as far as its class is known here; else `RemoteError`.

    Cancellation:
        The process is asked to end, then killed with all that it has started; an interpreter is waited for.
    """
    encoded: Encoded | None = None
    failed: ForeignError | None = None
    job = CurrentJob(id=LOCAL, task=spec.name, attempt=attempt)
    work = Work(LOCAL, spec.name, *spec.address, form=registry.codec.form, limit_bytes=MAX_BODY, attempt=attempt)
    if spec.batch is not None:
        work = msgspec.structs.replace(work, batch=(BatchedJob(LOCAL, attempt),), rules=(None,))
    async with AsyncExitStack() as stack:
        place: Place | None = None
        if spec.kind == "process":
            hosts = await stack.enter_async_context(open_hosts(1))
            place = await stack.enter_async_context(hosts.reserved())
        with move_on_after(timeout_seconds) as clock:
            try:
                if place is None:
                    encoded = await call_in_interpreter(work, payload)
                else:
                    encoded = await place.do(work, payload, job, spec.kill_after_seconds)
            except ForeignError as error:
                failed = error
        is_late = current_time() >= clock.deadline
    if is_late or (encoded is None and failed is None):
        raise JobTimedOut(LOCAL, spec.name, timeout_seconds)
    if encoded is not None and spec.batch is not None:
        [share] = opened_shares(encoded)
        encoded, failed = (None, share) if isinstance(share, ForeignError) else (cast("Encoded", share), None)
    if encoded is None:
        assert failed is not None
        raise rebuild_error(failed.failure, registry.errors)
    returns = spec.signature.returns
    wanted = Any if returns in (None, type(None)) else returns
    return registry.codec.decode_value(encoded.body, registry.codec.form, wanted)
