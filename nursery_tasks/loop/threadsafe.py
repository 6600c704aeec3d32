"""From any thread to the event loop, without waiting.

AnyIO's `from_thread.run_sync` blocks its thread until the loop has run the call. A thread that renews leases must not wait for
a loop that a handler has blocked, so it leaves the call there and goes on. Both backends can do this; AnyIO has no name for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio.lowlevel import current_token

RunSoon = Callable[[Callable[[], object]], None]


def loop_run_soon() -> RunSoon:
    """Return a function with which any thread has a callable run soon on the loop that is running now.

    After the loop has ended, what is handed over is dropped.
    """
    native: Any = current_token().native_token
    schedule = native.run_sync_soon if hasattr(native, "run_sync_soon") else native.call_soon_threadsafe

    def run_soon(call: Callable[[], object]) -> None:
        try:
            schedule(call)
        except RuntimeError:  # the loop is gone: trio.RunFinishedError is one, too
            return

    return run_soon


def loop_name() -> str:
    """Return what the running loop is called: `trio`, `asyncio` or `uvloop`."""
    native: Any = current_token().native_token
    return "trio" if hasattr(native, "run_sync_soon") else type(native).__module__.partition(".")[0]
