"""The door: one ASGI app. It looks who comes and how many there are, finds the handler, and turns errors into answers.

    request                 in flight: counted, and cut short when the door is shut
    ├─ guard                host, origin, token, rate: `guard.py`
    └─ handler              `api/`: a few steps over the app's public calls

It can be served in three ways: as a child of a worker, alone, and mounted in another program's app.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from anyio import CancelScope, Event
from starlette.requests import Request
from starlette.routing import Router

from .. import App
from ..errors import AppAlreadyOpen
from ..shown import visible
from .bodies import HungUp
from .call import Call
from .callers import Caller
from .cors import headers_for, is_preflight, preflight
from .families import operations_of
from .guard import Guard
from .operations import FOR_ALL, to_routes
from .problems import Problem, problem_of
from .settings import DoorSettings
from .state import DoorState

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CUT_SECONDS: Final = 1.0  # for jobs to be gone whose requests are cut short; they have been told to end all the same
_HEADERS: Final = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

_log = logging.getLogger("nursery_tasks.http")


class Door:
    """An app, to be reached by HTTP; `app.asgi(...)` makes it.

    Args:
        app: Whose tasks and jobs these are.
    """

    def __init__(self, app: App, settings: DoorSettings) -> None:
        self._state = DoorState(app, settings)
        self._guard = Guard(settings)
        self._router = Router(to_routes(operations_of(settings)))
        self._in_flight: dict[CancelScope, str] = {}  # with whose it is; empty: not known yet
        self._empty = Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or live along with the program that it is mounted in."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, _Reply(send))
        else:
            await send({"type": "websocket.close", "code": 1000})

    def drain(self) -> None:
        """Take no more requests: answer 503, and finish what is under way. Returns at once."""
        self._state.draining.set()

    async def wait_empty(self) -> None:
        """Wait until nothing is under way."""
        while self._in_flight:
            self._empty = Event()
            await self._empty.wait()

    def cut_short(self) -> None:
        """Cancel what is under way; it is answered with 503. For the end of the program: jobs elsewhere are not waited for."""
        self.drain()
        connection = self._state.app.open_connection
        if connection is not None:
            connection.owned.grace_seconds = CUT_SECONDS
        for scope in tuple(self._in_flight):
            scope.cancel()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open the app, unless it is open, and close it at the end."""
        await receive()
        step = "startup"
        try:
            async with AsyncExitStack() as opened:
                with suppress(AppAlreadyOpen):
                    await opened.enter_async_context(self._state.app)
                await send({"type": "lifespan.startup.complete"})
                step = "shutdown"
                await receive()
                self.drain()
        except Exception as error:
            await send({"type": f"lifespan.{step}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, given: Message, receive: Receive, reply: _Reply) -> None:
        began, caller, cutting = time.monotonic(), "-", CancelScope()
        scope: Message = {**given, "app": self}  # a copy: the program around it has its own
        try:
            with cutting:
                request, who = Request(scope, receive), None
                reply.headers += headers_for(request, self._state.settings.origins)
                if reply.headers and is_preflight(request):
                    await preflight()(scope, receive, reply.send)
                    return
                if not _asks_for_health(scope):
                    self._check_room()
                    self._in_flight[cutting] = ""
                    who = await self._guard.check(request)
                    caller = who.name
                    self._check_share(who)
                    self._in_flight[cutting] = who.id
                scope["state"] = {**given.get("state", {}), "call": Call(request, self._state, who)}
                await self._router(scope, receive, reply.send)
            if cutting.cancelled_caught and not reply.status:
                await reply.problem(Problem(503, "draining", "the server stops"), scope, receive)
        except HungUp:
            pass
        except Exception as error:
            await self._answer_error(error, scope, receive, reply)
        finally:
            self._in_flight.pop(cutting, None)
            if not self._in_flight:
                self._empty.set()
            spent_ms = (time.monotonic() - began) * 1e3
            _log.info("%s %s %s %d %.1f ms", caller, scope["method"], visible(str(scope["path"])), reply.status, spent_ms)

    async def _answer_error(self, error: Exception, scope: Message, receive: Receive, reply: _Reply) -> None:
        problem = problem_of(error)
        if problem is None:
            _log.error("%s %s failed", scope["method"], visible(str(scope["path"])), exc_info=error)
            problem = Problem(500, "fault", "something broke here; the log of the server has it")
        if not reply.status:
            await reply.problem(problem, scope, receive)

    def _check_room(self) -> None:
        if self._state.draining.is_set():
            raise Problem(503, "draining", "the server stops", headers={"Connection": "close"})
        if len(self._in_flight) >= self._state.settings.in_flight:
            raise Problem(503, "busy", f"{self._state.settings.in_flight} requests are under way")

    def _check_share(self, who: Caller) -> None:
        """Leave places to others: when half are taken, one of several callers gets no more than a quarter."""
        settings = self._state.settings
        share = max(1, settings.in_flight // 4)
        crowded = len(settings.tokens) > 1 and len(self._in_flight) > settings.in_flight // 2
        if crowded and list(self._in_flight.values()).count(who.id) >= share:
            raise Problem(429, "too-many-requests", f"{share} or more of yours are under way, and others want places, too")


def _asks_for_health(scope: Message) -> bool:
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root) in FOR_ALL


class _Reply:
    """What was sent so far, with the headers that all answers have.

    Attributes:
        status: Of the answer; 0: it has not begun.
        headers: Those that this answer has besides.
    """

    def __init__(self, send: Send) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *_HEADERS, *self.headers]
        await self._send(message)

    async def problem(self, problem: Problem, scope: Message, receive: Receive) -> None:
        """Answer with a problem."""
        await problem.to_response()(scope, receive, self.send)
