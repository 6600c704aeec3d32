"""From any thread to the event loop, without waiting.

AnyIO's `from_thread.run_sync` blocks its thread until the loop has run the call. A thread that renews leases must not wait for
a loop that a handler has blocked, so it posts and goes on. Both backends have a primitive for this; AnyIO has no name for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from anyio.lowlevel import current_token

from ..model.delivery import Hint, Topic

Post = Callable[[Callable[[], object]], None]


def loop_poster() -> Post:
    """Return a function that any thread may call to have a callable run soon on the loop that is running now.

    After the loop has ended, what is posted is dropped.
    """
    native: Any = current_token().native_token
    schedule = native.run_sync_soon if hasattr(native, "run_sync_soon") else native.call_soon_threadsafe

    def post(call: Callable[[], object]) -> None:
        try:
            schedule(call)
        except RuntimeError:  # the loop is gone: trio.RunFinishedError is one, too
            return

    return post


def loop_name() -> str:
    """Return what the running loop is called: `trio`, `asyncio` or `uvloop`."""
    native: Any = current_token().native_token
    return "trio" if hasattr(native, "run_sync_soon") else type(native).__module__.partition(".")[0]


class HintPost:
    """Gathers the hints of a listener's thread and gives them to the loop, one call for many hints.

    The thread adds to `_waiting` and the loop takes all of it, both under the lock; one post is under way at most.

    Args:
        is_wanted: Says, in any thread, whether a hint is of use to anybody here; what is not does not wake the loop.
    """

    def __init__(
        self, on_hint: Callable[[Topic, set[str] | None], None], is_wanted: Callable[[Hint], bool] | None = None
    ) -> None:
        self._on_hint = on_hint
        self._is_wanted = is_wanted
        self._post = loop_poster()
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
            self._post(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for topic, names in waiting.items():
            self._on_hint(topic, names)
