"""Messages that were delivered here and not acknowledged, and how the answers to them are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pamqp import commands

from .taps import ack, nack

JOB: Final = "nursery-tasks.job"  # the type of a message of ours


class DeliveryTags:
    """The delivery tags of one channel that were not answered, and the answers that wait to be written.

    Args:
        on_answer: Called when there is something to write.

    Attributes:
        are_lost: Whether the channel is gone. Any thread may read it.
    """

    def __init__(self, on_answer: Callable[[], None] | None = None) -> None:
        self._on_answer = on_answer
        self.are_lost = False
        self._open: dict[int, None] = {}  # in the order of the tags
        self._acks: set[int] = set()
        self._nacks: set[int] = set()

    def arrived(self, tag: int) -> None:
        self._open[tag] = None

    def __len__(self) -> int:
        return len(self._open)

    def ack(self, tags: Iterable[int]) -> None:
        self._acks.update(tag for tag in tags if tag in self._open)
        self._tell()

    def nack(self, tags: Iterable[int]) -> None:
        self._nacks.update(tag for tag in tags if tag in self._open)
        self._tell()

    def lose(self) -> None:
        """Forget everything: the channel is gone, and the server delivers all of it again."""
        self.are_lost = True
        self._open.clear()
        self._acks.clear()
        self._nacks.clear()

    def to_bytes(self, channel: int) -> bytes:
        """Return the frames that say what has gathered: one for all tags from the oldest on, one for each of the others."""
        frames = [nack(channel, tag) for tag in sorted(self._nacks)]
        for tag in self._nacks:
            self._close(tag)
        acks, self._acks, self._nacks = self._acks - self._nacks, set(), set()
        upto, merged = 0, 0
        for tag in self._open:
            if tag not in acks:
                break
            upto, merged = tag, merged + 1
        if merged:
            frames.append(ack(channel, upto, multiple=merged > 1))
        frames += [ack(channel, tag) for tag in sorted(acks) if tag > upto]
        for tag in acks:
            self._close(tag)
        return b"".join(frames)

    def _tell(self) -> None:
        if self._on_answer is not None and (self._acks or self._nacks):
            self._on_answer()

    def _close(self, tag: int) -> None:
        self._open.pop(tag, None)


@dataclass(eq=False, slots=True)
class DeliveredMessage:
    """One delivered message: the right to claim one job of a queue. Until it is answered the server keeps the message.

    Attributes:
        queue: The queue, by its name among the jobs.
        tag, tags: The delivery tag, and those of the channel on which it came: on any other the number is another message's.
        arrived: When, on the clock of `time.monotonic`.
        body, properties: What was sent.
        redelivered: Whether somebody had it before.
        parked: It found no job though there are some, in a queue that is paused for example, and waits here.
    """

    queue: str
    tag: int
    tags: DeliveryTags
    arrived: float
    body: bytes
    properties: commands.Basic.Properties
    redelivered: bool = False
    parked: bool = False

    @property
    def is_here(self) -> bool:
        """Whether the server still counts it as delivered here; else it delivers it again, to anybody."""
        return not self.tags.are_lost

    @property
    def is_ours(self) -> bool:
        """Whether it says no more than that there is a job. Else another program has sent it, and it is the job."""
        return self.properties.message_type == JOB
