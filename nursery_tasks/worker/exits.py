"""`sys.exit()` and KeyboardInterrupt in the tasks that a handler has started, on asyncio.

asyncio ends its loop when one of the two comes out of a task, and asks nobody above that task: neither the nursery that it is a
child of, nor the attempt, nor the worker. A GeneratorExit is thrown into whoever awaits the task, and there it means "end at
once, and do not wait any more": it would end the slot. So while a worker is open, such tasks raise an ordinary `SystemError`
instead. It reaches whoever waits for the task, as on Trio, where the loop treats the three like any other exception.

Only tasks of handlers are changed: the program's own may still end it. What asyncio calls without a task, such as
`loop.call_soon(sys.exit)`, cannot be told apart here without replacing a dozen methods of a loop that belongs to somebody else.
`nursery-tasks run` has a loop of its own, which goes on after those, too; see `cli/exits.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Final, cast

from ..current import current_job_or_none
from ..forks import ChildAwaits, end_child, generation

Make = Callable[..., "asyncio.Future[Any]"]

_FINALIZER: Final = "async_generator_athrow"  # `aclose()` of a generator that nobody has closed; it runs in anybody's context


@contextmanager
def exits_contained(*, owns_signals: bool) -> Generator[None, None, None]:
    """Have the tasks of handlers raise no `SystemExit` on this loop, while the context is open; elsewhere do nothing.

    A task factory that is there already is used by ours, and is the loop's again afterwards.

    Args:
        owns_signals: KeyboardInterrupt is a handler's own, too. Otherwise it may be a Ctrl-C, and ends the program.
    """
    loop = asyncio._get_running_loop() if "asyncio" in sys.modules else None
    if loop is None:
        yield
        return
    before: Any = loop.get_task_factory()
    factory = before if isinstance(before, _TaskFactory) else _TaskFactory(before)
    if factory is not before:
        loop.set_task_factory(cast("Any", factory))  # typeshed asks for one that knows no later keywords
    factory.enter(owns_signals)
    try:
        yield
    finally:
        factory.leave(owns_signals)
        now: Any = loop.get_task_factory()  # somebody may have set another one meanwhile
        if now is factory and not factory.workers:
            loop.set_task_factory(factory.before)


class _TaskFactory:
    """Makes the tasks of a loop for as long as a worker is open there; afterwards it only passes on.

    Attributes:
        before: The loop's factory before; None: asyncio's own.
        workers: How many workers are open.
    """

    def __init__(self, before: Make | None) -> None:
        self.before = before
        self.workers = 0
        self._owning_signals = 0

    def enter(self, owns_signals: bool) -> None:
        self.workers += 1
        self._owning_signals += owns_signals

    def leave(self, owns_signals: bool) -> None:
        self.workers -= 1
        self._owning_signals -= owns_signals

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, context: Context | None = None, **options: Any
    ) -> asyncio.Future[Any]:
        if self.workers and _is_a_handlers(coro, context):
            kept = (SystemExit, GeneratorExit, KeyboardInterrupt) if self._owning_signals else (SystemExit, GeneratorExit)
            coro = _Contained(coro, kept)
        if context is not None:  # a factory from before 3.11 does not know it
            options["context"] = context
        return asyncio.Task(coro, loop=loop, **options) if self.before is None else self.before(loop, coro, **options)


def _is_a_handlers(coro: Coroutine[Any, Any, Any], context: Context | None) -> bool:
    job = current_job_or_none(context)
    return (job is not None and job.context is not None) or type(coro).__name__ == _FINALIZER


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that turns these exceptions into ordinary ones on their way out. All else is the coroutine's own.

    A child that it has forked ends where it would come back to the loop, see `strays.py`.

    A coroutine that awaits the other would do, were it not for tasks that are cancelled before their first step: then nobody
    would ever have awaited the inner one, and Python says so.
    """

    __slots__ = ("_born", "_coro", "_kept")

    def __init__(self, coro: Coroutine[Any, Any, Any], kept: tuple[type[BaseException], ...]) -> None:
        self._coro = coro
        self._kept = kept
        self._born = generation()

    def send(self, value: Any) -> Any:
        return self._step(self._coro.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._coro.throw, *error)

    def _step(self, step: Callable[..., Any], *given: Any) -> Any:
        try:
            value = step(*given)
        except BaseException as error:
            if self._born != generation():
                end_child(None if isinstance(error, StopIteration) else error)
            if isinstance(error, self._kept):
                raise _ordinary(error) from error
            raise
        if self._born != generation():
            end_child(ChildAwaits())
        return value

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:  # its frame, its code and its names, for those who show stacks
        return getattr(self._coro, name)


def _ordinary(error: BaseException) -> SystemError:
    return SystemError(f"a task of the handler raised {error!r}")
