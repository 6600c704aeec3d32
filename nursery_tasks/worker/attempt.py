"""One attempt: call the handler inside its scopes, and say how it ended.

Whatever a handler does is the outcome of its job and of nothing else: an exception, `SystemExit`, a group of base exceptions, a
stray cancellation that belongs to no scope. Only a cancellation from above, when the worker stops, goes on.
"""

from __future__ import annotations

import asyncio
import math
import sys
from contextlib import suppress

from anyio import (
    CancelScope,
    current_effective_deadline,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)

from ..current import CurrentJob
from ..errors import JobTimedOut
from ..model.outcome import GIVEN_BACK, LEASE_LOST
from ..model.reasons import DEADLINE_OVER
from .executors import Execute
from .held import Held
from .judge import Ending, Interrupted, Raised, Returned, WasCancelled
from .leaks import close_leaked
from .prepare import Call


class StrayCancellation(RuntimeError):
    """The handler was left by a cancellation that no scope around it had asked for.

    On asyncio that happens when a handler awaits a future or task that somebody else cancels.
    """


async def run_attempt(held: Held, call: Call, job: CurrentJob, *, execute: Execute, owns_signals: bool) -> Ending:
    """Run the handler once.

    Args:
        execute: Calls the handler where its kind belongs.
        owns_signals: Whether a KeyboardInterrupt can only be the handler's own.

    Cancellation:
        The attempt is interrupted. The ending says so, and the caller's next `await` is cancelled, too.
    """
    natives = _NativeCancels()
    try:
        return await _run_in_scopes(held, call, job, execute, owns_signals)
    finally:
        await natives.take_back()


async def _run_in_scopes(held: Held, call: Call, job: CurrentJob, execute: Execute, owns_signals: bool) -> Ending:
    deadline = math.inf if call.deadline is None else call.deadline
    scope = held.scope = CancelScope(deadline=deadline)
    clock, value = math.inf, None
    held.time_limit = deadline
    try:
        with scope:
            if call.timeout_seconds is None:
                value = await execute(call, job)
            else:
                with move_on_after(call.timeout_seconds) as timer:
                    clock = timer.deadline
                    held.timeout_at, held.time_limit = clock, min(clock, deadline)
                    value = await execute(call, job)
    except KeyboardInterrupt:
        if not owns_signals:
            raise
        return Raised(SystemError("the handler raised KeyboardInterrupt"))
    except BaseException as error:  # nothing is swallowed: it becomes the job's outcome, or the scope above cancels us again
        leaked = close_leaked(scope, error)
        if leaked is not None:
            leaked.__cause__ = error
        return _judge_error(leaked or error, held, call, clock)
    if held.cancelled and scope.cancelled_caught:  # and not late, although its clean-up may have lasted
        return _cancelled(held)
    if held.time_limit != math.inf and current_time() >= held.time_limit:
        # By the clock: who swallowed its timeout has not succeeded.
        return _late(held, call, clock)
    if scope.cancelled_caught:
        return _cancelled(held)
    return Returned(value)


def _judge_error(error: BaseException, held: Held, call: Call, clock: float) -> Ending:
    # Outside of the attempt's own scopes: what is cancelled here is above us.
    if held.cancelled:
        return _cancelled(held, None if isinstance(error, get_cancelled_exc_class()) else error)
    if _is_cancelled_from_above():  # before the clock is asked: its clean-up may have lasted
        return Interrupted("the worker stops")
    if current_time() >= held.time_limit:
        return _late(held, call, clock, error)
    if isinstance(error, get_cancelled_exc_class()):
        stray = StrayCancellation("a cancellation came out of the handler that nobody here had asked for")
        stray.__cause__ = error
        return Raised(stray)
    return Raised(error)


def _late(held: Held, call: Call, clock: float, error: BaseException | None = None) -> Ending:
    """Say what became of an attempt whose own timeout, or whose caller's deadline, is over: whichever was first."""
    if held.time_limit < clock:
        return WasCancelled(DEADLINE_OVER, None if isinstance(error, get_cancelled_exc_class()) else error)
    late = JobTimedOut(held.delivery.id, call.spec.name, call.timeout_seconds)
    late.__cause__ = error
    return Raised(late, timed_out=True)


def _cancelled(held: Held, error: BaseException | None = None) -> Ending:
    # Without a lease nobody knows whose job it is. If it is still ours, it goes back; nobody wanted it to end.
    if held.lost:
        return Interrupted(LEASE_LOST)
    return Interrupted(GIVEN_BACK) if held.given_back else WasCancelled(held.cancel_reason, error)


def _is_cancelled_from_above() -> bool:
    return current_effective_deadline() == -math.inf


class _NativeCancels:
    """Takes back what a handler did to its slot with asyncio's own `Task.cancel()`.

    AnyIO's scopes know nothing of such a cancel. It would hit the slot at a later `await`, and the slot would be gone.
    """

    def __init__(self) -> None:
        running = "asyncio" in sys.modules and asyncio._get_running_loop() is not None
        self._task = asyncio.current_task() if running else None
        self._before = 0 if self._task is None else self._task.cancelling()

    async def take_back(self) -> None:
        """Restore the task as it was, unless the cancel comes from above."""
        task = self._task
        if task is None or task.cancelling() <= self._before or _is_cancelled_from_above():
            return
        while task.cancelling() > self._before:
            task.uncancel()
        with suppress(asyncio.CancelledError):  # one that the handler has not met yet arrives here
            await asyncio.sleep(0)
