"""AnyIO's one call for a host: from its start to its end, which is always an error to AnyIO."""

from __future__ import annotations

import sys
from typing import Final

from anyio import BrokenWorkerProcess, CancelScope, CapacityLimiter, Event, create_task_group, move_on_after, to_process
from anyio.abc import TaskGroup

from ...errors import MainNotGuarded
from ...registry import has_tasks_of
from .guard import host_main
from .rendezvous import Connected, Rendezvous

START_SECONDS: Final = 30.0  # longer than AnyIO waits for its own process; then the main module does not come to an end
GUARD: Final = 'put what it does under `if __name__ == "__main__":`'


class _NotAgain(str):
    """The path of the main module; in a pickle, and so in AnyIO's message to a new process, it names no file."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, ("",)


def spare_main() -> None:
    """Keep new processes from importing the main module again where it is that of `python -m package`, as multiprocessing does.

    Nobody guards a `__main__.py`, and there is nothing in it that a handler needs, unless it has tasks.
    """
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", "")
    path = getattr(main, "__file__", None)
    if main is not None and path and name.rpartition(".")[2] == "__main__" and not has_tasks_of("__main__"):
        main.__file__ = _NotAgain(path)


class HostProcess:
    """The process of a host's guard.

    Attributes:
        ended: Set when the process is gone.
        problem: Why it could not be started.
    """

    def __init__(self) -> None:
        self.ended = Event()
        self.problem: str | None = None
        self._call_scope = CancelScope()

    async def start(self, group: TaskGroup) -> Connected | None:
        """Start it, as a child of *group*, and wait until it has connected; None: it has ended, or does not come.

        Cancellation:
            The caller must be shielded: on asyncio, AnyIO leaves a process behind when its start is cancelled.
        """
        with Rendezvous() as place:
            group.start_soon(self._call, place, name="process host")
            return await self._wait_connected(place)

    def leave(self) -> None:
        """Have AnyIO kill it, and wait for its end no longer than that takes."""
        self._call_scope.cancel()

    async def _call(self, place: Rendezvous) -> None:
        spare_main()
        try:
            with self._call_scope:
                # Its own limiter: AnyIO's default one counts the program's own calls.
                await to_process.run_sync(host_main, place.address, place.secret, cancellable=True, limiter=CapacityLimiter(1))
        except BrokenWorkerProcess as error:
            self.problem = _why(error)
        except Exception as error:
            self.problem = f"could not be started: {type(error).__name__}: {error}"
        finally:
            self.ended.set()

    async def _wait_connected(self, place: Rendezvous) -> Connected | None:
        found: list[Connected] = []

        async def accept() -> None:
            found.append(await place.accept())
            waiting.cancel_scope.cancel()

        with move_on_after(START_SECONDS) as start:
            async with create_task_group() as waiting:
                waiting.start_soon(accept)
                await self.ended.wait()
                waiting.cancel_scope.cancel()
        if found:
            return found[0]
        if start.cancelled_caught:
            self.leave()  # at this time it is past the point where AnyIO would not kill it
            await self.ended.wait()
            self.problem = (
                f"could not be started within {START_SECONDS:g} s: the main module, which is imported again there, "
                f"does not come to an end; {GUARD}"
            )
        return None


def _why(error: BrokenWorkerProcess) -> str:
    cause = error.__cause__
    if cause is None:
        return f"could not be started: {error}" if str(error) else "could not be started: its process ended at once"
    if isinstance(cause, MainNotGuarded):
        return f"could not be started: {cause}"
    return f"could not be started: importing the main module again raised {type(cause).__name__}: {cause}; {GUARD}"
