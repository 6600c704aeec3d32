"""What becomes of a message that was received."""

from __future__ import annotations

from anyio import CancelScope, create_task_group

from ...channels import Source
from .harness import ChannelHarness, ChannelTopic
from .steps import bodies, expect, expect_equal, expect_left, numbered, receive, texts

topic = ChannelTopic("settle")


@topic.check()
async def accepted_is_gone(harness: ChannelHarness) -> None:
    """What was accepted does not come again; its neighbours do."""
    place = await harness.new_place()
    channel = await harness.open()
    await channel.send(place, texts(*numbered(5)))
    async with harness.open_source(place) as source:
        received = await receive(source, 5)
        await source.accept(received[1:3])
        await source.accept([received[4]])
    async with harness.open_source(place) as source:
        await expect_left(source, channel, place, "0000", "0003")


@topic.check()
async def unsettled_comes_again(harness: ChannelHarness) -> None:
    """What is not settled when its source is closed comes again, and says that it may have come before."""
    place = await harness.new_place()
    channel = await harness.open()
    await channel.send(place, texts(*numbered(4)))
    async with harness.open_source(place) as source:
        await receive(source, 3)
    async with harness.open_source(place) as source:
        again = {each.message.body.decode(): each.came_again for each in await receive(source, 4)}
        expect_equal(sorted(again), numbered(4), "what came again")
        expect(all(again[body] for body in numbered(3)), f"came_again is not said of all three: {again}")


@topic.check()
async def released_comes_again(harness: ChannelHarness) -> None:
    """What was released comes again, to the same source, too, and says that it may have come before."""
    place = await harness.new_place()
    channel = await harness.open()
    await channel.send(place, texts(*numbered(3)))
    async with harness.open_source(place) as source:
        first, second, third = await receive(source, 3)
        await source.release([first, third])
        again = await receive(source, 2)
        expect_equal(sorted(bodies(again)), ["0000", "0002"], "what came again")
        expect(all(each.came_again for each in again), "came_again is not said of what was released")
        await source.accept([*again, second])
    async with harness.open_source(place) as source:
        await expect_left(source, channel, place)


@topic.check()
async def no_more_than_the_prefetch(harness: ChannelHarness) -> None:
    """A source has no more than its prefetch here and not settled; the others get what it leaves."""
    place = await harness.new_place()
    await (await harness.open()).send(place, texts(*numbered(10)))
    async with harness.open_source(place, prefetch=3) as source:
        held = await receive(source, 3)
        async with harness.open_source(place) as other:
            rest = await receive(other, 7)
            expect_equal(sorted(bodies(rest)), numbered(7, 3), "what is left for another source")
            await other.accept(rest[1:])
        await source.accept(held[:1])
        expect_equal(bodies(await receive(source, 1)), bodies(rest[:1]), "what comes when there is room again")


@topic.check()
async def each_message_to_one_source(harness: ChannelHarness) -> None:
    """Of two sources of one place each message comes to one."""
    place = await harness.new_place()
    channel = await harness.open()
    async with harness.open_source(place, prefetch=5) as source, harness.open_source(place, prefetch=5) as other:
        await channel.send(place, texts(*numbered(40)))
        found: list[str] = []

        async def drain(source: Source, enough: CancelScope) -> None:
            while True:
                received = await source.receive(5)
                found.extend(bodies(received))
                with CancelScope(shield=True):  # the other's end must not come between
                    await source.accept(received)
                if len(found) >= 40:
                    enough.cancel()

        async with create_task_group() as tg:
            tg.start_soon(drain, source, tg.cancel_scope)
            tg.start_soon(drain, other, tg.cancel_scope)
        expect_equal(sorted(found), numbered(40), "what the two received")
    async with harness.open_source(place) as source:
        await expect_left(source, channel, place)
