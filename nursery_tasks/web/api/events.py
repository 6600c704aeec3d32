"""`/events`: what happens to jobs, as server-sent events; from the log of events where the app has one."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
from anyio import CancelScope, Event, move_on_after
from starlette.responses import Response

from ...events import EventFilter, EventKind, JobEvent, to_event_filter
from ...loop.threadsafe import loop_run_soon
from ...loop.unwrapped import open_unwrapped_group
from ..call import Call
from ..callers import Caller
from ..operations import Operation
from ..problems import Problem
from ..streams import SendPiece, Stream

EVENT_STREAM: Final = "text/event-stream"
BUFFER: Final = 1_000  # events for a client that is slow; then the oldest are dropped, and it is told how many
PING_SECONDS: Final = 15.0  # a comment, so that proxies keep the connection
BEGIN: Final = b": from here on\n\n"
STILL_HERE: Final = b": still here\n\n"


class Wanted(msgspec.Struct, frozen=True):
    """What a client has asked for, and may see.

    Attributes:
        choice: Kinds, task and job; None: all.
        queue: Of this queue; None: of all that the caller may use.
    """

    choice: EventFilter | None
    queue: str | None
    caller: Caller

    def has(self, event: JobEvent) -> bool:
        """Say whether an event is among it. That something is missing concerns every client."""
        if event.kind is EventKind.GAP:
            return True
        if self.queue not in (None, event.queue) or not self.caller.may_use(event.queue):
            return False
        return self.choice is None or self.choice.wants(event)


class Inbox:
    """What has happened and is not sent yet. Events come from any thread.

    Attributes:
        dropped: How many were dropped since the client was told.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.dropped = 0
        self._wanted = wanted
        self._events = deque[JobEvent]()
        self._some = Event()
        self._run_soon = loop_run_soon()

    def on_event(self, event: JobEvent) -> None:
        """Take an event."""
        if self._wanted.has(event):
            self._run_soon(lambda: self._put(event))

    def _put(self, event: JobEvent) -> None:
        if len(self._events) >= BUFFER:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        self._some.set()

    async def take(self) -> list[JobEvent]:
        """Wait for some events; none after a while."""
        with move_on_after(PING_SECONDS):
            await self._some.wait()
        self._some = Event()
        taken = list(self._events)
        self._events.clear()
        return taken


async def follow_events(call: Call) -> Response:
    """Follow what happens: in this program from now on, or where there is a log of events, anywhere, from a place in it."""
    query = call.request.query_params
    kinds, task, job = query.getlist("kind"), query.get("task"), query.get("job")
    wanted = Wanted(to_event_filter(kinds, task, job), query.get("queue"), call.caller)
    if not call.app.keeps_events:
        if query.get("since", "now") != "now":
            raise Problem(422, "invalid-query", "this app has no log of events: only now is possible", field="since")
        return Stream(partial(_send_own, call, wanted), EVENT_STREAM)
    since = call.request.headers.get("last-event-id") or query.get("since") or "now"
    async with call.app.follow(since=since) as events:  # what is wrong with the place is told before the answer begins
        place = events.cursor
    return Stream(partial(_send_log, call, wanted, place), EVENT_STREAM)


async def _send_own(call: Call, wanted: Wanted, send: SendPiece) -> None:
    inbox = Inbox(wanted)

    async def go_on() -> None:
        while True:
            events = await inbox.take()
            if inbox.dropped:
                await send(b"event: dropped\ndata: %d\n\n" % inbox.dropped)
                inbox.dropped = 0
            await send(b"".join(map(_written, events)) or STILL_HERE)

    stop = call.app.subscribe(inbox.on_event)
    try:
        await send(BEGIN)
        await _until_draining(call, go_on)
    finally:
        stop()


async def _send_log(call: Call, wanted: Wanted, place: str, send: SendPiece) -> None:
    async with call.app.follow(since=place) as events:

        async def go_on() -> None:
            while True:
                event: JobEvent | None = None
                with move_on_after(PING_SECONDS):
                    event = await anext(events)
                if event is None or wanted.has(event):
                    await send(STILL_HERE if event is None else _written(event))

        await send(BEGIN)
        await _until_draining(call, go_on)


async def _until_draining(call: Call, go_on: Callable[[], Awaitable[None]]) -> None:
    """Send events until the server stops; owns a nursery of one child, which waits for that."""
    async with open_unwrapped_group() as group:

        async def wait(scope: CancelScope) -> None:
            await call.door.draining.wait()
            scope.cancel()

        group.start_soon(wait, group.cancel_scope, name="until the door is closed")
        await go_on()


def _written(event: JobEvent) -> bytes:
    place = b"id: %s\n" % event.cursor.encode() if event.cursor else b""
    return b"%sevent: %s\ndata: %s\n\n" % (place, event.kind.encode(), msgspec.json.encode(event))


_QUERY: Final[tuple[tuple[str, Any], ...]] = tuple((name, str) for name in ("job", "task", "queue", "kind", "since"))

OPERATIONS: Final = (
    Operation(
        "GET",
        "/events",
        "read",
        "followEvents",
        "Follow what happens to jobs",
        follow_events,
        query=_QUERY,
        answers=((200, "Server-sent events, until one side closes"),),
        answer_types=(EVENT_STREAM,),
    ),
)
