"""Publishers: a generator whose items go out as messages, once, also when the program that runs it is killed.

One worker at a time has the publisher's lock and iterates the generator. Items are put into the outbox together with the cursor
of the last one, in one step and only if the cursor is still the one that was read: so none is lost or put out twice, whichever
worker dies when. The outbox sends them, at least once; a copy has the same id.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, nullcontext
from itertools import islice
from typing import Any, Final, TypeGuard, cast

import msgspec
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    WouldBlock,
    create_memory_object_stream,
    sleep,
)
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..brokers.needed import states_of
from ..client.connection import ConnectedApp
from ..client.ids import new_job_id
from ..client.lock_request import LOCK_LEASE_SECONDS
from ..client.locks import hold_lock
from ..errors import BrokerError, LockLost, NurseryTasksError
from ..log_throttle import LogThrottle
from ..loop.thread_feed import feed_from_thread
from ..loop.unwrapped import open_unwrapped_group
from ..model.channel_message import Item
from ..model.outgoing import Outgoing
from ..model.sent import named, to_channel_message, to_outgoing
from ..model.stage import Place
from .functions import place_of, yields_async

AT_ONCE: Final = 200  # items that are put out in one step, at most
ROOM_SECONDS: Final = 0.1  # between two looks whether there is room
LOOK_SECONDS: Final = 1.0  # between two looks whether a publisher that is done is wanted again
AGAIN_SECONDS: Final = (0.2, 30.0)  # before the generator is started again after an error: at first, and at most
ATTEMPTS: Final = 5  # without a single item in between; then it has failed

Counts = Callable[[Iterable[str]], Awaitable[Mapping[str, int]]]

_log = logging.getLogger("nursery_tasks.stages")


class PublisherState(msgspec.Struct, frozen=True):
    """What is stored of one publisher.

    Attributes:
        run: Random; the ids of its messages begin with it.
        index: How many items have gone out.
        cursor: Where to go on; None: by the number of items.
        done: Its generator has ended, or has failed too often.
        error: What it has failed with.
    """

    run: str
    index: int = 0
    cursor: Any = None
    done: bool = False
    error: str | None = None


class _Ahead(NurseryTasksError):
    """Another worker has put items out meanwhile: this one had the lock no more."""


class PublisherRun:
    """One publisher, wherever it runs.

    Args:
        function: Gives the generator; it may take `cursor`.
        places: Where the items go.
        buffer: How many items may wait in the outbox.
    """

    def __init__(
        self, app: ConnectedApp, name: str, function: Callable[..., Any], places: tuple[Place, ...], buffer: int
    ) -> None:
        self.name = name
        self.places = places
        self.place = place_of(function)
        self._app = app
        self._function = function
        self._takes_cursor = "cursor" in inspect.signature(function).parameters
        self._buffer = buffer
        self._not_now = LogThrottle(_log)

    async def serve(self, backlog: Counts) -> None:
        """Publish when this worker is the one whose turn it is, until cancelled.

        Args:
            backlog: Returns how many messages wait for each of some destinations.

        Cancellation:
            The generator is closed. What it has yielded and is not in the outbox it yields again, from the cursor.
        """
        failures, pause = 0, AGAIN_SECONDS[0]
        while True:
            index = 0
            try:
                _, state = await self._load()
                if state.done:
                    await sleep(LOOK_SECONDS)
                    continue
                index = state.index
                connection = self._app.connection
                lock = hold_lock(connection.gateway, connection.lock_keeper, f"publisher:{self.name}", LOCK_LEASE_SECONDS, None)
                async with lock:
                    await self._publish(backlog)
            except (BrokerError, LockLost, _Ahead) as error:
                self._not_now.log("publisher %s cannot go on, and goes on trying: %s", self.name, error)
                await sleep(AGAIN_SECONDS[0] * (0.5 + random.random()))
            except Exception as error:
                _, now = await self._load_patiently()
                failures, pause = (1, AGAIN_SECONDS[0]) if now.index > index else (failures + 1, pause * 2)
                _log.exception("publisher %s has raised after %d items", self.name, now.index)
                if failures >= ATTEMPTS:
                    await self._give_up(error)
                await sleep(min(pause, AGAIN_SECONDS[1]))

    async def state(self) -> PublisherState:
        """Return what is stored."""
        return (await self._load())[1]

    async def restart(self) -> None:
        """Let it begin anew, from its first item."""
        gateway = self._app.connection.gateway
        while (row := await gateway.call(states_of(gateway.broker).get_state, self._key)) is not None:
            if await gateway.call(states_of(gateway.broker).delete_state, self._key, row.version):
                return

    # --- one run of the generator ----------------------------------------------------------------------------------------

    async def _publish(self, backlog: Counts) -> None:
        version, state = await self._load()
        if state.done:
            return
        send, receive = create_memory_object_stream[Any](min(AT_ONCE, self._buffer))
        raised: list[Exception] = []

        async def pull(state: PublisherState) -> None:
            async with send:
                try:
                    await self._pull(state, send)
                except (BrokenResourceError, ClosedResourceError):
                    return
                except Exception as error:  # told after what came before it is put out
                    raised.append(error)
                except SystemExit as error:  # no handler ends a worker, and no generator
                    raised.append(RuntimeError(f"it called sys.exit({error.code!r})"))

        async with open_unwrapped_group() as group, receive:
            group.start_soon(pull, state, name=f"generator {self.name}")
            version, state = await self._put_out(version, state, receive, backlog)
        if raised:
            raise raised[0]
        await self._store(version, msgspec.structs.replace(state, done=True), [])
        _log.info("publisher %s is done, after %d items", self.name, state.index)

    async def _pull(self, state: PublisherState, send: MemoryObjectSendStream[Any]) -> None:
        if yields_async(self._function):
            made, skip = self._start(state)
            await _pull_async(made, skip, send)
            return
        async with aclosing(feed_from_thread(lambda: self._iterate(state), AT_ONCE, self._on_left)) as feed:
            async for some in feed:
                for item in some:
                    await send.send(item)

    def _iterate(self, state: PublisherState) -> Iterator[Any]:
        """Yield what has not gone out; in the thread of what is not async."""
        made, skip = self._start(state)
        try:
            yield from islice(made, skip, None)
        finally:
            if inspect.isgenerator(made):
                made.close()

    def _on_left(self) -> None:
        _log.warning("the generator of publisher %s was left while it waited in its thread", self.name)

    def _start(self, state: PublisherState) -> tuple[Any, int]:
        """Call the function; returns what it gives, and how many items of that have gone out before."""
        if not self._takes_cursor:
            return self._function(), state.index
        cursor = state.cursor if state.cursor is not None or not state.index else state.index
        return self._function(cursor=cursor), 0

    async def _put_out(
        self,
        version: int,
        state: PublisherState,
        receive: MemoryObjectReceiveStream[Any],
        backlog: Counts,
    ) -> tuple[int, PublisherState]:
        """Put items out as they come, until the generator ends; returns the last state and its version."""
        room = 0
        while True:
            try:
                items = [await receive.receive()]
            except EndOfStream:
                return version, state
            while room <= 0:
                counts = await backlog(map(str, self.places))
                room = self._buffer - max(counts.values())
                if room <= 0:
                    await sleep(ROOM_SECONDS)
            while len(items) < min(room, AT_ONCE):
                try:
                    items.append(receive.receive_nowait())
                except (WouldBlock, EndOfStream):
                    break
            room -= len(items)
            outgoing = self._outgoing(state, items)
            last = items[-1]
            cursor = last.cursor if _is_item(last) else None
            state = msgspec.structs.replace(state, index=state.index + len(items), cursor=cursor)
            version = await self._store(version, state, outgoing)

    def _outgoing(self, state: PublisherState, items: list[Any]) -> list[Outgoing]:
        outgoing: list[Outgoing] = []
        for index, item in enumerate(items, state.index):
            value = item.value if _is_item(item) else item
            message = named(to_channel_message(value, self._to_json), f"{state.run}.{index}")
            outgoing += [to_outgoing(place, message) for place in self.places]
        return outgoing

    # --- what is stored --------------------------------------------------------------------------------------------------

    async def _give_up(self, error: Exception) -> None:
        version, state = await self._load_patiently()
        await self._store(version, msgspec.structs.replace(state, done=True, error=f"{type(error).__name__}: {error}"), [])
        _log.error("publisher %s has failed %d times without an item in between, and is not run again", self.name, ATTEMPTS)

    async def _load_patiently(self) -> tuple[int, PublisherState]:
        while True:
            try:
                return await self._load()
            except BrokerError:
                await sleep(AGAIN_SECONDS[0])

    async def _load(self) -> tuple[int, PublisherState]:
        gateway = self._app.connection.gateway
        row = await gateway.call(states_of(gateway.broker).get_state, self._key)
        if row is None:
            return 0, PublisherState(new_job_id())
        return row.version, msgspec.json.decode(row.body, type=PublisherState)

    async def _store(self, version: int, state: PublisherState, outgoing: list[Outgoing]) -> int:
        gateway = self._app.connection.gateway
        body = msgspec.json.encode(state)
        new: int = await gateway.call(states_of(gateway.broker).put_state, self._key, version, body, outgoing)
        if not new:
            raise _Ahead(f"another worker runs publisher {self.name}")
        return new

    @property
    def _key(self) -> str:
        return f"publisher:{self.name}"

    def _to_json(self, value: Any) -> bytes:
        return self._app.registry.codec.to_json(f"an item of {self.name}", value)


async def _pull_async(made: AsyncIterable[Any], skip: int, send: MemoryObjectSendStream[Any]) -> None:
    closing = aclosing(cast("AsyncGenerator[Any, None]", made)) if isinstance(made, AsyncGenerator) else nullcontext()
    async with closing:
        async for item in made:
            if skip:
                skip -= 1
            else:
                await send.send(item)


def _is_item(given: object) -> TypeGuard[Item[Any]]:
    return isinstance(given, Item)
