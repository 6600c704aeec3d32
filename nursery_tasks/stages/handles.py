"""What `@app.publisher` and `@app.collector` return: the user's function still, and a look at what is stored of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..task import Task

if TYPE_CHECKING:
    from .collector import CollectorState
    from .publisher import PublisherRun

R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Publisher(Generic[F]):
    """A publisher: calling it is still the plain call of its function.

    Attributes:
        name: Its name.
    """

    def __init__(self, function: F, run: PublisherRun) -> None:
        self.name = run.name
        self.function = function
        self._run = run

    def __repr__(self) -> str:
        return f"<Publisher {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, here."""
        return self.function(*args, **kwargs)

    async def done(self) -> bool:
        """Say whether its generator has ended, or has failed too often. Raises as `Task.enqueue` does."""
        return (await self._run.state()).done

    async def sent(self) -> int:
        """Return how many items have gone out. Raises as `Task.enqueue` does."""
        return (await self._run.state()).index

    async def restart(self) -> None:
        """Let it begin anew, from its first item, within a second or so. Raises as `Task.enqueue` does.

        Cancellation:
            Leaves unknown whether it begins anew; a second call begins anew again.
        """
        await self._run.restart()


class Collector(Generic[R, T]):
    """A collector: calling it is still the plain call of its function.

    Attributes:
        task: The task whose jobs the items are.
    """

    def __init__(self, function: Callable[[R, T], Any], task: Task[Any, Any], state: CollectorState) -> None:
        self.name = task.name
        self.task = task
        self.function = function
        self._state = state

    def __repr__(self) -> str:
        return f"<Collector {self.name}>"

    def __call__(self, total: R, item: T) -> Any:
        """Call the function itself, here."""
        return self.function(total, item)

    async def total(self) -> R:
        """Return the total of what has come since it last left. Raises as `Task.enqueue` does."""
        return cast("R", await self._state.total())

    async def flush(self) -> bool:
        """Let the total leave now; False: nothing has come since it last left. Raises as `Task.enqueue` does.

        Cancellation:
            The total leaves, once, or stays.
        """
        return await self._state.flush()
