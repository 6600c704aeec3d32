"""Collectors: a total that survives its workers.

The function of a collector is a batch task: one call folds many jobs' items, loads the state, and stores the next one with what
leaves, in one step and only if the state is still the same. Only then do the jobs end. So a batch counts once or not at all,
and what was counted and comes again is known by the id of its job. Several workers may fold at the same time: the slower one
finds another state, and folds its batch again from there. The function should therefore have no effects of its own.
"""

from __future__ import annotations

import inspect
import logging
import random
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from anyio import Lock, sleep, to_thread

from ..brokers.needed import states_of
from ..client.connection import ConnectedApp
from ..client.ids import new_job_id
from ..current import current_job
from ..errors import BrokerError, InvalidOptions, PayloadTooLarge
from ..log_throttle import LogThrottle
from ..model.options import HARD_PAYLOAD_BYTES
from ..model.sent import named, to_channel_message, to_outgoing
from ..model.stage import Place
from ..model.states import ENDED
from .folding import Flushed, Folded, FoldState, Rule, flush, fold_here, fold_on_loop, folding, forget

AGAIN_SECONDS: Final = 0.2  # after a call that has failed; the jobs of the batch are held meanwhile
TOTAL_BYTES: Final = HARD_PAYLOAD_BYTES - 1024 * 1024  # the rest is for the ids that are stored with it
OUTCOMES: Final = 5_000  # jobs that are looked up in one call

_log = logging.getLogger("nursery_tasks.stages")
_not_stored = LogThrottle(_log)


class CollectorState:
    """The total of one collector, wherever it is folded.

    Args:
        name: The collector's.
        function: Returns the next total, given the total and an item.
        total_type: What the total is.
        reply: Where totals go.

    Raises:
        InvalidOptions: The total cannot begin with *initial*, by its type.
    """

    def __init__(
        self,
        app: ConnectedApp,
        name: str,
        function: Callable[[Any, Any], Any],
        total_type: Any,
        reply: Sequence[Place],
        *,
        every: int | None,
        wait_seconds: float | None,
        running: bool,
        initial: Any,
    ) -> None:
        self.name = name
        self.places = tuple(reply)
        self.wait_seconds = wait_seconds
        self._app = app
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function)
        self._total_type = total_type
        self._rule = Rule(every, wait_seconds, running, self._encode(initial))
        self._check_initial(initial)
        self._lock = Lock()  # of this process: who would find another state need not begin

    async def fold_batch(self, items: list[Any]) -> list[Exception | None]:
        """Fold the items of one batch; returns for each None, or what the function has raised.

        Cancellation:
            The batch is counted or not; what was counted is known when it comes again.
        """
        ids = [job.id for job in current_job().batch]
        async with self._lock:
            while True:
                try:
                    folded = await self._try_to_fold(list(zip(ids, items, strict=True)))
                except BrokerError as error:  # no fault of the jobs
                    _not_stored.log("collector %s cannot store its total, and goes on trying: %s", self.name, error)
                    await sleep(AGAIN_SECONDS * (0.5 + random.random()))
                else:
                    if folded is not None:
                        return folded.errors

    async def flush(self) -> bool:
        """End the window that is open, and let its total leave; False: nothing has come since the last one."""
        return await self._flush(None)

    async def flush_in_time(self) -> float | None:
        """End the window if its time is over; returns in how many seconds to look again at the latest, None: never."""
        if self.wait_seconds is None:
            return None
        _, state = await self._load()
        if state.opened_at is None:
            return self.wait_seconds
        left = state.opened_at + self.wait_seconds - self._app.connection.now()
        if left > 0:
            return left
        await self._flush(state.window)
        return self.wait_seconds

    async def total(self) -> Any:
        """Return the total of the window that is open."""
        _, state = await self._load()
        return self._decode(state.total)

    async def _flush(self, window: int | None) -> bool:
        while True:
            version, state = await self._load()
            flushed = flush(self._rule, state)
            if flushed is None or window not in (None, state.window):
                return False
            new, left = flushed
            if await self._store(version, new, [left]):
                return True

    async def _try_to_fold(self, items: list[tuple[str, Any]]) -> Folded | None:
        """Fold and store; None: another worker has stored meanwhile."""
        version, state = await self._load()
        if state.folded:
            state = forget(state, await self._ended(state.folded))
        steps = folding(self._rule, state, items, self._decode, self._keep, self._app.connection.now())
        if self._is_async:
            folded = await fold_on_loop(steps, self._function)
        else:
            folded = await to_thread.run_sync(fold_here, steps, self._function)
        return folded if await self._store(version, folded.state, folded.flushed) else None

    async def _ended(self, ids: Sequence[str]) -> set[str]:
        ended = set[str]()
        for begin in range(0, len(ids), OUTCOMES):
            some = ids[begin : begin + OUTCOMES]
            stored = await self._app.connection.gateway.outcomes(some)
            ended |= {job_id for job_id, each in zip(some, stored, strict=True) if each is None or each.state in ENDED}
        return ended

    async def _load(self) -> tuple[int, FoldState]:
        gateway = self._app.connection.gateway
        row = await gateway.call(states_of(gateway.broker).get_state, self._key)
        if row is None:
            return 0, FoldState(new_job_id(), self._rule.initial)
        return row.version, msgspec.msgpack.decode(row.body, type=FoldState)

    async def _store(self, version: int, state: FoldState, flushed: Sequence[Flushed]) -> bool:
        gateway = self._app.connection.gateway
        outgoing = [to_outgoing(place, self._message(state, each)) for each in flushed for place in self.places]
        body = msgspec.msgpack.encode(state)
        return bool(await gateway.call(states_of(gateway.broker).put_state, self._key, version, body, outgoing))

    def _message(self, state: FoldState, flushed: Flushed) -> Any:
        message = to_channel_message(self._decode(flushed.total), self._to_json)
        return named(message, f"{state.run}.{flushed.window}")

    def _check_initial(self, initial: Any) -> None:
        """Refuse what each fold would fail to read."""
        try:
            self._decode(self._rule.initial)
        except msgspec.ValidationError as error:
            expected = f"what the total of {self.name} is, by its annotation ({error})"
            raise InvalidOptions("initial", initial, expected) from None

    @property
    def _key(self) -> str:
        return f"collector:{self.name}"

    def _encode(self, total: Any) -> bytes:
        return self._app.registry.codec.encode(f"the total of {self.name}", total)

    def _keep(self, total: Any) -> bytes:
        """Encode a total that the function has returned.

        Raises:
            NotSerializable, PayloadTooLarge: It cannot be stored, or cannot leave.
            TypeError: It is of another type than the function says, and could not be read again.
        """
        body, what = self._encode(total), f"the total of {self.name}"
        if len(body) > TOTAL_BYTES:
            raise PayloadTooLarge(what, len(body), TOTAL_BYTES, fixed=True)
        if self.places and self._app.registry.codec.form != "json":
            to_channel_message(total, self._to_json)
        try:
            self._decode(body)
        except msgspec.ValidationError as error:
            raise TypeError(f"{what} is not what the function says: {error}") from None
        return body

    def _decode(self, body: bytes) -> Any:
        codec = self._app.registry.codec
        return codec.decode_value(body, codec.form, self._total_type)

    def _to_json(self, value: Any) -> bytes:
        return self._app.registry.codec.to_json(f"the total of {self.name}", value)


def batch_function(function: Callable[[Any, Any], Any], fold: Callable[[list[Any]], Any], item_type: Any) -> Callable[..., Any]:
    """Return the function of a collector's task: it takes a list of items, and is called and found by the user's name."""

    async def fold_batch(items: list[Any]) -> list[None]:
        results: list[None] = await fold(items)
        return results

    fold_batch.__annotations__ = {"items": list[item_type], "return": list[None]}
    for word in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(fold_batch, word, getattr(function, word, None))
    return fold_batch


def types_of(function: Callable[..., Any]) -> tuple[Any, Any]:
    """Return the types of the total and of the items, as the function's annotations say; Any where they say nothing."""
    hints = typing.get_type_hints(function)
    names = list(inspect.signature(function).parameters)[:2]
    total, item = (hints.get(name, Any) for name in names)
    returns = hints.get("return", Any)
    return (total if returns is Any else returns), item
