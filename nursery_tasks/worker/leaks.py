"""Scopes that a handler has left open: their exits would hit the slot, and the jobs that come after.

An async generator that yields inside a cancel scope or a task group, and is not read to its end, leaves the scope behind in
the task that read it (PEP 789). Trio notices when a scope around it ends, says so, and mends the task itself. On asyncio the
exit of the scope around it is refused, the scope left behind stays the task's current one, and its deadline cancels the slot.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from anyio import CancelScope


class LeakedScope(RuntimeError):
    """The handler has ended and left a cancel scope or a task group open. Its children have been cancelled."""

    def __init__(self) -> None:
        super().__init__(
            "the handler left a cancel scope open: an async generator of its own yields inside a scope or a task group, and "
            "was not read to its end; let it use a memory object stream, or close it with contextlib.aclosing (PEP 789)"
        )


def close_leaked(scope: CancelScope, error: BaseException) -> LeakedScope | None:
    """Close what a handler has left open inside *scope*, whose own exit has raised *error*; None: that had another reason."""
    if not isinstance(error, RuntimeError):
        return None
    if "asyncio" in sys.modules and asyncio._get_running_loop() is not None:
        left = _left_open(scope)
        for each in left:
            each.cancel()  # for children of a task group, which nobody waits for any more
            each.__exit__(None, None, None)
        is_leak = len(left) > 0
    else:
        is_leak = str(error).startswith("Cancel scope stack corrupted")
    return LeakedScope() if is_leak else None


def _left_open(scope: CancelScope) -> list[CancelScope]:
    """List the scopes that this task is still in, from the innermost to *scope*; none when it is not in *scope* any more.

    AnyIO keeps them to itself, and there is no public way to ask for a task's current scope (seen in 4.14 to 4.16). Where the
    names are others, nothing is closed, and the slot goes down as it would without this.
    """
    left: list[CancelScope] = []
    try:
        from anyio._backends import _asyncio as backend

        current: Any = backend._task_states[asyncio.current_task()].cancel_scope  # type: ignore[index]
        while current is not None:
            left.append(current)
            if current is scope:
                return left
            current = current._parent_scope
    except (ImportError, AttributeError, KeyError):
        pass
    return []
