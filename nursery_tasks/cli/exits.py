"""A worker's asyncio loop goes on when something that a handler has left on it raises `SystemExit` or KeyboardInterrupt.

asyncio stops its loop for these two, whatever raises them, and the process would end with the exit code of `sys.exit`, where 0
means that the worker has drained. Tasks of handlers raise something else, see `worker/exits.py`. What is left is what asyncio
calls without a task: callbacks, timers, signal handlers, what a future calls when it is done; and tasks in a loop whose task
factory the app has replaced. Nothing is lost when a loop stops, what was ready is still ready; so it is started again.

Trio needs none of this: there the two are exceptions like others, and reach the nursery.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

KINDS: Final = (SystemExit, KeyboardInterrupt)

_log = logging.getLogger("nursery_tasks.worker")


class Exits:
    """What one process does about the exits of its handlers."""

    def __init__(self) -> None:
        self._contained: tuple[type[BaseException], ...] = ()

    def watch(self, make: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
        """Make a loop that goes on; for AnyIO's `loop_factory`."""
        loop = make()
        run_to_end = loop.run_until_complete

        def run_until_complete(future: Any) -> Any:
            main = asyncio.ensure_future(future, loop=loop)
            while True:
                try:
                    return run_to_end(main)
                except KINDS as error:
                    if not isinstance(error, self._contained) or _has_raised(main, error):
                        raise
                    _tell(error)

        loop.run_until_complete = run_until_complete  # type: ignore[method-assign]  # whatever class it is of
        return loop

    @contextmanager
    def contained(self) -> Generator[None, None, None]:
        """Let the loop go on after a `SystemExit` from now on, and while the context is open after a KeyboardInterrupt, too.

        Entered while signals are received: then a Ctrl-C is no KeyboardInterrupt. What a handler has left behind may call
        `sys.exit()` as late as when the loop closes, and the exit code is not its own.
        """
        self._contained = KINDS
        try:
            yield
        finally:
            self._contained = (SystemExit,)


def _has_raised(main: asyncio.Future[Any], error: BaseException) -> bool:
    return main.done() and not main.cancelled() and main.exception() is error


def _tell(error: BaseException) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    _log.error("%r at %s: ends the callback or the task that raised it, and not the event loop", error, where)
