"""What an app declares of its stages: where messages come from, and where what is made of them goes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from ..errors import InvalidOptions
from .channel_message import ChannelMessage
from .options import check_queue

StageKind = Literal["handler", "listener", "collector"]

BUFFER: Final = 1_000  # messages on their way out to one destination, before who makes them has to wait
PREFETCH: Final = 100  # messages that are here and not stored yet
MAX_WAITING: Final = 1_000  # jobs in the queue of a stage
STAGE_RESULT_TTL_SECONDS: Final = 3_600.0  # for so long a message that comes again is known by its id
_CHANNEL: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_LONGEST_QUEUE: Final = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages come from, or go to.

    Attributes:
        channel: The channel's name in `App(channels=...)`; empty: the app's own broker.
        name: The place there: a queue, a list, a path.
    """

    channel: str
    name: str

    def __str__(self) -> str:
        return f"{self.channel}:{self.name}" if self.channel else self.name

    @property
    def queue(self) -> str:
        """The queue of the app's broker in which what comes from here waits."""
        if not self.channel:
            return self.name
        name = f"{self.channel}.{self.name}"
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
        if plain == name and len(name) <= _LONGEST_QUEUE:
            return name
        return f"{plain[: _LONGEST_QUEUE - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Stage:
    """What a task has that messages of a channel become jobs of.

    Attributes:
        kind: What it was declared as.
        source: Where its messages come from.
        reply: Where its results go; none: nowhere, or to who awaits an answer.
        many: Each item of its result is a message.
        gives: The type of a result, or of an item.
        buffer: How many messages may be on their way to one destination, before no more jobs begin.
        prefetch: How many messages may be here and not stored yet.
        max_waiting: How many jobs may wait in its queue before no more messages are put there.
        same_by: Names a message, where its channel does not; None: by its own id alone.
    """

    kind: StageKind
    source: Place
    reply: tuple[Place, ...] = ()
    many: bool = False
    gives: Any = Any
    buffer: int = BUFFER
    prefetch: int = PREFETCH
    max_waiting: int = MAX_WAITING
    same_by: Callable[[ChannelMessage], str] | None = None

    @property
    def answers(self) -> bool:
        """Whether who awaits an answer gets its result."""
        return self.kind == "handler" and not self.reply

    def job_id(self, message: ChannelMessage) -> str | None:
        """Return the id of a message's job, the same for all its copies; None: nothing says which those are.

        An empty id is none: programs fill it in that give their messages no ids, and those are not all the same message.
        """
        same = message.id if self.same_by is None else self.same_by(message)
        return message_job_id(self.source, same) if same else None


def message_job_id(place: Place, same: str) -> str:
    """Return the id of the job that a message becomes at a place: the same for all its copies."""
    return hashlib.sha256(f"{place}\0{same}".encode()).hexdigest()[:32]


def to_place(option: str, value: object) -> Place:
    """Read `channel:name`, or the name of a queue.

    Raises:
        InvalidOptions: It is neither.
    """
    if isinstance(value, str):
        channel, colon, name = value.partition(":")
        if not colon:
            return Place("", check_queue(option, value))
        if _CHANNEL.fullmatch(channel) and 0 < len(name) <= 160:
            return Place(channel, name)
    raise InvalidOptions(option, value, "'channel:place', with a channel of App(channels={...}), or the name of a queue")


def to_places(option: str, value: object) -> tuple[Place, ...]:
    """Read one place, several, or None. Raises as `to_place` does."""
    if value is None:
        return ()
    given: list[object] = [value]
    if not isinstance(value, str) and isinstance(value, Sequence):
        given = list(cast("Sequence[object]", value))
    places = tuple(to_place(option, each) for each in given)
    if not places or len(set(places)) < len(places):
        raise InvalidOptions(option, given, "a place, or a list of different ones")
    return places
