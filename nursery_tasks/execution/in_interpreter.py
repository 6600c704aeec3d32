"""Call a handler in a sub-interpreter (Python 3.13 and newer), through AnyIO.

It has a GIL of its own, in this process: cheaper than a process, and nothing can end it. Every extension module that the task
imports must allow it, and msgspec, without which nothing here works, does not yet (0.22): `program.why_no_interpreters()` asks.
Its modules are its own, too, so a function is found, called and described like in a process; what it prints goes where this
process prints.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import CapacityLimiter

from ..errors import FunctionNotFound
from .in_process.frames import FrameBuffer, Work, pack
from .in_process.pool import opened
from .results import Encoded

RunSync = Callable[..., Awaitable[Any]]


async def call_in_interpreter(work: Work, payload: bytes, run_sync: RunSync | None = None) -> Encoded:
    """Run one job in an interpreter.

    Args:
        payload: Its message.
        run_sync: What AnyIO's `to_interpreter.run_sync` does.

    Raises:
        ForeignError: What the handler raised.
        FunctionNotFound: The interpreter could not do it at all: an extension module of the task's does not allow it, most
            often.

    Cancellation:
        Waits for the interpreter to end.
    """
    limiter = CapacityLimiter(1)  # the caller has waited for its turn
    try:
        frame: bytes = await (run_sync or _run_sync())(interpreter_main, pack(work, payload), tuple(sys.path), limiter=limiter)
    except Exception as error:
        problem = f"the interpreter says {type(error).__name__}: {error}"
        raise FunctionNotFound(work.task, f"{work.module}.{work.qualname}", problem) from error
    ((header, body),) = FrameBuffer().feed(frame)
    return opened(header, body)


def _run_sync() -> RunSync:
    from anyio import to_interpreter  # late: its module needs more of Python than the others

    return to_interpreter.run_sync


def interpreter_main(frame: bytes, path: tuple[str, ...]) -> bytes:
    """Do one job; in the interpreter, with bytes for all that comes and goes, and the program's `sys.path`."""
    sys.path[:] = path
    from ..current import CurrentJob
    from .perform import perform

    ((work, payload),) = FrameBuffer().feed(frame)
    assert isinstance(work, Work)
    job = CurrentJob(
        id=work.id,
        task=work.task,
        attempt=work.attempt,
        queue=work.queue,
        worker=work.worker,
        parent=work.parent,
        tags=work.tags,
        headers=work.headers,
        slot=work.slot,
        batch=work.batch,
        _check=lambda: None,
    )
    return pack(*perform(work, payload, job))
