"""Run one program as a child of the scope around the call."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from anyio import CancelScope, CapacityLimiter, create_task_group, move_on_after, sleep, to_thread, wait_readable

from ..errors import ProcessFailed, ProcessTimedOut
from ..model.duration import Duration
from .child import Child, Start
from .order import CAPTURE_BYTES, KILL_AFTER_SECONDS, Argument, CompletedRun, Order, check_order
from .pipes import OnLine, Output, feed

KILLED_SECONDS: Final = 10.0  # after SIGKILL; who is still there then is in the kernel, and no signal reaches it
LOOK_SECONDS: Final = (0.001, 0.05)  # the first and the longest wait between two looks at a group


async def run_process(
    command: Sequence[Argument],
    *,
    stdin: bytes | str | None = None,
    check: bool = True,
    timeout: Duration | None = None,
    cwd: Argument | None = None,
    env: Mapping[str, str] | None = None,
    on_output: OnLine | None = None,
    on_error: OnLine | None = None,
    capture_bytes: int = CAPTURE_BYTES,
    kill_after: Duration = KILL_AFTER_SECONDS,
) -> CompletedRun:
    """Run a program and return what came of it; in any AnyIO program, in a job or not.

    The program leads a session of its own. When it has ended, what it has left running there is ended, too: nothing that was
    started here outlives the call, except a process that makes itself a new session (a daemon). When this process dies, be it
    by `kill -9`, a guard ends the session from outside within moments (on any system with `/bin/sh`).

    Args:
        command: The program and its arguments, as a list. No shell reads it; ask for one with `["sh", "-c", "a | b"]`.
        stdin: What it reads there; text is sent as UTF-8. None: nothing, at once at its end.
        check: Raise when its return code is not 0.
        timeout: The longest that it may run, in seconds or as a timedelta; None: no limit.
        cwd: The directory to start in; default: this process's.
        env: All of its environment; default: this process's.
        on_output: Called with each line of stdout while the program runs, without the line's end; may be async. The program
            waits for it. A line of more than 64 KiB comes in pieces.
        on_error: The same for stderr; it may be the same function.
        capture_bytes: How much of each stream the result holds (default 1 MiB). More than that is read and dropped from the
            middle; `stdout_cut` and `stderr_cut` say how much.
        kill_after: How long the program and all it started may take to end after SIGTERM, before SIGKILL (default 2 s).

    Raises:
        InvalidOptions: The command is no list, or a value is out of its range.
        ProcessFailed: It has ended with another return code than 0.
        ProcessTimedOut: It ran longer than *timeout*, and was ended (a `TimeoutError`).
        OSError: It cannot be started; `FileNotFoundError` when there is no such program or directory.
        Exception: What a listener raised; the program was ended.

    Cancellation:
        Ends the session as the timeout does: SIGTERM, after *kill_after* SIGKILL. The call returns when all are gone. A cancel
        while the program is being started waits for the start, and ends it.
    """
    order = check_order(command, stdin, timeout, cwd, env, capture_bytes, kill_after)
    child = await _start(order)
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        stdout = Output(child.stdout.fileno(), order.capture_bytes, on_output)
        stderr = Output(child.stderr.fileno(), order.capture_bytes, on_error)
        timed_out = await _serve(child, order, stdout, stderr)
    finally:
        await _end(child, order.kill_after_seconds)
    assert child.returncode is not None
    if timed_out:
        raise ProcessTimedOut(order.command, order.timeout_seconds or 0.0, stderr.capture.end())
    if check and child.returncode:
        raise ProcessFailed(order.command, child.returncode, stderr.capture.end())
    return CompletedRun(
        order.command,
        child.returncode,
        stdout.capture.content(),
        stderr.capture.content(),
        stdout.capture.cut,
        stderr.capture.cut,
    )


async def _start(order: Order) -> Child:
    """Start in a thread: a program's file may be slow to load, and the loop must not wait for it."""
    start = Start(order)
    try:
        with CancelScope(shield=True):  # bounded by the start itself; left half-way, nobody would know the process
            return await to_thread.run_sync(start.run, limiter=CapacityLimiter(1))
        raise AssertionError("a shielded scope swallows nothing")
    except BaseException:
        start.give_up()  # asyncio's own cancel does not care for shields
        raise


async def _serve(child: Child, order: Order, stdout: Output, stderr: Output) -> bool:
    """Serve the pipes until the program has ended and all it wrote is read; returns whether its time was over.

    Owns a nursery of one child per pipe. A listener's error is raised as itself, after the nursery.
    """
    failures: list[Exception] = []
    clock = move_on_after(order.timeout_seconds)
    with CancelScope() as serving:

        async def read(output: Output) -> None:
            try:
                await output.serve()
            except Exception as error:
                failures.append(error)
                serving.cancel()

        async with create_task_group() as feeding:
            if child.stdin is not None and order.stdin is not None:
                feeding.start_soon(feed, child.stdin.fileno(), order.stdin, child.stdin.close, name="stdin")
            async with create_task_group() as reading:
                reading.start_soon(read, stdout, name="stdout")
                reading.start_soon(read, stderr, name="stderr")
                with clock:
                    await _wait_exited(child)
                await _end_left(child, order, at_once=clock.cancelled_caught)
                stdout.finish()
                stderr.finish()
            feeding.cancel_scope.cancel()  # nobody reads any more
    if failures:
        raise failures[0]
    return clock.cancelled_caught


async def _end_left(child: Child, order: Order, *, at_once: bool) -> None:
    """See to it that the group is empty; what the program left behind gets a moment to end by itself."""
    if not at_once:
        with move_on_after(order.kill_after_seconds):
            await _wait_exited(child)
            await _look_until(child.is_gone)
            return
    await _end_session(child, order.kill_after_seconds)


async def _end(child: Child, kill_after_seconds: float) -> None:
    try:
        if not child.is_gone():
            await _end_session(child, kill_after_seconds)
        with CancelScope(shield=True):  # bounded: it waits for a guard that was killed
            await to_thread.run_sync(child.close, limiter=CapacityLimiter(1))
    except BaseException:
        child.kill_now()  # asyncio's own cancel, a second time
        raise


async def _end_session(child: Child, kill_after_seconds: float) -> None:
    """Ask all to end, then kill them; returns when they are gone, whatever cancels this meanwhile."""
    child.send(signal.SIGTERM)
    child.send(signal.SIGCONT)  # who is stopped cannot hear
    with move_on_after(kill_after_seconds, shield=True):
        await _wait_exited(child)
        await _look_until(child.is_session_gone)
        return

    def is_gone() -> bool:
        child.send(signal.SIGKILL)  # at each look: there may be new ones
        return child.is_session_gone()

    with move_on_after(KILLED_SECONDS, shield=True):
        await _look_until(is_gone)


async def _look_until(condition: Callable[[], bool]) -> None:
    wait_seconds, longest = LOOK_SECONDS
    while not condition():
        await sleep(wait_seconds)
        wait_seconds = min(wait_seconds * 2, longest)


async def _wait_exited(child: Child) -> None:
    """Wait until the program itself has ended, without reaping it."""
    if child.returncode is not None:
        return
    exit_descriptor = child.open_exit()
    if exit_descriptor is None:
        await to_thread.run_sync(child.wait_exited, abandon_on_cancel=True, limiter=CapacityLimiter(1))
        return
    try:
        await wait_readable(exit_descriptor)
    finally:
        os.close(exit_descriptor)
