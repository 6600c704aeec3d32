"""Reading what a client sends: at most so many bytes, within one deadline for all of it, and strictly as what it should be."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
from anyio import move_on_after
from starlette.requests import Request

from .problems import Problem

JSON: Final = "application/json"
DEEPEST: Final = 32  # levels of lists and objects in a document

T = TypeVar("T")

_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_PATH: Final = re.compile(r" - at `(?:key in )?\$\.?(.*?)`$")
_FIELD: Final = re.compile(r"field `(\w+)`")


class HungUp(Exception):
    """The client went away, and reads no answer."""


async def read_body(request: Request, limit_bytes: int, seconds: float) -> bytes:
    """Read the whole body, and count it as it comes: what a header says of its length may be a lie.

    Raises:
        Problem: It is too large, or takes too long.
        HungUp: The client went away before its end.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    pieces, size = list[bytes](), 0
    with move_on_after(seconds):
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            if not message.get("more_body", False):
                return b"".join(pieces)
    raise Problem(408, "too-slow", f"the body had not ended after {seconds:g} s", headers={"Connection": "close"})


def media_type_of(request: Request) -> str:
    """Return what the client says that its body is, without parameters; empty: nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_media_type(request: Request, *wanted: str) -> None:
    """Check what the client says that its body is. Nothing else than JSON can a page of another site send without asking.

    Raises:
        Problem: It is something else, or it is compressed.
    """
    if media_type_of(request) not in wanted:
        raise Problem(415, "wrong-content-type", f"expected {' or '.join(wanted)}", headers={"Accept": ", ".join(wanted)})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "wrong-content-type", "a compressed body is not taken", headers={"Accept-Encoding": "identity"})


def decode_json(body: bytes, wanted: type[T]) -> T:
    """Decode a document.

    Raises:
        Problem: It is none (400), or something else than *wanted* (422, with the field).
    """
    _check_depth(body)
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid-body", str(error), **_field_of(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "no-json", str(error)) from None
    except RecursionError:
        raise _too_deep() from None


def _field_of(text: str) -> dict[str, Any]:
    path, field = _PATH.search(text), _FIELD.search(text)
    names = [found[1] for found in (path, field) if found is not None and found[1]]
    return {"field": ".".join(names)} if names else {}


def _check_depth(body: bytes) -> None:
    """Count brackets before anything recurses into them."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    depth = 0
    for found in _BRACKETS.finditer(body):
        mark = found[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth > DEEPEST:
                raise _too_deep()
        elif mark in (b"]", b"}"):
            depth -= 1


def _too_deep() -> Problem:
    return Problem(400, "too-deep", f"more than {DEEPEST} levels of lists and objects")


def _too_large(limit_bytes: int) -> Problem:
    return Problem(413, "too-large", f"more than {limit_bytes:,} bytes", headers={"Connection": "close"})
