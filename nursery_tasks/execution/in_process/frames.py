"""What a worker and a host say to each other: frames of a small JSON header and raw bytes.

    frame = header's length (4 bytes) | body's length (4 bytes) | header (JSON, tagged by `type`) | body

Large parts, the encoded arguments and the encoded result, travel as the body, untouched. There is no pickle, and nothing in a
body chooses what runs: the function's place comes from the worker's own registry.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any, Final

import msgspec

from ...current import BatchedJob
from ...model.codec import Format
from ...model.failure import Failure, ForeignError
from ...model.retry import RetryRule

MAX_HEADER: Final = 64 * 1024 * 1024
MAX_BODY: Final = 64 * 1024 * 1024  # four times the hard limit of a payload

_SIZES: Final = struct.Struct(">II")


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """To the host, first: the levels of the worker's loggers, by name, and what `logging.disable()` was told."""

    levels: dict[str, int]
    disabled: int = 0


class Work(msgspec.Struct, frozen=True, tag="work"):
    """To the host: run this job; the body is its message.

    Attributes:
        module, qualname: The function's place.
        form: What the result is to be written in.
        rule: The job's retry policy; the host says whether it names what the handler raised.
        batch, rules: Of a batch task: the jobs, and the retry policies of each.
        broker, token: The name of the broker that the job came from, and what owns the jobs that the handler awaits there.
        streams: Whether the worker takes items before the handler has ended.
    """

    id: str
    task: str
    module: str
    qualname: str
    form: Format
    limit_bytes: int
    attempt: int = 1
    queue: str | None = None
    worker: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    rule: RetryRule | None = None
    broker: str | None = None
    token: bytes | None = None
    slot: datetime | None = None
    batch: tuple[BatchedJob, ...] = ()
    rules: tuple[RetryRule | None, ...] = ()
    streams: bool = False


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """To the host: the job is to end."""

    id: str
    reason: str | None = None


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """From the host: the job has it from now on; what happens to the process is charged to it."""

    id: str


class Logged(msgspec.Struct, frozen=True, tag="logged", omit_defaults=True):
    """From the host: a log record, formatted; *extra* holds attributes that are plain."""

    name: str
    level: int
    text: str
    created: float
    path: str = ""
    line: int = 0
    function: str | None = None
    thread: str | None = None
    error: str | None = None
    extra: dict[str, Any] = {}


class Printed(msgspec.Struct, frozen=True, tag="printed"):
    """From the host: a line that Python code wrote to `sys.stdout` (1) or `sys.stderr` (2)."""

    stream: int
    text: str


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """From the host: so much of the job's output was left out."""

    pieces: int
    size: int


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """From the host: how far the job is; the body is the value as JSON."""


class Items(msgspec.Struct, frozen=True, tag="items"):
    """From the host: the handler's next items; the body is their list as a result would be. It waits for `Put`."""


class Put(msgspec.Struct, frozen=True, tag="put"):
    """To the host: the items have left; or they cannot, and the job is to end."""

    ok: bool


class Waits(msgspec.Struct, frozen=True, tag="waits"):
    """From the host: the handler begins to wait for another job, or has ended its wait."""

    begins: bool


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """From the host: the handler returned; the body is the encoded result.

    Attributes:
        memory_bytes: What the process holds in memory now.
    """

    id: str
    memory_bytes: int = 0


class Failed(msgspec.Struct, frozen=True, tag="failed", omit_defaults=True):
    """From the host: the handler raised. See `ForeignError`; of a batch, one job may have failed alone."""

    id: str
    failure: Failure
    last: Failure | None = None
    matches: bool = False
    asked: RetryRule | None = None
    wait_given: bool = False
    final: bool = False
    matched: tuple[bool, ...] = ()
    memory_bytes: int = 0

    def to_error(self) -> ForeignError:
        """Return what the attempt raises in the worker."""
        return ForeignError(
            self.failure,
            last=self.last,
            matches=self.matches,
            asked=self.asked,
            wait_given=self.wait_given,
            final=self.final,
            matched=self.matched,
        )


class Left(msgspec.Struct, frozen=True, tag="left"):
    """From the host: the handler has ended because it was asked to."""

    id: str
    memory_bytes: int = 0


Ended = Succeeded | Failed | Left
Header = Setup | Work | Cancel | Put | Begun | Waits | Items | Logged | Printed | Cut | Progress | Succeeded | Failed | Left

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Header).decode


class BrokenFrame(Exception):
    """What came is no frame; the other side is not what it should be."""


def pack(header: Header, body: bytes = b"") -> bytes:
    """Make the bytes of one frame."""
    head = _encode(header)
    return b"".join((_SIZES.pack(len(head), len(body)), head, body))


class FrameBuffer:
    """Puts frames together from the pieces that a socket gives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[tuple[Header, bytes]]:
        """Take a piece, and return the frames that are complete now.

        Raises:
            BrokenFrame: It is no frame.
        """
        buffer = self._buffer
        buffer += piece
        frames: list[tuple[Header, bytes]] = []
        begin = 0
        while len(buffer) - begin >= _SIZES.size:
            head, body = _SIZES.unpack_from(buffer, begin)
            if head > MAX_HEADER or body > MAX_BODY:
                raise BrokenFrame(f"a frame of {head + body:,} bytes")
            start = begin + _SIZES.size
            end = start + head + body
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                try:
                    header: Header = _decode(view[start : start + head])
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise BrokenFrame(str(error)) from None
                frames.append((header, bytes(view[start + head : end])))
            begin = end
        if begin:
            del buffer[:begin]
        return frames
