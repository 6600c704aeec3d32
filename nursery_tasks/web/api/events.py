"""`/events`: what happens to jobs in this program, as it happens, as server-sent events."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec
from anyio import CancelScope, Event, create_task_group, move_on_after
from starlette.responses import Response

from ...events import EventKind, JobEvent
from ...loop.threadsafe import loop_run_soon
from ..call import Call
from ..operations import Operation
from ..problems import Problem
from ..streams import SendPiece, Stream

EVENT_STREAM: Final = "text/event-stream"
BUFFER: Final = 1_000  # events for a client that is slow; then the oldest are dropped, and it is told how many
PING_SECONDS: Final = 15.0  # a comment, so that proxies keep the connection


class Wanted(msgspec.Struct, frozen=True):
    """What a client has asked for; None or empty: everything."""

    job: str | None
    task: str | None
    queue: str | None
    kinds: frozenset[str]

    def has(self, event: JobEvent) -> bool:
        """Say whether an event is among it."""
        return (
            self.job in (None, event.job_id)
            and self.task in (None, event.task)
            and self.queue in (None, event.queue)
            and (not self.kinds or event.kind in self.kinds)
        )


class Inbox:
    """What has happened and is not sent yet. Events come from any thread.

    Attributes:
        dropped: How many were dropped since somebody was told.
    """

    def __init__(self, wanted: Wanted, call: Call) -> None:
        self.dropped = 0
        self._wanted = wanted
        self._caller = call.caller
        self._events = deque[JobEvent]()
        self._some = Event()
        self._run_soon = loop_run_soon()

    def on_event(self, event: JobEvent) -> None:
        """Take an event."""
        if self._wanted.has(event) and self._caller.may_use(event.queue):
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
    """Follow what happens from now on."""
    query = call.request.query_params
    kinds = frozenset(query.getlist("kind"))
    if unknown := kinds - set(EventKind):
        raise Problem(422, "invalid-query", f"no kind {min(unknown)!r}: expected {', '.join(EventKind)}", field="kind")
    inbox = Inbox(Wanted(query.get("job"), query.get("task"), query.get("queue"), kinds), call)

    async def make(send: SendPiece) -> None:
        stop = call.app.subscribe(inbox.on_event)
        try:
            await until_draining(call, send, inbox)
        finally:
            stop()

    return Stream(make, EVENT_STREAM)


async def until_draining(call: Call, send: SendPiece, inbox: Inbox) -> None:
    """Send events until the server stops; owns a nursery of one child, which waits for that."""
    async with create_task_group() as group:

        async def wait(scope: CancelScope) -> None:
            await call.door.draining.wait()
            scope.cancel()

        group.start_soon(wait, group.cancel_scope, name="until the door is closed")
        await send(b": from here on\n\n")
        while True:
            events = await inbox.take()
            if inbox.dropped:
                await send(b"event: dropped\ndata: %d\n\n" % inbox.dropped)
                inbox.dropped = 0
            await send(b"".join(map(_written, events)) or b": still here\n\n")


def _written(event: JobEvent) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.kind.encode(), msgspec.json.encode(event))


_QUERY: Final[tuple[tuple[str, Any], ...]] = tuple((name, str) for name in ("job", "task", "queue", "kind"))

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
