"""Watches handlers that were told to end: cancelled, out of time, or interrupted because the worker stops.

Nothing can stop an async handler that swallows its cancellation, nor a thread. What can be done is to say so, and to count the
loss. After a second the log shows where the handler is. When its clean-up has had its time, in a shield or not, it is given
up:

- a cancelled job is marked as *unresponsive*; it stays held until its handler ends, because only then is it `cancelled`;
- a job that is out of time has failed, and is not tried again: the first attempt may still be running;
- either way its slot is lost for as long as the handler runs, and the worker says so in its heartbeat.

When too many slots are lost the worker asks to be recycled: the other attempts drain, then the process ends, and with it what
nothing else could end. Handlers in processes are not watched: their process is killed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from anyio import current_time, sleep

from .held import Held, HeldJobs
from .hold import AttemptHold
from .stacks import stack_of

WARN_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.25
CHILDREN_SECONDS: Final = 10.0  # more, for a handler that waits for the end of the jobs that it owns

_log = logging.getLogger("nursery_tasks.worker")


class Watchdog:
    """Looks at the held jobs of one worker a few times per second.

    Args:
        give_up: Called for each handler whose clean-up has had its time, with the seconds since it was told to end.
        on_lost: Called with the number of lost slots when it has grown.
        cleanup_seconds: How long a handler that was told to end may take.
        pace: What the period is multiplied by.
    """

    def __init__(
        self,
        held: HeldJobs,
        give_up: Callable[[Held, float], None],
        on_lost: Callable[[int], None],
        cleanup_seconds: float,
        *,
        pace: float = 1.0,
    ) -> None:
        self.interrupt_at = math.inf  # when the worker's drain is over, on the loop's clock; written by the worker
        self._held = held
        self._give_up = give_up
        self._on_lost = on_lost
        self._cleanup_seconds = cleanup_seconds
        self._warn_seconds = min(WARN_SECONDS, cleanup_seconds / 2)
        self._period_seconds = min(LOOK_SECONDS, self._warn_seconds / 2) * pace
        self._lost: list[Held] = []

    @property
    def unresponsive(self) -> tuple[str, ...]:
        """The ids of the jobs whose handlers were given up and still run."""
        self._lost = [held for held in self._lost if not held.over]
        return tuple(held.delivery.id for held in self._lost)

    async def serve(self) -> None:
        """Watch until cancelled."""
        while True:
            await sleep(self._period_seconds)
            now = current_time()
            for held in self._held.snapshot():
                if held.hold is not None and not held.over and not _is_killed(held):
                    self._look_at(held, now)

    def _look_at(self, held: Held, now: float) -> None:
        if held.cancelled and held.told_at == math.inf:
            held.told_at = now  # not when it happens: that may be in a callback, where nobody can ask for the time
        late_seconds = now - min(held.told_at, held.time_limit, self.interrupt_at)
        if held.watched == 0 and late_seconds >= self._warn_seconds:
            held.watched = 1
            self._warn(held, late_seconds)
        patience = self._cleanup_seconds
        if isinstance(held.hold, AttemptHold) and held.hold.waits:
            patience += CHILDREN_SECONDS
        if held.watched == 1 and late_seconds >= patience and not held.ended:
            held.watched = 2
            self._lost.append(held)
            self._give_up(held, late_seconds)
            self._on_lost(len(self.unresponsive))

    def _warn(self, held: Held, late_seconds: float) -> None:
        delivery = held.delivery
        if held.cancelled:
            what = f"was cancelled ({held.cancel_reason})" if held.cancel_reason else "was cancelled"
        else:
            what = "has to end because the worker stops" if self.interrupt_at < held.time_limit else "is out of time"
        extra = {"job_id": delivery.id, "task": delivery.task, "attempt": delivery.attempt}
        stack = stack_of(held.hold) if held.hold is not None else ""
        text = "%s %s %s, and its handler has not ended %.1f s later; it is here:\n%s"
        _log.warning(text, delivery.task, delivery.id, what, late_seconds, stack or "  (nowhere to be found)", extra=extra)


def _is_killed(held: Held) -> bool:
    """Say whether the handler's own process ends it when it does not listen."""
    return held.call is not None and held.call.spec.kind == "process"
