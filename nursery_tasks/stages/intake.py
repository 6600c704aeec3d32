"""The intake of one stage: messages of a channel become jobs, and are accepted once those are stored.

    receive   at most `prefetch` messages are here
    submit    each is a job of the stage's queue; the same message again is the same job, by its id
    accept    what is stored; what finds no room is submitted again, after a pause

A worker that dies in between has stored a message or not; it comes again in both cases, and in the first one nothing new is
stored, as far as its channel or `same_by` says that it is the same. A message that cannot be written down (a header that is no
text) is stored as a dead letter: tried again it would hold up all that come after it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from anyio import EndOfStream, move_on_after, sleep

from ..channels.protocol import Channel, Received, Source
from ..client.connection import Connection
from ..client.ids import new_job_id
from ..client.room import Pace, answers_of
from ..errors import BrokerError, BrokerUnavailable, ChannelError, QueueFull
from ..log_throttle import LogThrottle
from ..model.channel_message import ChannelMessage
from ..model.codec import pack_outcome
from ..model.delivery import Receipt, Submission
from ..model.options import AT_MOST_ONCE
from ..model.outcome import Outcome
from ..model.raw import ForeignHead, wrap_message, wrap_raw
from ..model.stage import Stage
from ..model.states import JobState
from ..registry import TaskSpec

STORE_SECONDS: Final = 5.0  # for what is being stored and accepted when the worker stops
FIRST_SECONDS: Final = 0.1  # before another try while the channel or the broker is away
MOST_SECONDS: Final = 10.0

_log = logging.getLogger("nursery_tasks.stages")


class StageIntake:
    """Reads one place of a channel.

    Args:
        wait_open: Waits while what the stage makes cannot leave.
        max_length: How many jobs may wait in the stage's queue; 0: any number.

    Attributes:
        moved: How many messages were accepted; who waits for the end of a pipeline compares it.
        holding: How many messages are here.
        ended: The source has ended.
    """

    def __init__(
        self,
        spec: TaskSpec,
        stage: Stage,
        channel: Channel,
        connection: Connection,
        wait_open: Callable[[str], Awaitable[None]],
        max_length: int,
    ) -> None:
        self.spec = spec
        self.stage = stage
        self.channel = channel
        self.moved = self.holding = 0
        self.ended = False
        self._connection = connection
        self._wait_open = wait_open
        self._max_length = max_length
        self._pace = Pace()
        self._away, self._unnamed = LogThrottle(_log), LogThrottle(_log)

    async def serve(self) -> None:
        """Read until cancelled, or until the source has ended. What goes wrong stops this stage for a while, and no other.

        Cancellation:
            What is being stored is stored and accepted, within `STORE_SECONDS`; the rest comes again.
        """
        pause = FIRST_SECONDS
        while not self.ended:
            before = self.moved
            try:
                async with self.channel.open_source(self.stage.source.name, prefetch=self.stage.prefetch) as source:
                    await self._read(source)
            except (ChannelError, BrokerError) as error:
                self._away.log("stage %s cannot read from %s, and goes on trying: %s", self.spec.name, self.stage.source, error)
            except Exception:  # a fault of the channel's or of ours: it ends no worker
                text = "stage %s cannot read from %s, and goes on trying"
                self._away.log(text, self.spec.name, self.stage.source, traceback=True)
            finally:
                self.holding = 0
            if self.ended:
                return
            pause = FIRST_SECONDS if self.moved > before else min(pause * 2, MOST_SECONDS)
            await sleep(pause * (0.5 + random.random()))

    async def _read(self, source: Source) -> None:
        while True:
            await self._wait_open(self.spec.options.queue)
            try:
                received = await source.receive(self.stage.prefetch)
            except EndOfStream:
                self.ended = True
                return
            self.holding = len(received)
            await self._store(source, [(each, self._submission(each)) for each in received])
            self.holding = 0

    async def _store(self, source: Source, left: Sequence[tuple[Received, Submission]]) -> None:
        while left:
            piece, rest = left[: self._pace.piece], left[self._pace.piece :]
            refused = piece
            with move_on_after(STORE_SECONDS, shield=True) as scope:
                refused = await self._try_to_store(source, piece)  # or what is stored would come again when the worker stops
            if scope.cancelled_caught:
                broker = self._connection.gateway.broker.name
                raise BrokerUnavailable(broker, "what a channel has brought was not stored in time")
            self._pace.note(len(piece), len(piece) - len(refused))
            left = [*refused, *rest]
            if refused:
                await sleep(self._pace.next_pause(self._max_length))

    async def _try_to_store(
        self, source: Source, piece: Sequence[tuple[Received, Submission]]
    ) -> Sequence[tuple[Received, Submission]]:
        """Submit, and accept what is stored; returns what found no room."""
        submitter = self._connection.submitter
        submissions = [submission for _, submission in piece]
        try:
            answers: Sequence[Receipt | QueueFull] = await submitter.gateway.submit(submissions)
        except QueueFull as full:
            answers = answers_of(full)
        submitter.encoder.tell_queued(submissions, answers)
        stored = [each for (each, _), answer in zip(piece, answers, strict=True) if isinstance(answer, Receipt)]
        if stored:
            await source.accept(stored)
            self.moved += len(stored)
            self.holding -= len(stored)
        return [each for each, answer in zip(piece, answers, strict=True) if not isinstance(answer, Receipt)]

    def _job_id(self, message: ChannelMessage) -> str:
        try:
            return self.stage.job_id(message) or new_job_id()
        except Exception:  # `same_by` is the user's, and what it cannot name is a message like any other
            self._unnamed.log("same_by of stage %s has raised", self.spec.name, traceback=True)
            return new_job_id()

    def _submission(self, received: Received) -> Submission:
        options, message = self.spec.options, received.message
        ended, outcome = None, b""
        try:
            payload = wrap_message(message)
        except Exception as error:  # the channel is anybody's, and may say what no JSON can hold
            reason = f"undecodable: what is said beside the body cannot be stored, and is left out: {error!a}"
            payload, ended = wrap_raw(_bytes_of(message.body), ForeignHead()), JobState.DEAD
            outcome = pack_outcome(Outcome(state=ended, reason=reason))
        return Submission(
            id=self._job_id(message),
            queue=options.queue,
            task=self.spec.name,
            payload=payload,
            priority=options.priority,
            keep_seconds=options.result_ttl_seconds,
            max_crashes=options.max_crashes,
            tags=options.tags,
            ended=ended,
            outcome=outcome,
            raw=True,
            once=options.delivery == AT_MOST_ONCE,
            max_length=self._max_length,
        )


def _bytes_of(body: object) -> bytes:
    """Return the bytes of a body, or, where it is none, how Python shows it."""
    return bytes(body) if isinstance(body, bytes | bytearray) else ascii(body).encode()
