"""Calls of one kind, gathered into batches.

One call is under way at most, and what comes meanwhile shares the next. No caller owns a batch: it is sent when the one before
it has ended, so a caller that is cancelled, in whatever way, takes nothing from the others.

Mostly a broker takes a batch as a whole or not at all. When it refuses one for what is in it, each caller asks again alone;
where it has taken a part (`refusal`), each hears of its own. Nobody fails because of somebody else's item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from anyio import Event

from ..errors import BrokerError, BrokerUnavailable
from .deadline import CallDeadline
from .threads import Call

BATCH_LIMIT: Final = 5_000  # items that concurrent callers put together; what comes on top begins the next batch

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Batch(Generic[Item, Answer]):
    """Items that leave in one call."""

    __slots__ = ("answers", "callers", "closed", "done", "error", "items", "late", "parts")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.callers = 0
        self.closed = False  # nobody else may join
        self.late = False  # somebody has given up waiting for it
        self.answers: list[Answer] = []
        self.error: BaseException | None = None
        self.parts: Sequence[object] | None = None  # of a batch that was done in part: the answer or the error of each item
        self.done = Event()


class Caller(Protocol):
    """What makes calls: `Threads` or what stands before them."""

    def start(self, call: Call[Any]) -> None: ...
    def give_up(self, call: Call[Any]) -> bool: ...


class Batcher(Generic[Item, Answer]):
    """The calls of one method.

    Args:
        broker: How the broker is called in errors.
        name: The method's name, likewise.
        call_seconds: How long a caller waits for its answer.
        is_of_an_item: Says of an error whether one item of a batch may be to blame, so that each caller asks again alone.
        deadline: A limit for all callers, for when they have to leave.
    """

    def __init__(
        self,
        method: Callable[[Sequence[Item]], list[Answer]],
        caller: Caller,
        *,
        broker: str,
        name: str,
        call_seconds: Callable[[], float],
        is_of_an_item: Callable[[Exception], bool],
        deadline: CallDeadline,
    ) -> None:
        self._method = method
        self._caller = caller
        self._broker = broker
        self._name = name
        self._call_seconds = call_seconds
        self._is_of_an_item = is_of_an_item
        self._deadline = deadline
        self._waiting: deque[_Batch[Item, Answer]] = deque()  # the last one can be added to
        self._under_way: _Batch[Item, Answer] | None = None
        self._call: Call[list[Answer]] | None = None

    async def call(self, items: Sequence[Item]) -> list[Answer]:
        """Send *items* with the next batch, and return their answers.

        Raises:
            BrokerUnavailable: No answer came in time; whether the call took effect is unknown.

        Cancellation:
            AnyIO's waits for the answer. asyncio's own does not, and leaves unknown whether the call takes effect.
        """
        self._check_not_stuck()
        batch, begin = self._join(items)
        await self._wait(batch)
        if isinstance(batch.error, Exception) and not batch.parts and batch.callers > 1 and self._is_of_an_item(batch.error):
            batch, begin = self._join(items, alone=True)
            await self._wait(batch)
        if batch.parts is not None:
            return _own_answers(batch.parts[begin : begin + len(items)])
        if batch.error is not None:
            raise batch.error
        return batch.answers[begin : begin + len(items)]

    async def wait_quiet(self) -> None:
        """Wait for what was asked for before now: it has happened then, or never will."""
        for batch in [batch for batch in (self._under_way, *self._waiting) if batch is not None]:
            await batch.done.wait()

    def _check_not_stuck(self) -> None:
        if self._under_way is not None and self._under_way.late:
            raise BrokerUnavailable(self._broker, f"an earlier {self._name} has not returned yet")

    async def _wait(self, batch: _Batch[Item, Answer]) -> None:
        with self._deadline.move_on_after(self._call_seconds()):
            await batch.done.wait()
        if not batch.done.is_set():
            late = BrokerUnavailable(self._broker, self._deadline.why_given_up(self._name, self._call_seconds()))
            # A stuck call must not keep a thread from the others, and one that never got a thread not those behind it.
            if batch is self._under_way and self._call is not None and self._caller.give_up(self._call):
                self._call.error = late
                self._ended(self._call)
            elif batch.done.is_set():  # its answer has come in this moment
                return
            batch.late = True
            raise late

    def _join(self, items: Sequence[Item], *, alone: bool = False) -> tuple[_Batch[Item, Answer], int]:
        """Add *items* to the batch that gathers, or to one of their own; returns it, and where they begin in it."""
        last = self._waiting[-1] if self._waiting else None
        if alone or last is None or last.closed or len(last.items) + len(items) > BATCH_LIMIT:
            new: _Batch[Item, Answer] = _Batch()  # (`_Batch[Item, Answer]()` takes five times as long)
            new.closed, last = alone, new
            self._waiting.append(last)
        begin = len(last.items)
        last.items.extend(items)
        last.callers += 1
        if self._under_way is None:
            self._send_next()
        return last, begin

    def _send_next(self) -> None:
        if self._waiting:
            self._under_way = self._waiting.popleft()
            self._call = Call(self._method, (self._under_way.items,), self._ended)
            self._caller.start(self._call)

    def _ended(self, call: Call[list[Answer]]) -> None:
        batch, self._under_way = self._under_way, None
        assert batch is not None
        if call.error is None:
            batch.answers = call.answer
        else:
            batch.error, call.error = call.error, None
            if isinstance(batch.error, BrokerError):
                batch.parts = batch.error.answers
        batch.done.set()
        self._send_next()


def _own_answers(answers: Sequence[Any]) -> list[Any]:
    """Return the answers to one caller's items, or raise the error of one of them, with the answers to these items only."""
    for answer in answers:
        if isinstance(answer, BrokerError):
            answer.answers = tuple(answers) if len(answers) > 1 else None
            raise answer
    return list(answers)
