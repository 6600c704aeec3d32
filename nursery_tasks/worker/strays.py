"""Forked children of what a handler has started on the loop: its nursery's tasks, and those of libraries that it uses.

A child that comes back from there would run the copies of all tasks that are ready: other jobs' handlers a second time, and the
worker's own. It must end before the loop goes on. On asyncio the tasks of handlers have a coroutine of ours, see `exits.py`.
Trio has no such place, but it tells instruments after each step; so a child gives itself one that ends it.

What asyncio calls without a task may fork, too. There is no place in between, and no reason to do it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..current import current_job_or_none
from ..forks import ChildAwaits, end_child, renew_in_children


@contextmanager
def strays_ended() -> Generator[None, None, None]:
    """End forked children of handlers' tasks on this loop where they would come back to it, while the context is open."""
    trio: Any = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        yield
        return
    ender = _Ender(trio.lowlevel)
    renew_in_children(ender, _Ender.forked)
    yield


class _Ender:
    """One of Trio's instruments, which is only used in a child."""

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._loop: object = trio.current_trio_token()

    def forked(self) -> None:
        """Watch the step that is under way: called in the child."""
        job = current_job_or_none()
        is_handlers = job is not None and job.context is not None
        if is_handlers and self._trio.in_trio_run() and self._trio.current_trio_token() is self._loop:
            self._trio.add_instrument(self)

    def after_task_step(self, task: Any) -> None:
        """End the child: called by Trio after the step, whatever came of it."""
        if task.coro.cr_frame is not None:
            end_child(ChildAwaits())
        raised = getattr(task.parent_nursery, "_pending_excs", None)  # the last is this task's; Trio shows it nowhere else
        end_child(raised[-1] if raised else None)
