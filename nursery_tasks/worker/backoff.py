"""What to do while a broker is away: wait longer each time, and say so without filling the log.

Its failure is said once in 30 s, also when the call works now and then in between, and its end when the failure was said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from anyio import Event, current_time, move_on_after, sleep_forever

from ..log_throttle import SAY_AGAIN_SECONDS

FIRST_SECONDS: Final = 0.1
MOST_SECONDS: Final = 30.0
OTHERS_SECONDS: Final = 1.0  # between two tries, at least, that are made because another kind of call works


_log = logging.getLogger("nursery_tasks.worker")


def next_pause(previous: float, fraction: float) -> float:
    """Return the next pause: decorrelated jitter, between 0.1 s and three times the previous one, at most 30 s.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("decorrelated").
    """
    upper = max(FIRST_SECONDS * 2, previous * 3)
    return min(MOST_SECONDS, FIRST_SECONDS + fraction * (upper - FIRST_SECONDS))


class LastWord:
    """When a failure was said last, for outages that have one cause: one of them says it."""

    def __init__(self) -> None:
        self.at = float("-inf")


class Outage:
    """One kind of call that may fail for a while: logs the first failure, one each 30 s, and the end.

    Args:
        what: What cannot be done, as in "cannot claim".
        fraction: The source of jitter, a number in [0, 1).
        said: Shared with other outages of the same cause; default: with none.

    Attributes:
        others: Kinds of calls to the same broker, which are tried again when this one works.
    """

    def __init__(self, what: str, fraction: Callable[[], float], said: LastWord | None = None) -> None:
        self._what = what
        self._fraction = fraction
        self.others: tuple[Outage, ...] = ()
        self._failed_at = 0.0
        self._pause = 0.0
        self._since: float | None = None
        self._said = LastWord() if said is None else said
        self._is_said = False  # this failure
        self._hurried = False
        self._hurry = Event()

    async def wait(self, error: Exception, at_least: float = 0.0) -> None:
        """Sleep before the next try, for so many seconds at least, unless there is no time for it."""
        now = self._failed_at = current_time()
        self._pause = max(next_pause(self._pause, self._fraction()), at_least)
        if self._since is None:
            self._since, self._is_said = now, False
        if now - self._said.at >= SAY_AGAIN_SECONDS:
            self._said.at, seconds = now, now - self._since
            how_long = f" for {seconds:.0f} s" if self._is_said else ", and go on trying"
            self._is_said = True
            _log.warning("cannot %s%s: %s", self._what, how_long, error)
        if not self._hurried:
            self._hurry = Event()
        with move_on_after(FIRST_SECONDS if self._hurried else self._pause):
            await (sleep_forever() if self._hurried else self._hurry.wait())

    @property
    def failing(self) -> bool:
        """Whether the last call has failed."""
        return self._since is not None

    def hurry(self) -> None:
        """Try again at once, and from now on without growing pauses: the time is nearly over."""
        self._hurried = True
        self._hurry.set()

    def wake(self) -> None:
        """Try again now: the broker is said to be back."""
        self._pause = 0.0
        self._hurry.set()

    def over(self) -> None:
        """Hear that the call works; cheap when it worked before, too."""
        if self._since is not None:
            if self._is_said:
                _log.warning("can %s again, after %.1f s", self._what, current_time() - self._since)
            self._since, self._pause = None, 0.0
        for other in self.others:
            if other.failing:
                other.try_again()

    def try_again(self) -> None:
        """Try again, unless the last try was a moment ago: that another call works does not say that this one does."""
        if current_time() - self._failed_at >= OTHERS_SECONDS:
            self.wake()


def introduce(outages: Sequence[Outage]) -> None:
    """Tell kinds of calls to one broker of each other: where one works again, the pauses of the others need not end first."""
    for outage in outages:
        outage.others = tuple(other for other in outages if other is not outage)
