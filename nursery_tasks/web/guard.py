"""Who may come in at all: the right host, no page of another site, a token, and not too often."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from anyio import current_time
from starlette.requests import Request

from .callers import LOCAL, VERBS, Caller, Callers
from .problems import Problem
from .settings import DoorSettings

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@\[\]\\]+)(?::[0-9]{0,5})?")
_OWN_SITE: Final = ("same-origin", "none")
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Guard:
    """Checks each request before anything else is done for it."""

    def __init__(self, settings: DoorSettings) -> None:
        self._settings = settings
        self._callers = Callers(settings.tokens)
        self._buckets: dict[str, Bucket] = {}

    async def check(self, request: Request) -> Caller:
        """Return who makes a request.

        Raises:
            Problem: It may not come in.
        """
        self._check_host(request)
        self._check_site(request)
        caller = await self._find(request)
        self._check_rate(caller)
        return caller

    def _check_host(self, request: Request) -> None:
        """Refuse a name that is not ours: a page whose own name now leads to this address would have it there."""
        hosts, given = request.headers.getlist("host"), self._settings.hosts
        if len(hosts) != 1:
            raise Problem(400, "wrong-host", "expected one header Host")
        if given is not None and _without_port(hosts[0]) not in given:
            raise Problem(403, "wrong-host", "this server is not called by that name; see the option hosts")

    def _check_site(self, request: Request) -> None:
        """Refuse what a browser sends for a page of another site."""
        origin = request.headers.get("origin")
        if origin is not None and not self._is_own(request, origin.lower()):
            raise Problem(403, "wrong-origin", "a page of another site may not call this; see the option origins")
        site = request.headers.get("sec-fetch-site", "none").lower()
        if site not in _OWN_SITE and (origin is None or origin.lower() not in self._settings.origins):
            raise Problem(403, "wrong-origin", "a page of another site may not call this; see the option origins")

    def _is_own(self, request: Request, origin: str) -> bool:
        own = {f"{scheme}://{request.headers['host'].lower()}" for scheme in ("http", "https")}
        return origin in own or origin in self._settings.origins

    async def _find(self, request: Request) -> Caller:
        if self._settings.trusted is not None:
            return Caller(name=self._settings.trusted, verbs=VERBS[self._settings.trusted])
        if self._settings.is_open:
            if not _is_local(request):
                raise _unauthorized("this server has no tokens, so it answers only programs on its own machine")
            return LOCAL
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise _unauthorized("expected a header Authorization: Bearer <token>")
        caller = await self._callers.find(secret.strip())
        if caller is None:
            raise _unauthorized("no caller has this token")
        return caller

    def _check_rate(self, caller: Caller) -> None:
        bucket = self._buckets.setdefault(caller.id, Bucket(self._settings.requests_per_second))
        if not bucket.take(current_time()):
            raise Problem(429, "too-many-requests", f"more than {self._settings.requests_per_second:g} a second")


class Bucket:
    """A token bucket: *rate* a second, and twice that at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._left = self._most
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take one; False: there is none."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _without_port(host: str) -> str:
    """Return the name in a header Host; empty: it is no name with, or without, a port."""
    found = _HOST.fullmatch(host.strip().lower())
    return "" if found is None else found[1]


def _is_local(request: Request) -> bool:
    """Say whether a program on this machine calls, and no proxy for another machine."""
    if any(name in request.headers for name in _FORWARDED) or request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="nursery-tasks"'})
