"""The clock and the scopes of the loop that runs here, without AnyIO's look for the loop.

AnyIO asks with each call which loop runs in this thread. A worker asks for the moment twice per job and opens a scope for each,
and looking costs more than what is asked for (0.4 us for a clock of 0.05, 0.6 of a scope's 2.5). So it looks once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from anyio import CancelScope
from anyio.lowlevel import current_token


def loop_clock() -> Callable[[], float]:
    """Return what `anyio.current_time()` would ask on the loop that is running now; to be called there only."""
    native: Any = current_token().native_token
    if hasattr(native, "run_sync_soon"):
        import trio  # it is there, as its loop runs

        return trio.current_time
    return cast("Callable[[], float]", native.time)


def loop_scopes() -> type[CancelScope]:
    """Return the class of the scopes on the loop that is running now: `CancelScope()` returns one of a class of its loop's."""
    return type(CancelScope())
