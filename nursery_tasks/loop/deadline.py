"""How long calls to a broker may take when whoever makes them has to leave.

A call is shielded, so that a cancel does not leave a transition half done, and it has a deadline of its own. Leaving has one,
too, and it is nearer: a broker that hangs must not hold up the end of a program.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager

from anyio import CancelScope, current_time


class CallDeadline:
    """A limit for all calls of one caller, those under way and those to come; set once or more often, it only comes nearer."""

    def __init__(self) -> None:
        self._deadline = math.inf
        self._scopes: set[CancelScope] = set()

    def end_after(self, seconds: float) -> None:
        """Let no call take longer than this from now on."""
        self._deadline = min(self._deadline, current_time() + seconds)
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, self._deadline)

    @property
    def is_over(self) -> bool:
        """Whether the time is over; a call need not begin then."""
        return current_time() >= self._deadline

    def why_given_up(self, call: str, seconds: float) -> str:
        """Say why a call was given up that might have taken *seconds*."""
        if self.is_over:
            return f"no answer to {call} yet, and there is no time left for it"
        return f"no answer to {call} within {seconds:g} s"

    @contextmanager
    def move_on_after(self, seconds: float) -> Generator[None, None, None]:
        """Give up waiting after this time, or at the deadline; shielded."""
        with CancelScope(shield=True, deadline=min(current_time() + seconds, self._deadline)) as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
