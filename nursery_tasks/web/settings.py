"""What can be set on the door."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import msgspec

from ..errors import InvalidOptions
from ..model.duration import Duration, to_seconds
from .callers import ROLES, Role, Token, check_token

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


class DoorOptions(TypedDict, total=False):
    """The keywords of `app.asgi(...)`.

    Attributes:
        tokens: Who may call: `Token`s, or the lines that `nursery-tasks web token` writes. Without any, only programs on this
            machine may.
        trusted: The program around it has checked who calls, and lets through only those whom it knows; a role says what
            they all may do (True: `admin`).
        hosts: Names by which it may be called, without their ports; default: with tokens any, else those of this machine.
        origins: Pages that may call it, such as `https://shop.example`; default: none but its own.
        any_task: Also submit tasks, and send to queues, that this app does not have.
        rpc: Answer JSON-RPC 2.0 at `/rpc`.
        max_wait: The longest that a request may wait for a job, in seconds or as a timedelta (default 60).
        in_flight: Requests that are answered at the same time (default 64).
        body_timeout: How long a whole body may take (default 10).
        requests_per_second: Of one caller (default 200, with twice that at once).
    """

    tokens: Iterable[Token | str]
    trusted: bool | Role
    hosts: Iterable[str]
    origins: Iterable[str]
    any_task: bool
    rpc: bool
    max_wait: Duration
    in_flight: int
    body_timeout: Duration
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """The same, checked."""

    tokens: tuple[Token, ...] = ()
    trusted: Role | None = None
    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()
    any_task: bool = False
    rpc: bool = False
    max_wait_seconds: float = 60.0
    in_flight: int = 64
    body_seconds: float = 10.0
    requests_per_second: float = 200.0

    @property
    def is_open(self) -> bool:
        """Whether it asks for no tokens."""
        return not self.tokens


_FLAGS: Final = ("any_task", "rpc")
_KNOWN: Final = DoorOptions.__annotations__.keys()


def check_door_options(given: DoorOptions) -> DoorSettings:
    """Check what was given.

    Raises:
        InvalidOptions: An option does not exist, or has a value that it cannot have.
    """
    values: dict[str, Any] = dict(given)
    for name, value in values.items():
        if name not in _KNOWN:
            raise InvalidOptions(name, value, f"one of {', '.join(sorted(_KNOWN))}")
        if name in _FLAGS and not isinstance(value, bool):
            raise InvalidOptions(name, value, "True or False")
    in_flight, rate = values.get("in_flight", 64), values.get("requests_per_second", 200.0)
    if not isinstance(in_flight, int) or in_flight < 1:
        raise InvalidOptions("in_flight", in_flight, "1 or more")
    if not isinstance(rate, int | float) or not rate > 0:
        raise InvalidOptions("requests_per_second", rate, "more than 0")
    tokens, trusted = tuple(_token(each) for each in values.get("tokens", ())), _role(values.get("trusted", False))
    hosts = {host.lower() for host in values.get("hosts", ())}
    if not tokens and trusted is None:
        hosts.update(LOOPBACK_HOSTS)
    return DoorSettings(
        tokens=tokens,
        trusted=trusted,
        hosts=frozenset(hosts) or None,
        origins=frozenset(origin.lower().rstrip("/") for origin in values.get("origins", ())),
        any_task=values.get("any_task", False),
        rpc=values.get("rpc", False),
        max_wait_seconds=to_seconds("max_wait", values.get("max_wait", 60.0)),
        in_flight=in_flight,
        body_seconds=to_seconds("body_timeout", values.get("body_timeout", 10.0)),
        requests_per_second=float(rate),
    )


def _role(trusted: object) -> Role | None:
    if isinstance(trusted, bool):
        return "admin" if trusted else None
    for role in ROLES:
        if trusted == role:
            return role
    raise InvalidOptions("trusted", trusted, f"True, False, or one of {', '.join(ROLES)}")


def _token(given: Token | str) -> Token:
    if isinstance(given, Token):
        return check_token(given)
    try:
        return check_token(msgspec.json.decode(given, type=Token))
    except (msgspec.MsgspecError, TypeError) as error:
        raise InvalidOptions("tokens", "***", f"a line that `nursery-tasks web token` has written: {error}") from None
