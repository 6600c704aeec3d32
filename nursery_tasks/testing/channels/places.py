"""Names of places, and what may stand there."""

from __future__ import annotations

from ...errors import ChannelRefused, InvalidOptions
from .harness import ChannelHarness, ChannelTopic, Need
from .steps import expect_equal, take, texts

topic = ChannelTopic("places")


@topic.check(Need.IMPOSSIBLE)
async def impossible_names(harness: ChannelHarness) -> None:
    """A name that no place can have is refused at once, for both directions, and the channel goes on."""
    channel = await harness.open()
    for name in harness.impossible:
        try:
            async with channel.open_source(name, prefetch=1):
                pass
        except InvalidOptions:
            pass
        else:
            raise AssertionError(f"a source of {name!r} was opened")
        try:
            await channel.send(name, texts("never"))
        except InvalidOptions:
            pass
        else:
            raise AssertionError(f"something was sent to {name!r}")
    place = await harness.new_place()
    await channel.send(place, texts("one"))
    async with channel.open_source(place, prefetch=1) as source:
        expect_equal(await take(source, 1), ["one"], "what came after all that")


@topic.check(Need.OCCUPY)
async def something_else_is_there(harness: ChannelHarness) -> None:
    """Where something stands that is no queue, both directions are refused, and the channel goes on."""
    assert harness.occupy is not None  # the check is left out otherwise
    occupied, place = await harness.new_place(), await harness.new_place()
    await harness.occupy(occupied)
    channel = await harness.open()
    async with channel.open_source(occupied, prefetch=1) as source, channel.open_source(place, prefetch=1) as other:
        try:
            await source.receive(1)
        except ChannelRefused as error:
            expect_equal(error.channel, channel.name, "the channel's name in the error")
        else:
            raise AssertionError("something came from a place that is no queue")
        try:
            await channel.send(occupied, texts("never"))
        except ChannelRefused:
            pass
        else:
            raise AssertionError("something was sent to a place that is no queue")
        await channel.send(place, texts("one"))
        expect_equal(await take(other, 1), ["one"], "what came after all that")
