"""Call an `async def` handler on the event loop, in a context of its own.

A worker's slots are long-lived, so a handler that sets a context variable would leave it to the next job of its slot. Each
attempt therefore runs in a copy of the slot's context: the coroutine is driven step by step inside that copy, which costs half
a microsecond where a child of its own would cost twenty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from typing import Any

from ..current import CurrentJob, set_current
from ..forks import ChildAwaits, end_child, generation


def call_in_loop(
    function: Callable[..., Coroutine[Any, Any, Any]], args: Sequence[Any], kwargs: dict[str, Any], job: CurrentJob
) -> Awaitable[Any]:
    """Call *function* with *job* as the current job; to be awaited at once. (No coroutine: it would be one more per job.)"""
    context = copy_context()
    context.run(set_current, job)
    coroutine = context.run(function, *args, **kwargs)
    if job.context is not None:
        job.context.coroutine = coroutine  # its stack is shown when it does not end
    return _Driven(coroutine, context, ends_children=job.worker is not None)


class _Driven:
    """Awaits a coroutine with every step of it taken inside *context*; children it starts copy that context.

    Args:
        ends_children: A forked child of the handler ends where it would come back to the loop, which is its parent's.
    """

    __slots__ = ("_context", "_coroutine", "_ends_children")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], context: Context, *, ends_children: bool) -> None:
        self._coroutine = coroutine
        self._context = context
        self._ends_children = ends_children

    def __await__(self) -> Generator[Any, Any, Any]:
        # What `yield from` does (PEP 380), with each send and throw inside the context.
        send, throw, run = self._coroutine.send, self._coroutine.throw, self._context.run
        born = generation() if self._ends_children else None
        try:
            waiting_for = run(send, None)
            while True:
                if born is not None and born != generation():
                    raise ChildAwaits
                try:
                    value = yield waiting_for
                except GeneratorExit:  # the slot itself is being thrown away
                    self._coroutine.close()
                    raise
                except BaseException as error:
                    waiting_for = run(throw, error)
                else:
                    waiting_for = run(send, value)
        except StopIteration as end:
            if born is not None and born != generation():
                end_child()
            return end.value
        except BaseException as error:
            if born is not None and born != generation():
                end_child(error)
            raise
