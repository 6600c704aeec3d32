"""What a URL says: where messages go, and under which rules."""

from __future__ import annotations

import math
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ...errors import InvalidChannelUrl, InvalidOptions
from ...shown import redacted
from .signing import read_secrets

TIMEOUT_SECONDS: Final = 15.0  # one request with all that belongs to it
_OURS: Final = ("secret", "secret_env", "allow_private", "timeout", "cafile")
_PLACE: Final = re.compile(r"[^\x00-\x20\x7f?#\\]+")
_PLACE_MOST: Final = 1_000  # characters


@dataclass(frozen=True)
class Target:
    """Where messages go.

    Attributes:
        name: The URL for people, without its options and without a password.
        path, query: As they stand in a request; of the latter what is not an option of ours.
        user_info: A user and a password, as they stand in the URL but decoded.
        secrets: With which messages are signed; none: they are not.
        allow_private: Whether addresses may be called that are none of the public internet.
        timeout_seconds: For one request.
    """

    name: str
    scheme: str
    host: str
    port: int
    path: str
    query: str
    user_info: str | None = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    allow_private: bool
    timeout_seconds: float
    cafile: str | None = None

    def address_of(self, place: str) -> str:
        """Return what stands in a request for a place: its name below the path; `/` is the path itself.

        Raises:
            InvalidOptions: There can be no such place.
        """
        if not _PLACE.fullmatch(place) or len(place) > _PLACE_MOST or {".", ".."} & set(unquote(place).split("/")):
            raise InvalidOptions("place", place, "a path below the URL, such as orders/new; `/` is the URL itself")
        path = self.path if place == "/" else f"{self.path.rstrip('/')}/{quote(place.lstrip('/'), safe='/%:@!$&()*+,;=~-._')}"
        return f"{path}?{self.query}" if self.query else path

    @property
    def authority(self) -> str:
        """What stands in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """How the server is known; None: it is not."""
        return ssl.create_default_context(cafile=self.cafile) if self.scheme == "https" else None


def read_target(url: str) -> Target:
    """Read a URL.

    Raises:
        InvalidChannelUrl: It makes no sense, or a secret is missing.
    """
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    options = {name: value for name, value in given if name in _OURS}
    query = urlencode([(name, value) for name, value in given if name not in _OURS])
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = (parts.hostname or "").encode("idna").decode() if not (parts.hostname or "").isascii() else parts.hostname or ""
    except ValueError:
        raise InvalidChannelUrl(url, "its host or its port makes no sense") from None
    if not host or parts.fragment:
        raise InvalidChannelUrl(url, "it names no host" if not host else "there is a # in it")
    allow = options.get("allow_private", "no")
    if allow not in ("yes", "no"):
        raise InvalidChannelUrl(url, f"allow_private={allow!r} is neither yes nor no")
    cafile = options.get("cafile")
    if cafile is not None and not os.access(cafile, os.R_OK):
        raise InvalidChannelUrl(url, f"cafile={cafile!r} names nothing that can be read")
    user_info = parts.netloc.rpartition("@")[0]
    return Target(
        name=redacted(url).partition("?")[0],
        scheme=parts.scheme,
        host=host,
        port=port,
        path=quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"),
        query=query,
        user_info=unquote(user_info) if user_info else None,
        secrets=tuple(_secrets(url, options)),
        allow_private=allow == "yes",
        timeout_seconds=_seconds(url, options.get("timeout", str(TIMEOUT_SECONDS))),
        cafile=cafile,
    )


def _secrets(url: str, options: Mapping[str, str]) -> list[bytes]:
    what, text, named = "secret=", options.get("secret"), options.get("secret_env")
    if named is not None:
        what, text = f"the environment variable {named}", os.environ.get(named)
        if text is None:
            expected = "a signing secret there (whsec_...), or no secret_env= for messages that are not signed"
            raise InvalidChannelUrl(url, f"{what} is not set", expected)
    if text is None:
        return []
    try:
        return read_secrets(text)
    except ValueError as error:
        raise InvalidChannelUrl(url, f"{what} {error}", "whsec_ and base64, two of them with a space between") from None


def _seconds(url: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 300:
        raise InvalidChannelUrl(url, f"timeout={text!r} is no number of seconds from 0 to 300")
    return seconds
