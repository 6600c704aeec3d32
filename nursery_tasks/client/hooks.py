"""Functions of the user's that hear of events: beside what happens, never in its way.

Each hook has a buffer and a child of its own below the open connection. So a slow one holds up only itself, and what it
raises ends there. Where no loop runs (`app.sync`), a `def` is called at once, in the thread that submits.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from anyio import CapacityLimiter, Event, create_task_group, move_on_after, sleep_forever, to_thread

from ..events import EventFilter, EventListener, Events, JobEvent
from ..log_throttle import LogThrottle
from ..loop.threadsafe import RunSoon, loop_run_soon
from ..registry import is_async

BUFFER: Final = 10_000  # events that wait for one hook
FINISH_SECONDS: Final = 1.0  # for what is heard and not told when the app is left

_log = logging.getLogger("nursery_tasks.events")


class Hook:
    """A function that hears of events, as `@app.on(...)` leaves it: it can be called as before, and tells how it fares.

    Attributes:
        function: The function itself.
        called: How many events it has been called with.
        failed: How many of these calls have raised.
        dropped: How many events it was not called with, because too many were waiting, or no loop ran that could call it.
    """

    def __init__(self, hooks: Hooks, function: EventListener, *, once: bool) -> None:
        self.function = function
        self.called = self.failed = self.dropped = 0
        self._hooks = hooks
        self._is_async = is_async(function)
        self._once = once
        self._is_over = self._is_calling = False
        self._waiting: deque[JobEvent] = deque()
        self.unsubscribe: Callable[[], object] = lambda: None
        self._changed = Event()
        self._failing = LogThrottle(_log)
        self._dropping = LogThrottle(_log)

    def __call__(self, event: JobEvent) -> object:
        return self.function(event)

    def __repr__(self) -> str:
        return f"<Hook {self._name}: {self.called} calls, {self.failed} failed, {self.dropped} events dropped>"

    @property
    def is_idle(self) -> bool:
        """Whether it has been called with all that it has heard."""
        return not self._waiting and not self._is_calling

    def remove(self) -> None:
        """Call it with no more events; those that wait are told."""
        self._is_over = True
        self.unsubscribe()
        self._hooks.remove(self)

    def hear(self, event: JobEvent) -> None:
        """Take note of an event; from any thread, and at once."""
        if self._once:
            self.remove()
        if not self._hooks.is_open:
            self._call_here(event)
        elif len(self._waiting) >= BUFFER:
            self._drop(1, f"{BUFFER:,} events wait for the hook %s already, which is too slow for what happens")
        else:
            self._waiting.append(event)
            self._hooks.wake(self)

    def wake(self) -> None:
        """Have the child look; on the loop."""
        self._changed.set()

    async def serve(self) -> None:
        """Call the function with what is heard, until it is removed, or cancelled.

        Cancellation:
            What it has not been called with is dropped. A thread that runs is left behind.
        """
        try:
            while True:
                self._changed = Event()
                while self._waiting:
                    self._is_calling = True
                    await self._call(self._waiting.popleft())
                    self._is_calling = False
                self._hooks.look_idle()
                if self._is_over:
                    return
                await self._changed.wait()
        finally:
            self._is_calling = False
            left = len(self._waiting)
            self._waiting.clear()
            if left:
                self._drop(left, "the app was left before the hook %s was called with all that it has heard")

    async def _call(self, event: JobEvent) -> None:
        self.called += 1
        try:
            if self._is_async:
                await cast("Awaitable[object]", self.function(event))
            elif self._hooks.threads:
                await to_thread.run_sync(self.function, event, abandon_on_cancel=True, limiter=self._hooks.limiter)
            else:
                self.function(event)
        except (Exception, SystemExit):
            self._note_failure(event)

    def _call_here(self, event: JobEvent) -> None:
        if self._is_async:
            self._drop(1, "the hook %s is async, and no event loop runs an `async with app` here that could call it")
            return
        self.called += 1
        try:
            self.function(event)
        except Exception:
            self._note_failure(event)

    def _note_failure(self, event: JobEvent) -> None:
        self.failed += 1
        self._failing.log("the hook %s failed on %s of job %s", self._name, event.kind, event.job_id, traceback=True)

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        self._dropping.log(f"{why}; %s dropped so far", self._name, self.dropped)

    @property
    def _name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


class Hooks:
    """All hooks of an app.

    Attributes:
        threads: Whether `def` hooks are called in threads; not where time is virtual.
        is_open: Whether there is a loop that calls them.
    """

    def __init__(self, events: Events) -> None:
        self.threads = True
        self.is_open = False
        self.limiter: CapacityLimiter | None = None
        self._events = events
        self._hooks: list[Hook] = []
        self._thread = 0
        self._run_soon: RunSoon = lambda call: None
        self._start: Callable[[Hook], object] = lambda hook: None
        self._idle = Event()

    def add(self, function: EventListener, wanted: EventFilter | None, *, once: bool) -> Hook:
        """Add a hook, also while the app is open, from any thread."""
        hook = Hook(self, function, once=once)
        self._hooks.append(hook)
        hook.unsubscribe = self._events.subscribe(hook.hear, wanted, once=once)
        if self.is_open:
            self._on_loop(lambda: self._start(hook))
        return hook

    def remove(self, hook: Hook) -> None:
        """Let a hook end once it has been called with what it has heard."""
        if self.is_open:
            self._on_loop(hook.wake)  # its child forgets it
        elif hook in self._hooks:
            self._hooks.remove(hook)

    def wake(self, hook: Hook) -> None:
        """Have a hook's child look; from any thread."""
        self._on_loop(hook.wake)

    def look_idle(self) -> None:
        """Hear that a hook has nothing to do."""
        if all(hook.is_idle for hook in self._hooks):
            self._idle.set()

    def begin(self) -> None:
        """Take note of the loop that is running now."""
        self._thread, self._run_soon = threading.get_ident(), loop_run_soon()
        self.limiter = CapacityLimiter(math.inf)
        self.is_open = True

    async def serve(self) -> None:
        """Own a nursery with a child for each hook until cancelled. They hear from `begin` on."""
        try:
            async with create_task_group() as running:
                self._start = lambda hook: running.start_soon(self._serve, hook, name="hook")
                for hook in tuple(self._hooks):
                    self._start(hook)
                await sleep_forever()
        finally:
            self.is_open = False
            self._start = lambda hook: None

    async def _serve(self, hook: Hook) -> None:
        await hook.serve()
        self._hooks.remove(hook)
        self.look_idle()

    async def finish(self) -> None:
        """Wait until the hooks have been called with all that they have heard; bounded."""
        self._idle = Event()
        if all(hook.is_idle for hook in self._hooks):
            return
        with move_on_after(FINISH_SECONDS, shield=True):
            await self._idle.wait()

    def run_on_loop(self, call: Callable[[], Any]) -> None:
        """Make a call on the loop, soon, or here where there is none."""
        if self.is_open:
            self._on_loop(call)
        else:
            call()

    def _on_loop(self, call: Callable[[], Any]) -> None:
        if threading.get_ident() == self._thread:
            call()
        else:
            self._run_soon(call)


class HookDecorator:
    """What `app.on(...)` returns: it makes a hook of a function."""

    def __init__(self, hooks: Hooks, wanted: EventFilter | None, *, once: bool) -> None:
        self._hooks, self._wanted, self._once = hooks, wanted, once

    def __call__(self, function: EventListener) -> Hook:
        """Add *function*, which may be a hook already: one function can listen to several things."""
        return self._hooks.add(function.function if isinstance(function, Hook) else function, self._wanted, once=self._once)
