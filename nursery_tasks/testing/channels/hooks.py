"""Hooks of a fake whose calls are async: let the call that a test chooses fail, or hang."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

from anyio import Event

Hook = Callable[[], Awaitable[None]]


class CallStall:
    """One call that hangs on the loop."""

    def __init__(self) -> None:
        self._reached, self._released = Event(), Event()

    @property
    def reached(self) -> bool:
        """Whether a call hangs here, or has."""
        return self._reached.is_set()

    async def wait_until_reached(self) -> None:
        """Wait until a call hangs."""
        await self._reached.wait()

    def release(self) -> None:
        """Let it go on."""
        self._released.set()

    async def __call__(self) -> None:
        self._reached.set()
        await self._released.wait()


class CallHooks:
    """What a test says about calls to come.

    Attributes:
        calls: How often each method was called.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._before: list[tuple[str, Hook]] = []
        self._after: list[tuple[str, Hook]] = []

    def fail(self, *methods: str, error: Exception, times: int | None = None, effect: bool = False) -> Callable[[], None]:
        """Let calls fail; returns a function that ends it.

        Args:
            methods: Which ones.
            error: What they raise.
            times: How many calls of each; None: all, until it is ended.
            effect: Let the call take effect first, so that only its answer is lost.
        """
        enders = [self._add(method, _Failing(error, times), after=effect) for method in methods]

        def end() -> None:
            for ender in enders:
                ender()

        return end

    @contextmanager
    def failing(self, *methods: str, error: Exception, effect: bool = False) -> Generator[None, None, None]:
        """Let calls fail while the context is open. See `fail`."""
        end = self.fail(*methods, error=error, effect=effect)
        try:
            yield
        finally:
            end()

    def stall(self, method: str, *, effect: bool = False) -> CallStall:
        """Let the next call of *method* hang until it is released; with *effect*, after it has taken effect."""
        stall = CallStall()

        async def once() -> None:
            end()
            await stall()

        end = self._add(method, once, after=effect)
        return stall

    async def run_before(self, method: str) -> None:
        """Run what a test wants to happen before a call of this method."""
        self.calls[method] += 1
        await _run(self._before, method)

    async def run_after(self, method: str) -> None:
        """Run what a test wants to happen when it has taken effect."""
        await _run(self._after, method)

    def _add(self, method: str, hook: Hook, *, after: bool) -> Callable[[], None]:
        hooks, entry = self._after if after else self._before, (method, hook)
        hooks.append(entry)

        def remove() -> None:
            if entry in hooks:
                hooks.remove(entry)

        return remove


async def _run(hooks: list[tuple[str, Hook]], method: str) -> None:
    for wanted, hook in hooks.copy():
        if wanted == method:
            await hook()


class _Failing:
    def __init__(self, error: Exception, times: int | None) -> None:
        self._error, self._left = error, times

    async def __call__(self) -> None:
        if self._left == 0:
            return
        if self._left is not None:
            self._left -= 1
        raise self._error
