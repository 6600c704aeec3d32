"""One request, as the handlers see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import quote

from starlette.requests import Request

from .bodies import JSON, check_media_type, decode_json, media_type_of, read_body
from .callers import LOCAL, Caller
from .preferring import wait_seconds
from .problems import Problem
from .state import DoorState

T = TypeVar("T")


class Call:
    """One request, and who makes it.

    Attributes:
        app: Whose tasks and jobs these are.
        caller: Who calls; `LOCAL` where only health is asked for, which needs no token.
    """

    def __init__(self, request: Request, door: DoorState, caller: Caller | None) -> None:
        self.request = request
        self.app = door.app
        self.door = door
        self.caller = caller or LOCAL

    def path(self, name: str) -> str:
        """Return a part of the path.

        Raises:
            Problem: It has a NUL in it.
        """
        part: str = self.request.path_params[name]
        if "\x00" in part:
            raise Problem(404, "not-found", "a name has no NUL")
        return part

    def number(self, name: str, default: int, most: int = 2**53) -> int:
        """Return a whole number of the query.

        Raises:
            Problem: It is none.
        """
        given = self.request.query_params.get(name, str(default))
        if not given.isascii() or not given.isdecimal() or not 0 <= (value := int(given[:20])) <= most:
            raise Problem(422, "invalid-query", f"expected a whole number from 0 to {most}", field=name)
        return value

    def check_query(self, known: Sequence[str]) -> None:
        """Check the names of the query's parameters: one that is misspelt would choose everything.

        Raises:
            Problem: There is no such parameter.
        """
        for name in self.request.query_params:
            if name not in known:
                expected = f"expected {', '.join(known)}" if known else "this path has none"
                raise Problem(422, "invalid-query", f"no parameter {name[:100]!r} here: {expected}", field=name[:100])

    def job_path(self, job_id: str) -> str:
        """Return where a job is to be asked for."""
        root: str = self.request.scope.get("root_path", "")
        return f"{root}/jobs/{quote(job_id, safe='')}"

    def check_may(self, verb: str) -> None:
        """Check that the caller may do that.

        Raises:
            Problem: It may not.
        """
        if not self.caller.may(verb):
            raise Problem(403, "forbidden", f"{self.caller.name} may not {verb}")

    def check_queue(self, queue: str) -> None:
        """Check that the caller may use a queue.

        Raises:
            Problem: It may not.
        """
        if not self.caller.may_use(queue):
            raise Problem(403, "forbidden", f"{self.caller.name} may not use queue {queue!r}")

    @property
    def wait_seconds(self) -> float | None:
        """How long the caller wants to wait; None: not at all."""
        return wait_seconds(self.request, self.door.settings.max_wait_seconds)

    @property
    def idempotency_key(self) -> str | None:
        """What the caller calls this request by, so that it can be repeated; None: nothing."""
        return self.request.headers.get("idempotency-key")

    async def raw(self, *media_types: str, limit_bytes: int | None = None) -> bytes:
        """Read the body.

        Raises:
            Problem: It is too large, too slow, or something else than one of *media_types*.
        """
        check_media_type(self.request, *media_types)
        return await self._read(limit_bytes)

    async def json(self, wanted: type[T]) -> T:
        """Read the body, a document; none at all is an empty one.

        Raises:
            Problem: It is too large, too slow, or something else than *wanted*.
        """
        if media_type_of(self.request):
            check_media_type(self.request, JSON)
        body = await self._read()
        if body and not media_type_of(self.request):
            check_media_type(self.request, JSON)
        return decode_json(body or b"{}", wanted)

    async def _read(self, limit_bytes: int | None = None) -> bytes:
        return await read_body(self.request, limit_bytes or self.app.max_payload_bytes, self.door.settings.body_seconds)
