"""One attempt: call the handler inside its scopes, and note how it ended.

Whatever a handler does is the outcome of its job and of nothing else: an exception, `SystemExit`, a group of base exceptions, a
stray cancellation that belongs to no scope. Only a cancellation from above, when the worker stops, goes on.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from anyio import current_effective_deadline, get_cancelled_exc_class

from ..current import CurrentJob
from ..loop.direct import loop_clock, loop_scopes
from ..middleware import Make
from .around import with_middleware
from .ending import AttemptEnd
from .executors import Execute
from .in_flight import InFlightJob
from .leaks import close_leaked
from .prepare import Call


class NativeCancels:
    """Takes back what handlers did to their slot's child with asyncio's own `Task.cancel()`; made in that child, once.

    AnyIO's scopes know nothing of such a cancel. It would hit the child at a later `await`, and the slot would be gone.
    """

    def __init__(self) -> None:
        running = "asyncio" in sys.modules and asyncio._get_running_loop() is not None
        self._task = asyncio.current_task() if running else None

    def count(self) -> int:
        """Return how many are asked for; from before a handler, for `take_back`."""
        return 0 if self._task is None else self._task.cancelling()

    async def take_back(self, before: int) -> None:
        """Restore the task as it was, unless the cancel comes from above."""
        task = self._task
        if task is None or task.cancelling() <= before or _is_cancelled_from_above():
            return
        while task.cancelling() > before:
            task.uncancel()
        with suppress(asyncio.CancelledError):  # one that the handler has not met yet arrives here
            await asyncio.sleep(0)


class Attempts:
    """Makes the attempts of one worker.

    Args:
        owns_signals: Whether a KeyboardInterrupt can only be the handler's own.
        middleware: The user's, around each call of a handler.
    """

    def __init__(self, *, owns_signals: bool, middleware: Sequence[Make] = ()) -> None:
        self._owns_signals = owns_signals
        self._middleware = middleware
        self._scope_of_loop = loop_scopes()
        self._now = loop_clock()

    async def run(
        self, job: InFlightJob, call: Call, current: CurrentJob, execute: Execute, native_cancels: NativeCancels
    ) -> AttemptEnd:
        """Run the handler once; return what is known of its end.

        Args:
            execute: Calls the handler where its kind belongs.
            native_cancels: Of the child that runs it.

        Cancellation:
            The attempt is interrupted. Its end says so, and the caller's next `await` is cancelled, too.
        """
        if self._middleware:
            execute = with_middleware(self._middleware, execute)
        native_before = native_cancels.count()
        deadline = math.inf if call.deadline is None else call.deadline
        scope = job.scope = self._scope_of_loop(deadline=deadline)
        if call.deadline is not None:
            job.limit(deadline)
        value = None  # of a handler that its own timeout has ended
        try:
            with scope:
                if call.timeout_seconds is None:
                    value = await execute(call, current)
                else:
                    with self._scope_of_loop(deadline=self._now() + call.timeout_seconds) as timer:
                        job.limit(min(timer.deadline, deadline), timer.deadline)
                        value = await execute(call, current)
        except KeyboardInterrupt:
            if not self._owns_signals:
                raise
            error = SystemError("the handler raised KeyboardInterrupt")
            return self.end_of(job, call, error=error, caught=scope.cancelled_caught)
        except BaseException as error:  # not swallowed: it becomes the job's outcome, or the scope above cancels us again
            leaked = close_leaked(scope, error)
            if leaked is not None:
                leaked.__cause__ = error
            return self.end_of(job, call, error=leaked or error, caught=scope.cancelled_caught)
        else:
            return self.end_of(job, call, value, caught=scope.cancelled_caught)
        finally:
            job.over = True
            if native_cancels.count() > native_before:
                await native_cancels.take_back(native_before)

    def end_of(
        self,
        job: InFlightJob,
        call: Call,
        value: Any = None,
        error: BaseException | None = None,
        *,
        caught: bool = False,
        given_up: bool = False,
    ) -> AttemptEnd:
        """Note what is known, outside of the attempt's own scopes: what is cancelled here is above us."""
        delivery = job.delivery
        return AttemptEnd(  # by position, for every job: by name this costs eight times as much
            delivery.id,
            call.spec.name,
            delivery.attempt,
            call.timeout_seconds,
            call.retry,
            self._now(),
            job.timeout_at,
            math.inf if call.deadline is None else call.deadline,
            value,
            error,
            error is not None and isinstance(error, get_cancelled_exc_class()),
            caught,
            job.cancelled,
            job.cancel_reason,
            job.given_back,
            job.lost,
            error is not None and _is_cancelled_from_above(),
            given_up,
            job.ended,
            call.once,
        )


def _is_cancelled_from_above() -> bool:
    return current_effective_deadline() == -math.inf
