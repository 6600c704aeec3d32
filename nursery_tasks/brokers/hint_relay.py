"""Hints, from a listener's thread to the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..loop.threadsafe import loop_run_soon
from ..model.delivery import Hint, Topic


class HintRelay:
    """Gathers the hints of a listener's thread and gives them to the loop, one call for many hints.

    The thread adds to `_waiting` and the loop takes all of it, both under the lock; one call is under way at most.

    Args:
        is_wanted: Says, in any thread, whether a hint is of use to anybody here; what is not does not wake the loop.
    """

    def __init__(
        self, on_hint: Callable[[Topic, set[str] | None], None], is_wanted: Callable[[Hint], bool] | None = None
    ) -> None:
        self._on_hint = on_hint
        self._is_wanted = is_wanted
        self._run_soon = loop_run_soon()
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._waiting: dict[Topic, set[str] | None] = {}  # None: look at everything

    def emit(self, hint: Hint) -> None:
        """Take a hint, from any thread."""
        if self._is_wanted is not None and not self._is_wanted(hint):
            return
        with self._lock:
            first = not self._waiting
            known = self._waiting.get(hint.topic, set())
            self._waiting[hint.topic] = None if known is None or not hint.names else known | set(hint.names)
        if threading.get_ident() == self._loop_thread:
            self._deliver()
        elif first:
            self._run_soon(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for topic, names in waiting.items():
            self._on_hint(topic, names)
