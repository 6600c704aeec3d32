"""One subscription to hints, for brokers whose listeners are called from more than one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock

from ..model.delivery import Hint, Topic
from .protocol import Emit


class Subscription:
    """One `listen`. Its lock is held while `emit` runs, so that `close` can promise that no call follows it.

    Args:
        leave: Called with this subscription when it is closed.
    """

    def __init__(self, leave: Callable[[Subscription], None], topics: Sequence[Topic], emit: Emit) -> None:
        self.topics = frozenset(topics)
        self._leave, self._emit = leave, emit
        self._telling = RLock()  # re-entrant: `emit` may close its own subscription
        self._closed = False

    def tell(self, hint: Hint) -> None:
        """Pass a hint on, if it is about one of the topics."""
        if hint.topic not in self.topics:
            return
        with self._telling:
            if not self._closed:
                self._emit(hint)

    def close(self) -> None:
        """End it: when this returns, `emit` is not called any more."""
        with self._telling:
            self._closed = True
        self._leave(self)
