"""A cut call loses nothing."""

from __future__ import annotations

from anyio import CancelScope, create_task_group, sleep
from anyio.lowlevel import checkpoint

from ...channels import Received, Source
from .harness import ChannelHarness, ChannelTopic
from .steps import bodies, expect, expect_equal, expect_left, numbered, receive, take, texts

topic = ChannelTopic("cancel")

STEPS = 8  # so many checkpoints later the cut comes; calls with a server take longer than all of them
SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008)  # and so those are cut at moments


async def cut_later(scope: CancelScope, when: float) -> None:
    """Cancel a scope after so many checkpoints, where *when* is a whole number, or after so many seconds."""
    if isinstance(when, int):
        for _ in range(when):
            await checkpoint()
    else:
        await sleep(when)
    scope.cancel()


async def receive_until_cut(source: Source, when: float) -> list[Received]:
    """Receive one message, unless the cut comes first; returns what the call has returned."""
    received: list[Received] = []

    async def call() -> None:
        with CancelScope() as scope:
            tg.start_soon(cut_later, scope, when)
            received.extend(await source.receive(1))

    async with create_task_group() as tg:
        await call()
    return received


@topic.check()
async def a_cut_receive(harness: ChannelHarness) -> None:
    """A cut call for messages loses none: what it would have returned comes again."""
    place = await harness.new_place()
    channel = await harness.open()
    moments = [*range(STEPS), *SECONDS]
    wanted = numbered(len(moments))
    await channel.send(place, texts(*wanted))
    found: set[str] = set()
    async with harness.open_source(place) as source:
        for when in moments:
            received = await receive_until_cut(source, when)
            found.update(bodies(received))
            await source.accept(received)
        while found != set(wanted):
            found.update(await take(source, 1))
        await expect_left(source, channel, place)


@topic.check()
async def a_cut_wait(harness: ChannelHarness) -> None:
    """A call for messages that was cut while it waited takes nothing that comes later."""
    place = await harness.new_place()
    channel = await harness.open()
    async with harness.open_source(place) as source:
        for number, when in enumerate((2, 5, 0.002, 0.02)):
            expect(await receive_until_cut(source, when) == [], "a message came that was not sent")
            await channel.send(place, texts(f"{number}"))
            expect_equal(await take(source, 1), [f"{number}"], "what the next call brings")


@topic.check()
async def a_cut_release(harness: ChannelHarness) -> None:
    """Messages whose release or acceptance was cut come again, or are gone: they do not stay away."""
    place = await harness.new_place()
    channel = await harness.open()
    await channel.send(place, texts(*numbered(6)))
    async with harness.open_source(place) as source:
        for when in (0, 1, 3):
            received = await receive(source, 1)
            async with create_task_group() as tg:
                tg.start_soon(cut_later, tg.cancel_scope, when)
                await source.release(received)
    async with harness.open_source(place) as source:
        expect_equal(sorted(await take(source, 6)), numbered(6), "what came again")


@topic.check()
async def a_cut_send(harness: ChannelHarness) -> None:
    """A cut call to send takes nothing from the others, and what is sent later arrives."""
    place = await harness.new_place()
    channel = await harness.open()
    cut, others = numbered(STEPS), numbered(STEPS, 100)
    for when in range(STEPS):
        async with create_task_group() as tg:
            tg.start_soon(channel.send, place, texts(others[when]))
            with CancelScope() as scope:
                tg.start_soon(cut_later, scope, when)
                await channel.send(place, texts(cut[when]))
    await channel.send(place, texts("the end"))
    found: list[str] = []
    async with harness.open_source(place) as source:
        while "the end" not in found:
            found += await take(source, 1)
        expect_equal([body for body in found if body in others], others, "what the others have sent")
        expect(set(found) <= {*cut, *others, "the end"}, f"something came that was not sent: {found}")
