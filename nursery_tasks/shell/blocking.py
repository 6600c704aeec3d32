"""The same for code that blocks: a `def` handler in its thread, a script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import anyio
from anyio import CancelScope, sleep, to_thread

from ..current import CurrentJob, current_job_or_none
from ..loop.from_thread import call_on_loop, check_may_block, has_loop_behind
from ..loop.unwrapped import open_unwrapped_group
from ..model.duration import Duration
from .order import CAPTURE_BYTES, KILL_AFTER_SECONDS, Argument, CompletedRun
from .pipes import OnLine
from .run import run_process

ASK_SECONDS: Final = 0.1  # between two looks whether a job whose worker is another process is to end

_CALL = "run_process_sync()"
_INSTEAD = "await run_process(...)"


def run_process_sync(
    command: Sequence[Argument],
    *,
    stdin: bytes | str | None = None,
    check: bool = True,
    timeout: Duration | None = None,
    cwd: Argument | None = None,
    env: Mapping[str, str] | None = None,
    on_output: Callable[[str], object] | None = None,
    on_error: Callable[[str], object] | None = None,
    capture_bytes: int = CAPTURE_BYTES,
    kill_after: Duration = KILL_AFTER_SECONDS,
) -> CompletedRun:
    """Run a program and return what came of it, blocking; arguments, errors and promises are those of `run_process`.

    In a `def` handler's thread the worker's loop does the work, so a cancelled job ends the program at once, and the
    cancellation comes out of this call as it does of `check_cancelled()`. A handler in a process looks ten times a second
    whether it is to end. Elsewhere, Ctrl-C does the same.

    Args:
        on_output: Called with each line of stdout, never in a loop's thread.
        on_error: The same for stderr.

    Raises:
        WouldBlockLoop: An event loop runs in this thread.
    """
    check_may_block(_CALL, _INSTEAD)
    threaded = has_loop_behind()
    call = partial(
        run_process,
        command,
        stdin=stdin,
        check=check,
        timeout=timeout,
        cwd=cwd,
        env=env,
        on_output=_in_thread(on_output) if threaded else on_output,
        on_error=_in_thread(on_error) if threaded else on_error,
        capture_bytes=capture_bytes,
        kill_after=kill_after,
    )
    if threaded:
        return call_on_loop(_CALL, _INSTEAD, call)
    job = current_job_or_none()
    return anyio.run(call) if job is None else anyio.run(_watched, call, job)


async def _watched(call: Callable[[], Awaitable[CompletedRun]], job: CurrentJob) -> CompletedRun:
    """Make the call until *job* is to end. Owns a nursery of one child, which asks."""
    asked: list[BaseException] = []

    async def ask() -> None:
        while not asked:
            await sleep(ASK_SECONDS)
            try:
                job.check_cancelled()
            except BaseException as error:  # raised again below, outside of the nursery
                asked.append(error)
                running.cancel()

    with CancelScope() as running:
        async with open_unwrapped_group() as asking:
            asking.start_soon(ask, name="ask")
            try:
                return await call()
            finally:
                asking.cancel_scope.cancel()
    raise asked[0]


def _in_thread(listener: Callable[[str], object] | None) -> OnLine | None:
    """Keep a listener that may block off the loop."""
    if listener is None:
        return None

    async def call(line: str) -> None:
        await to_thread.run_sync(listener, line)

    return call
