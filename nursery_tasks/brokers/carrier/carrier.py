"""Who carries a call: a link on the loop, or a thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio.abc import TaskGroup

from ...loop.threads import Call, Threads
from ...loop.threadsafe import loop_run_soon
from ...loop.unwrapped import open_unwrapped_group
from ..protocol import Broker
from ..steps import Request
from .link import LoopLink

THREADS: Final = 8  # submit, claim, settle, outcomes, sweep, cancel and two for people

Maker = Callable[[tuple[Any, ...]], Request | None]


class Carrier:
    """Carries the calls of one gateway. Make it inside the event loop that uses it.

    While `on_loop` is open, calls that the broker's steps know go out from the loop. All others take a thread each, as all
    do where the broker has no steps.
    """

    def __init__(self, broker: Broker, call_seconds: Callable[[], float]) -> None:
        self._name = broker.name
        self._steps = broker.steps if broker.blocking else None
        self._run_soon = loop_run_soon()
        self._call_seconds = call_seconds
        self._threads = Threads(THREADS)
        self._links: dict[str, LoopLink] = {}  # by their lanes
        self._serving: TaskGroup | None = None  # where the links are served
        self._own: dict[Callable[..., Any], Maker] = {}

    def add(self, method: Callable[..., Any], make: Maker) -> None:
        """Let *make* encode the calls of a method that is not the broker's own."""
        self._own[method] = make

    @asynccontextmanager
    async def on_loop(self) -> AsyncGenerator[None, None]:
        """Carry on this loop what can be carried there, while the context is open; owns a nursery, one child per link.

        Cancellation:
            The children are shielded, because calls are, and end with the context.
        """
        if self._steps is None:
            yield
            return
        async with open_unwrapped_group() as links:
            self._serving = links
            try:
                yield
            finally:
                self._serving = None
                for link in self._links.values():
                    link.close()
                self._links.clear()

    def start(self, call: Call[Any]) -> None:
        """Have a call made. What encoding it raises is its error."""
        if self._serving is None:
            self._threads.start(call)
            return
        try:
            request = self.make(call.method, call.args)
        except Exception as error:
            call.error, call.ended = error, True
            self._run_soon(call.tell)  # not now: whoever is told may start the next, and that may fail, too
            return
        if request is None:
            self._threads.start(call)
        else:
            self._link(request.lane).start(call, request.step)

    def give_up(self, call: Call[Any]) -> bool:
        """Wait no longer for a call; it goes on, and ends without anybody who waits. It may have ended in this moment.

        Returns:
            Whether it was never sent: it will not be made, and nobody will tell of its end.
        """
        for link in self._links.values():
            if link.has(call):
                return link.give_up(call)
        return self._threads.give_up(call)

    def make(self, method: Callable[..., Any], args: tuple[Any, ...]) -> Request | None:
        """Encode a call; None: it is for a thread."""
        assert self._steps is not None
        own = self._own.get(method)
        return self._steps.make(method, args) if own is None else own(args)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _link(self, lane: str) -> LoopLink:
        link = self._links.get(lane)
        if link is None:
            assert self._serving is not None
            assert self._steps is not None
            link = self._links[lane] = LoopLink(self._name, self._steps, self._call_seconds())
            self._serving.start_soon(link.serve, name=f"broker link {lane}".rstrip())
        return link
