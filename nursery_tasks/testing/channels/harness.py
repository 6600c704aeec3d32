"""What the suite needs to know of a channel, and how one check is described and run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any, Final

from ...channels import Channel, Source

FIELDS: Final = frozenset({"content_type", "id", "reply_to", "correlation_id", "headers"})  # of a message, beside its body


class Need(StrEnum):
    """What a check needs beyond the least, each by the name of the harness's field that gives it."""

    KEEPS = "keeps"
    AWAY = "away"
    IMPOSSIBLE = "impossible"
    OCCUPY = "occupy"
    END = "end"


@dataclass(frozen=True)
class Away:
    """How to take a channel's server away, and bring it back with all its messages."""

    stop: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]]


_NUMBERS: Final = count(1)


@dataclass(frozen=True, kw_only=True)
class ChannelHarness:
    """One channel for one check.

    Attributes:
        opener: Makes a channel. What it makes when it is called again is another client of the same server.
        keeps: The fields of a message beside its body that arrive as they were sent.
        makes_ids: A message that is sent without an id gets one.
        prepare: Makes a place ready to be sent to and read from; None: none need be made ready.
        away: Takes the server away and brings it back; None: those checks are left out.
        impossible: Names of places that there cannot be.
        occupy: Puts something where a place would be that is no queue; None: there is no such thing.
        end: Lets no more messages come to a place; None: its places do not end.
        seconds: How long one check may take.
        clean_up: Removes what is left, after each check.
    """

    opener: Callable[[], Channel]
    keeps: frozenset[str] = FIELDS
    makes_ids: bool = False
    prepare: Callable[[str], Awaitable[None]] | None = None
    away: Away | None = None
    impossible: Sequence[str] = ()
    occupy: Callable[[str], Awaitable[None]] | None = None
    end: Callable[[str], Awaitable[None]] | None = None
    seconds: float = 20.0
    clean_up: Callable[[], Awaitable[None]] | None = None
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack, init=False, repr=False)

    async def new_place(self) -> str:
        """Return an empty place, ready to be sent to and read from."""
        place = f"contract-{next(_NUMBERS)}"
        if self.prepare is not None:
            await self.prepare(place)
        return place

    async def open(self) -> Channel:
        """Open the channel, or one more client of it; the harness closes it."""
        channel = self.opener()
        await self._opened.enter_async_context(channel.open())
        return channel

    @asynccontextmanager
    async def open_source(self, place: str, prefetch: int = 100) -> AsyncGenerator[Source, None]:
        """Read from a place with a client of its own."""
        channel = self.opener()
        async with channel.open(), channel.open_source(place, prefetch=prefetch) as source:
            yield source

    async def close(self) -> None:
        """Close what was opened and clean up."""
        await self._opened.aclose()
        if self.clean_up is not None:
            await self.clean_up()


Run = Callable[[ChannelHarness], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class ChannelCheck:
    """One sentence of the contract of channels.

    Attributes:
        topic, name: Where the check stands; together they are unique.
        sentence: What every channel does that has what the check needs.
        needs: What the harness has to give.
        run: Raises `AssertionError` where the sentence does not hold.
    """

    topic: str
    name: str
    sentence: str
    needs: frozenset[Need]
    run: Run

    def why_not(self, harness: ChannelHarness) -> str | None:
        """Say why the check does not apply; None: it does."""
        missing = sorted(need for need in self.needs if not getattr(harness, need))
        return f"the harness has no {', no '.join(missing)}" if missing else None


class ChannelTopic:
    """The checks of one module, in the order in which they stand there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[ChannelCheck] = []

    def check(self, *needs: Need) -> Callable[[Run], Run]:
        """Make the decorated function a check; its docstring is the sentence."""

        def add(run: Run) -> Run:
            sentence = (run.__doc__ or "").strip().splitlines()[0].rstrip(".")
            name = run.__name__
            self.checks.append(ChannelCheck(self.name, name, sentence, frozenset(needs), run))
            return run

        return add
