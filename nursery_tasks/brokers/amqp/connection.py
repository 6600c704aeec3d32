"""One connection with one channel on it, opened again and again for as long as it is kept.

Publishing and consuming have a connection each: a server that is short of memory stops reading from those who publish, and must
not stop the acknowledgements with it. All of it runs on the portal's loop.

Each opening has a number, its *generation*. A delivery tag is only a number in a channel: on the next channel the same number
is another message's. So whoever keeps a tag keeps the generation with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ConnectionResourceError

from .address import Address
from .errors import blocked, to_broker_error, to_driver_error
from .frames import Readable
from .portal import guarded
from .taps import Tap

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 1.0  # for the least of all questions
CHANNELS_MOST: Final = 2047  # of one connection, as servers come

for _name in ("aiormq.connection", "aiormq.channel"):  # it logs what it also raises, with its traceback
    if logging.getLogger(_name).level == logging.NOTSET:
        logging.getLogger(_name).setLevel(logging.CRITICAL)


class OnOpen(Protocol):
    """Hears of each opening; an error makes the connection break again."""

    async def __call__(self, channel: AbstractChannel, generation: int) -> None: ...


class Connection:
    """One connection to the server.

    Args:
        role: What it is for, as the server's list of connections shows it.
        on_open: Called with each new channel, before anybody else gets it.
        on_lost: Called when the connection has broken.

    Attributes:
        generation: How often it was opened.
        driver: The driver's connection while it is up.
        server: What the server says of itself.
    """

    def __init__(
        self, address: Address, role: str, on_open: OnOpen | None = None, on_lost: Callable[[], None] | None = None
    ) -> None:
        self._address = address
        self._url = f"{address.url}&name=nursery-tasks+{role}"
        self._on_open, self._on_lost = on_open, on_lost
        self.generation = 0
        self.driver: AbstractConnection | None = None
        self._readable: Readable | None = None
        self.server: dict[str, Any] = {}
        self._channel: AbstractChannel | None = None
        self._changed = asyncio.Event()  # of the fields below; replaced each time
        self._problem: BaseException | None = None
        self._is_ending = False
        self._last_number = 1  # of a channel

    async def keep(self) -> None:
        """Open it, wait until it breaks, and begin again, until `end` or cancelled."""
        try:
            await self._keep()
        finally:
            self._abort()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._is_ending:
            try:
                await guarded(self._open(), self._address.timeout_seconds)
            except Exception as error:  # whoever waits for the connection gets it
                await self._let_go(error)
            else:
                pause = FIRST_PAUSE_SECONDS
                try:
                    if not self._is_ending:
                        await self._wait_broken()
                finally:
                    await self._let_go(None)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def end(self) -> None:
        """Close the connection for good.

        Raises:
            aiormq.AMQPError: It broke meanwhile.
        """
        self._is_ending = True
        if self.driver is not None:
            await self.driver.close()

    async def channel(self, *, at_once: bool = False) -> AbstractChannel:
        """Return the channel; wait for the connection to open, or say why it does not.

        Args:
            at_once: Do not wait while it is known to be broken.

        Raises:
            BrokerUnavailable: It could not be opened within the time of one step.
        """
        end = asyncio.get_running_loop().time() + self._address.timeout_seconds
        while self._channel is None:
            left = end - asyncio.get_running_loop().time()
            if self._problem is not None and (at_once or left <= 0):
                raise to_broker_error(self._address.name, self._problem)
            if left <= 0:
                raise to_broker_error(self._address.name, TimeoutError())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return self._channel

    @property
    def current(self) -> AbstractChannel | None:
        """The channel, while the connection is up."""
        return self._channel

    async def check_unblocked(self, seconds: float) -> None:
        """Wait until the server takes messages.

        Raises:
            BrokerUnavailable: It has raised an alarm, and does not for now.
        """
        if self.driver is not None:
            try:
                await asyncio.wait_for(self.driver.ready(), seconds)
            except TimeoutError:
                raise blocked(self._address.name) from None

    @asynccontextmanager
    async def scratch(self, *, confirms: bool = False) -> AsyncGenerator[AbstractChannel, None]:
        """Give a channel for something that may go wrong: the server ends a channel at the first error."""
        await self.channel()
        channel = await self.open_channel(confirms=confirms)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                await channel.close()

    async def open_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel that stays open; whoever calls this closes it.

        However much comes on it is read at once: a channel that nobody reads any more must not stop the others.
        """
        assert self.driver is not None
        number = self._next_number(self.driver)
        return await self.driver.channel(number, confirms, 0, on_return_raises=confirms)

    @asynccontextmanager
    async def apart(self) -> AsyncGenerator[AbstractConnection, None]:
        """Give another connection, for what the server may end a whole connection for."""
        readable = Readable(self._url)
        driver = await self._connect(readable)
        try:
            yield driver
        finally:
            with suppress(Exception):
                await guarded(driver.close(), CLOSE_SECONDS)
            readable.abort()

    def put_tap(self, channel: AbstractChannel, tap: Tap) -> None:
        """Have a tap take what comes for each message on a channel, until that is closed."""
        stream, number = None if self._readable is None else self._readable.stream, _number(channel)
        if stream is None:
            return
        taps = stream.taps
        taps[number] = tap

        def take_off(_: object) -> None:
            if taps.get(number) is tap:
                del taps[number]

        watched: Any = channel
        watched.closing.add_done_callback(take_off)

    def write(self, frames: bytes) -> None:
        """Send whole frames at once."""
        if self._readable is not None:
            self._readable.write(frames)

    @property
    def is_blocked(self) -> bool:
        """Whether the server has raised an alarm, and takes no messages for now."""
        stream = None if self._readable is None else self._readable.stream
        return stream is not None and stream.is_blocked

    @property
    def is_up(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self._channel is not None and self.driver is not None and self.driver.is_opened

    async def answers(self) -> bool:
        """Ask the server for something that it can always give."""
        try:
            await guarded(self._ask(), ANSWER_SECONDS)
        except Exception:
            return False
        return True

    async def _ask(self) -> None:
        async with self.scratch():
            pass

    def _next_number(self, driver: Any) -> int:
        """Return a channel's number that was not used for long.

        The driver would take the lowest that is free, and counts one as free a moment before it has told the server so; a
        channel that is opened in that moment ends the connection.
        """
        most = min(driver.connection_tune.channel_max or CHANNELS_MOST, CHANNELS_MOST)
        if len(driver.channels) >= most:
            raise ConnectionResourceError(f"all {most} channels of the connection are in use")
        while True:
            self._last_number = self._last_number % most + 1
            if self._last_number not in driver.channels:
                return self._last_number

    def break_off(self) -> None:
        """Give this connection up: it does not do what it should. The next one opens soon."""
        if self._channel is not None:  # else this one is given up already, and the next one has done nothing wrong
            self._broken.set()

    async def _open(self) -> None:
        self._broken = asyncio.Event()
        readable = self._readable = Readable(self._url)
        driver = self.driver = await self._connect(readable)
        channel = await driver.channel(publisher_confirms=True, on_return_raises=True)
        self.server = dict(getattr(driver, "server_properties", {}))
        self.generation += 1
        if self._on_open is not None:
            await self._on_open(channel, self.generation)
        self._channel, self._problem = channel, None
        self._tell()

    async def _connect(self, readable: Readable) -> AbstractConnection:
        try:
            return await aiormq.connect(self._url, transport_factory=readable)
        except Exception as error:
            if readable.close is not None:  # its own words, where the driver has taken them for a frame out of place
                raise to_driver_error(readable.close) from error
            raise

    async def _wait_broken(self) -> None:
        assert self.driver is not None
        assert self._channel is not None
        driver: Any = self.driver
        channel: Any = self._channel
        signs: list[asyncio.Future[Any]] = [driver.closing, channel.closing, asyncio.ensure_future(self._broken.wait())]
        try:
            await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for sign in signs:
                sign.cancel()

    async def _let_go(self, problem: BaseException | None) -> None:
        was_open = self._channel is not None
        self._channel, driver, self.driver = None, self.driver, None
        self._problem = problem or self._problem
        self._tell()
        if was_open and self._on_lost is not None:
            self._on_lost()
        if driver is not None and not driver.is_closed:
            with suppress(Exception):
                await guarded(driver.close(), CLOSE_SECONDS)
        self._abort()

    def _abort(self) -> None:
        readable, self._readable = self._readable, None
        if readable is not None:
            readable.abort()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _number(channel: Any) -> int:
    number: int = channel.number
    return number
