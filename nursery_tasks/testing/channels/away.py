"""The server goes away, and comes back."""

from __future__ import annotations

from functools import partial

from anyio import Event, create_task_group

from ...errors import ChannelUnavailable
from .harness import Away, ChannelHarness, ChannelTopic, Need
from .steps import accept_when_back, expect, expect_equal, receive, send_when_back, take, texts

topic = ChannelTopic("away")


def away_of(harness: ChannelHarness) -> Away:
    assert harness.away is not None  # the check is left out otherwise
    return harness.away


@topic.check(Need.AWAY)
async def calls_say_that_it_is_away(harness: ChannelHarness) -> None:
    """While a channel is away, sending and looking raise `ChannelUnavailable`; afterwards they work again."""
    place = await harness.new_place()
    channel = await harness.open()
    await channel.send(place, texts("before"))
    expect(bool((await channel.check()).strip()), "check() says nothing of a channel that is there")
    await away_of(harness).stop()
    for what, call in (("send", partial(channel.send, place, texts("lost"))), ("check", channel.check)):
        try:
            await call()
        except ChannelUnavailable as error:
            expect_equal(error.channel, channel.name, f"the channel's name in the error of {what}")
        else:
            raise AssertionError(f"{what} has returned while the channel was away")
    await away_of(harness).start()
    await send_when_back(channel, place, "after")
    async with harness.open_source(place) as source:
        expect_equal(await take(source, 2), ["before", "after"], "what was sent before and after")


@topic.check(Need.AWAY)
async def a_source_comes_back(harness: ChannelHarness) -> None:
    """A source that waits while its channel goes away says so once, and goes on by itself when it is back."""
    place = await harness.new_place()
    channel = await harness.open()
    told = Event()
    found: list[str] = []
    async with harness.open_source(place) as source:
        await channel.send(place, texts("before"))
        expect_equal(await take(source, 1), ["before"], "what came before")

        async def wait() -> None:
            try:
                await source.receive(1)
            except ChannelUnavailable:
                told.set()
            else:
                raise AssertionError("something came while the channel was away")
            received = await accept_when_back(source, 1)
            found.extend(each.message.body.decode() for each in received)

        async with create_task_group() as tg:
            tg.start_soon(wait)
            await away_of(harness).stop()
            await told.wait()
            await away_of(harness).start()
            await send_when_back(channel, place, "after")
    expect_equal(found, ["after"], "what came then")


@topic.check(Need.AWAY)
async def nothing_is_lost_on_the_way(harness: ChannelHarness) -> None:
    """What is unsettled when a channel goes away is accepted later, or comes again."""
    place = await harness.new_place()
    channel = await harness.open()
    await channel.send(place, texts("one", "two"))
    async with harness.open_source(place) as source:
        received = await receive(source, 2)
        await away_of(harness).stop()
        try:
            await source.accept(received)
        except ChannelUnavailable:
            pass
        else:
            raise AssertionError("a channel that is away has accepted something")
        await away_of(harness).start()
        try:
            await source.accept(received)
        except ChannelUnavailable:
            again = await accept_when_back(source, 2)
            expect_equal(sorted(each.message.body.decode() for each in again), ["one", "two"], "what came again")
            expect(all(each.came_again for each in again), "came_again is not said of what came again")
    async with harness.open_source(place) as source:
        await send_when_back(channel, place, "the mark")
        expect_equal(await take(source, 1), ["the mark"], "what is left, and the mark behind it")


@topic.check(Need.AWAY)
async def opened_while_away(harness: ChannelHarness) -> None:
    """A channel and a source may be opened while their server is away; they find it when it comes."""
    place = await harness.new_place()
    await (await harness.open()).send(place, texts("one"))
    await away_of(harness).stop()
    channel = await harness.open()
    async with channel.open_source(place, prefetch=10) as source:
        try:
            await source.receive(1)
        except ChannelUnavailable:
            pass
        else:
            raise AssertionError("a call for messages has returned while the channel was away")
        await away_of(harness).start()
        received = await accept_when_back(source, 1)
    expect_equal([each.message.body for each in received], [b"one"], "what came")
