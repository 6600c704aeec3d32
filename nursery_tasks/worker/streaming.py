"""Items of a handler with `many=True` that leave before it has ended, a step at a time.

Each step is put into the outbox together with the number of items that have left, by compare-and-set: so an attempt that comes
after one that was killed passes over what has left, and of two attempts that run at once neither puts an item out twice. It is
how a publisher's cursor is kept, with one state for each job. A handler that does not make the same items again is none for
this: what has left cannot be taken back.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from anyio import sleep

from ..brokers.gateway import Gateway
from ..brokers.needed import outbox_of, states_of
from ..brokers.outbox import count_outgoing
from ..errors import BrokerError
from ..execution.results import Encoded
from ..log_throttle import LogThrottle
from ..loop.from_thread import call_on_loop
from ..model.delivery import Delivery
from ..model.outgoing import Outgoing
from ..model.stage import Stage
from ..model.states import JobState
from ..registry import TaskSpec
from .sending import Sending

STEP_BYTES: Final = 1024 * 1024  # of messages that are put out in one step; a larger one leaves alone
ROOM_SECONDS: Final = 0.1  # between two looks whether there is room
AGAIN_SECONDS: Final = 0.5  # after a broker error
CLEAN_SECONDS: Final = 60.0  # between two looks for what jobs that have ended have left
SAME_SECONDS: Final = 2.0  # by which two workers may differ about when a job was submitted
PAGE: Final = 500
PREFIX: Final = "items:"
_LONGEST_ID: Final = 150  # characters of an id that is part of a state's name as it is

_Item = tuple[int, list[Outgoing]]  # its number, and its messages

_log = logging.getLogger("nursery_tasks.worker")


class Streamed(msgspec.Struct, frozen=True):
    """How far the items of a job have left.

    Attributes:
        job: Its id.
        index: How many.
        submitted_at: When the job was submitted, in epoch seconds: an id that is used again is another job.
    """

    job: str
    index: int
    submitted_at: float


class Streams:
    """The items of one worker's jobs.

    Args:
        now: Epoch seconds.
        pace: What the time between looks is multiplied by.
    """

    def __init__(self, gateway: Gateway, sending: Sending, now: Callable[[], float] = time.time, pace: float = 1.0) -> None:
        self._gateway = gateway
        self._sending = sending
        self._now = now
        self._clean_seconds = CLEAN_SECONDS * pace

    @property
    def are_used(self) -> bool:
        """Whether there is such a handler here."""
        tasks = self._sending.registry.tasks.values()
        return any(spec.stage is not None and spec.stage.many for spec in tasks) and self._gateway.broker.states is not None

    def of_job(self, spec: TaskSpec, stage: Stage, delivery: Delivery) -> ItemSink | None:
        """Return where the items of an attempt go; None: all of them are its result, which somebody may wait for."""
        if not delivery.raw:
            return None
        return ItemSink(self._gateway, self._sending, spec, stage, delivery, self._now() - delivery.age_seconds)

    async def clean(self) -> None:
        """Delete what jobs have left that have succeeded, or are known no more; until cancelled."""
        while True:
            await sleep(self._clean_seconds)
            try:
                await self._clean_once()
            except BrokerError as error:
                _log.debug("cannot delete what streamed jobs have left, and try again later: %s", error)

    async def _clean_once(self) -> None:
        states, after = states_of(self._gateway.broker), PREFIX
        while records := await self._gateway.call(states.list_states, PREFIX, PAGE, after):
            for record in records:
                row = await self._gateway.call(states.get_state, record.name)
                if row is not None and await self._is_over(msgspec.json.decode(row.body, type=Streamed)):
                    await self._gateway.call(states.delete_state, record.name, row.version)
            after = records[-1].name

    async def _is_over(self, streamed: Streamed) -> bool:
        [stored] = await self._gateway.outcomes([streamed.job])
        return stored is None or stored.state is JobState.SUCCEEDED


class ItemSink:
    """Where the items of one attempt go, in their order. Steps are put one after the other."""

    def __init__(
        self, gateway: Gateway, sending: Sending, spec: TaskSpec, stage: Stage, delivery: Delivery, submitted_at: float
    ) -> None:
        self._gateway = gateway
        self._sending = sending
        self._spec = spec
        self._stage = stage
        self._delivery = delivery
        self._submitted_at = submitted_at
        self._position = 0  # items that the handler has made
        self._left = 0  # items that have left, of this attempt or of one before
        self._version = 0  # of the state in which that stands
        self._not_put = LogThrottle(_log)

    async def put(self, items: Sequence[Any] | bytes) -> None:
        """Put the handler's next items out, those that have not left; waits while there is no room at their destinations.

        Raises:
            NotSerializable, PayloadTooLarge: One of them cannot travel; those of this step before it may have left.

        Cancellation:
            What has left is known to the next attempt.
        """
        if isinstance(items, bytes):  # of a handler in a process
            items = self._sending.decoded(self._spec, self._stage, Encoded(items))
        first = self._position
        self._position += len(items)
        waiting = deque(self._sending.of_items(self._spec, self._stage, self._delivery, items, first))
        while waiting:
            try:
                await self._put_some(waiting)
            except BrokerError as error:  # it may have taken effect; the next try finds that out
                self._not_put.log("the items of job %s have to wait: %s", self._delivery.id, error)
                await sleep(AGAIN_SECONDS)

    def put_blocking(self, items: Sequence[Any]) -> None:
        """Do the same from a thread that works for this loop."""
        call_on_loop("a handler's items", "an async generator", self.put, items)

    async def _put_some(self, waiting: deque[_Item]) -> None:
        """Put out the first of these items, and drop from them what has left."""
        while waiting and (waiting[0][0] < self._left or not waiting[0][1]):
            waiting.popleft()
        if not waiting:
            return
        step = _first_of(waiting, await self._wait_room())
        behind = step[-1][0] + 1
        body = msgspec.json.encode(Streamed(self._delivery.id, behind, self._submitted_at))
        outgoing = [message for _, messages in step for message in messages]
        states, name = states_of(self._gateway.broker), _name_of(self._delivery.id)
        version = await self._gateway.call(states.put_state, name, self._version, body, outgoing)
        if version:
            self._version, self._left = version, behind
        else:
            await self._load(name)

    async def _wait_room(self) -> int:
        """Wait while too much is on its way out; returns for how many items there is room."""
        outbox, places = outbox_of(self._gateway.broker), tuple(map(str, self._stage.reply))
        while True:
            counts = await self._gateway.call(count_outgoing, outbox, places)
            room = self._stage.buffer - max(counts.values(), default=0)
            if room > 0:
                return room
            await sleep(ROOM_SECONDS)

    async def _load(self, name: str) -> None:
        row = await self._gateway.call(states_of(self._gateway.broker).get_state, name)
        if row is None:
            self._version = 0
            return
        self._version, streamed = row.version, msgspec.json.decode(row.body, type=Streamed)
        if abs(streamed.submitted_at - self._submitted_at) <= SAME_SECONDS:
            self._left = max(self._left, streamed.index)


def _first_of(waiting: Iterable[_Item], room: int) -> list[_Item]:
    """Return the first items, as many as there is room for and as go in one step; at least one."""
    step: list[_Item] = []
    size = 0
    for item in islice(waiting, room):
        size += sum(len(message.body) for message in item[1])
        if step and size > STEP_BYTES:
            break
        step.append(item)
    return step


def _name_of(job_id: str) -> str:
    if len(job_id) <= _LONGEST_ID:
        return PREFIX + job_id
    return PREFIX + job_id[: _LONGEST_ID - 33] + "~" + hashlib.sha256(job_id.encode()).hexdigest()[:32]
