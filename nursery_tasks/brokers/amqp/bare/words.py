"""What processes tell each other: outcomes, cancels, and who is there."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

import msgspec

from ....model.states import JobState
from ..sending import Letter

WORD: Final = "nursery-tasks.word"


class Hello(msgspec.Struct, frozen=True, gc=False, tag="hello"):
    """Somebody's box was opened; *works*: it may hold jobs; *answer*: it wants to know who else does."""

    box: str
    works: bool
    answer: bool = False


class Bye(msgspec.Struct, frozen=True, gc=False, tag="bye"):
    """A worker leaves."""

    box: str


class Cancels(msgspec.Struct, frozen=True, tag="cancels"):
    """These jobs are not wanted any more: id, reason, and when that was said.

    Workers answer with `Holds` and the same *number*; to 0 nobody answers.
    """

    box: str
    number: int
    jobs: list[tuple[str, str | None, float]]


class Holds(msgspec.Struct, frozen=True, tag="holds"):
    """Which of them a worker holds."""

    box: str
    number: int
    ids: list[str]


class Ended(msgspec.Struct, frozen=True, gc=False, tag="ended"):
    """The outcome of a job."""

    id: str
    state: JobState
    outcome: bytes


Word = Hello | Bye | Cancels | Holds | Ended

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Word).decode


def to_all(word: Word, control: str) -> Letter:
    """Return the message for everybody."""
    return _letter(control, "", word)


def to_one(word: Word, box: str) -> Letter:
    """Return the message for one process; it is no error when that is gone."""
    return _letter("", box, word)


def read_word(body: bytes) -> Word | None:
    """Return what was said; None: it is in words of a later version."""
    try:
        word: Word = _decode(body)
    except msgspec.MsgspecError:
        return None
    return word


def _letter(exchange: str, key: str, word: Word) -> Letter:
    return Letter(exchange, key, _encode(word), token_hex(8), {"message_type": WORD}, mandatory=False)
