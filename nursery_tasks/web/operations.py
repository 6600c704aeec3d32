"""What can be asked for: each operation with its path, verb and handler. Routes and the OpenAPI document are made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .call import Call

FOR_ALL: Final = ("/healthz", "/readyz")  # paths that any client may ask for, by any host name

Handle = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked for.

    Attributes:
        verb: What the caller must be allowed to do; None: anything, or nothing, see `FOR_ALL`.
        name: Its `operationId`.
        summary: In one line.
        body: The type of its JSON body; None: it has none.
        media_types: What else its body may be.
        answers: Its statuses that are no problems, with what they mean.
        answer_types: What its answers are.
        query: The names of its query parameters, with their types.
        waits: It heeds `Prefer: wait`.
    """

    method: str
    path: str
    verb: str | None
    name: str
    summary: str
    handle: Handle
    body: Any = None
    media_types: tuple[str, ...] = ()
    answers: tuple[tuple[int, str], ...] = ((200, "The answer"),)
    answer_types: tuple[str, ...] = ("application/json",)
    query: tuple[tuple[str, type], ...] = ()
    waits: bool = False


def to_routes(operations: Sequence[Operation]) -> list[Route]:
    """Make one route for each path; those that end in whatever follows come last, behind what stands below them."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = operation
    ordered = sorted(paths.items(), key=lambda item: item[0].endswith(":path}"))
    return [Route(path, _endpoint(methods), methods=list(methods)) for path, methods in ordered]


def _endpoint(methods: dict[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        call: Call = request.state.call
        if operation.verb is not None:
            call.check_may(operation.verb)
        if operation.path not in FOR_ALL:  # a supervisor may have its own there, against caches
            call.check_query([name for name, _ in operation.query])
        return await operation.handle(call)

    return endpoint
