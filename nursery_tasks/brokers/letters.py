"""What other programs put in, as a job to store.

A letter is a message (JSON or msgpack), and `id`, `queue`, `priority`, `delay`, `parent` and `tags` beside the task's name are
heeded; the queue may be left out, and the one that it was put into wins. A letter that nobody can read becomes a job, too,
without a task's name: the worker that gets it puts it aside with its bytes, where a person finds it. A raw body is not looked
into at all.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import msgspec

from ..errors import InvalidOptions
from ..model.codec import sniff
from ..model.delivery import Submission
from ..model.options import DEFAULT_QUEUE, MAX_PRIORITY, check_name


class _Letter(msgspec.Struct, frozen=True):
    """What is heeded of a letter; the rest is for the worker."""

    task: str
    id: str | int | None = None
    queue: str | None = None
    priority: int = 0
    delay: float = 0.0
    parent: str | None = None
    tags: tuple[str, ...] = ()


LONGEST_DELAY_SECONDS: Final = 100 * 365.25 * 86_400
_FROM_JSON: Final = msgspec.json.Decoder(_Letter)
_FROM_MSGPACK: Final = msgspec.msgpack.Decoder(_Letter)
_UNREADABLE: Final = _Letter(task="")


def to_submission(queue: bytes | None, body: bytes, *, raw: bool = False) -> Submission:
    """Read as much of a letter as a broker needs.

    Args:
        queue: Where it was put in; None or empty: it says so itself.
        raw: It is no message.
    """
    letter = _UNREADABLE if raw else _read(body)
    return Submission(
        id=uuid4().hex if letter.id in (None, "") else str(letter.id),
        queue=(queue or b"").decode("utf-8", "replace") or letter.queue or DEFAULT_QUEUE,
        task=letter.task,
        payload=body,
        priority=min(max(letter.priority, 0), MAX_PRIORITY),
        delay_seconds=min(max(letter.delay, 0.0), LONGEST_DELAY_SECONDS),
        parent=letter.parent,
        tags=letter.tags,
        raw=raw,
    )


def _read(body: bytes) -> _Letter:
    try:
        letter = (_FROM_JSON if sniff(body) == "json" else _FROM_MSGPACK).decode(body)
        if letter.id not in (None, ""):
            check_name("id", str(letter.id))
    except (msgspec.MsgspecError, InvalidOptions, RecursionError, UnicodeDecodeError):
        return _UNREADABLE
    return letter
