"""What goes in comes out: in order, and as it was."""

from __future__ import annotations

from typing import Any

import msgspec
from anyio import EndOfStream, create_task_group
from anyio.lowlevel import checkpoint

from ...channels import ChannelMessage, Received
from .harness import ChannelHarness, ChannelTopic, Need
from .steps import bodies, expect, expect_equal, numbered, receive, take, texts

topic = ChannelTopic("deliver")

ODD_BODIES = {
    "an empty body": b"",
    "a megabyte": b"\x00\xff\r\n" * (1 << 18),
    "bytes that are no text": bytes(range(256)),
    "NUL": b"\x00",
    "half a UTF-8 character": "ж".encode()[:1],
    "JSON": b'{"a": [1, null, "\xc3\xa9"]}',
    "spaces": b"  \n",
}
ODD_HEADERS = {
    "x-empty": "",
    "x-spaces": " a  b ",
    "x-words": "ключ 鍵 \N{PILE OF POO}",
    "x_y.z-1": "v" * 4000,
    "a": '"\\;,=%\t',
}


@topic.check()
async def in_order(harness: ChannelHarness) -> None:
    """Messages come in the order in which they were sent, over several calls and clients."""
    place = await harness.new_place()
    channel, other = await harness.open(), await harness.open()
    await channel.send(place, texts(*numbered(20)))
    await other.send(place, texts(*numbered(20, 20)))
    await channel.send(place, texts(*numbered(5, 40)))
    async with harness.open_source(place) as source:
        expect_equal(await take(source, 45), numbered(45), "the order")


@topic.check()
async def no_more_than_the_limit(harness: ChannelHarness) -> None:
    """A call brings at least one message, and no more than it asked for."""
    place = await harness.new_place()
    await (await harness.open()).send(place, texts(*numbered(7)))
    async with harness.open_source(place) as source:
        received: list[Received] = []
        for limit in (1, 2, 100):
            some = await source.receive(limit)
            expect(0 < len(some) <= limit, f"receive({limit}) returned {len(some)} messages")
            received += some
        received += await receive(source, 7 - len(received))
        expect_equal(bodies(received), numbered(7), "the order")


@topic.check()
async def waits_for_a_message(harness: ChannelHarness) -> None:
    """Who receives from an empty place waits, and gets what is sent then."""
    place = await harness.new_place()
    channel = await harness.open()
    found: list[str] = []
    async with harness.open_source(place) as source:

        async def wait() -> None:
            found.extend(await take(source, 1))

        async with create_task_group() as tg:
            tg.start_soon(wait)
            for _ in range(3):
                await checkpoint()
            expect_equal(found, [], "what came before anything was sent")
            await channel.send(place, texts("late"))
    expect_equal(found, ["late"], "what came")


@topic.check()
async def sending_nothing(harness: ChannelHarness) -> None:
    """Sending no message sends none."""
    place = await harness.new_place()
    channel = await harness.open()
    await channel.send(place, [])
    await channel.send(place, texts("one"))
    async with harness.open_source(place) as source:
        expect_equal(await take(source, 1), ["one"], "what came")


@topic.check()
async def bodies_of_all_kinds(harness: ChannelHarness) -> None:
    """A body may be empty, a megabyte, or bytes that are no text; it arrives as it was."""
    place = await harness.new_place()
    await (await harness.open()).send(place, [ChannelMessage(body=body) for body in ODD_BODIES.values()])
    async with harness.open_source(place) as source:
        received = await receive(source, len(ODD_BODIES))
        for (what, body), each in zip(ODD_BODIES.items(), received, strict=True):
            expect(each.message.body == body, f"{what} arrived as {each.message.body[:40]!r} ({len(each.message.body)} bytes)")
        await source.accept(received)


@topic.check(Need.KEEPS)
async def fields_are_kept(harness: ChannelHarness) -> None:
    """What is said beside the body arrives as it was sent."""
    sent: dict[str, Any] = {
        "content_type": "application/json; charset=utf-8",
        "id": "a1b2-ключ",
        "reply_to": await harness.new_place(),
        "correlation_id": "7/8",
        "headers": {"x-one": "1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    }
    place = await harness.new_place()
    kept = {name: value for name, value in sent.items() if name in harness.keeps}
    await (await harness.open()).send(place, [ChannelMessage(body=b"{}", **kept)])
    async with harness.open_source(place) as source:
        [received] = await receive(source, 1)
        found = {name: getattr(received.message, name) for name in kept}
        if "headers" in found:
            found["headers"] = dict(found["headers"])
        expect_equal(found, kept, "what was said beside the body")


@topic.check(Need.KEEPS)
async def absent_stays_absent(harness: ChannelHarness) -> None:
    """What was not said is not there when a message arrives."""
    place = await harness.new_place()
    await (await harness.open()).send(place, [ChannelMessage(body=b"plain")])
    async with harness.open_source(place) as source:
        [received] = await receive(source, 1)
        found = msgspec.structs.replace(received.message, id=None) if harness.makes_ids else received.message
        expect_equal(found, ChannelMessage(body=b"plain"), "a message with nothing but a body")


@topic.check(Need.KEEPS)
async def odd_headers(harness: ChannelHarness) -> None:
    """Headers may be empty, long, and in any script."""
    if "headers" not in harness.keeps:
        return
    place = await harness.new_place()
    await (await harness.open()).send(place, [ChannelMessage(body=b"", headers=ODD_HEADERS)])
    async with harness.open_source(place) as source:
        [received] = await receive(source, 1)
        expect_equal(dict(received.message.headers), ODD_HEADERS, "the headers")


@topic.check()
async def places_are_apart(harness: ChannelHarness) -> None:
    """What is sent to one place does not come at another."""
    here, there = await harness.new_place(), await harness.new_place()
    channel = await harness.open()
    await channel.send(there, texts("there"))
    await channel.send(here, texts("here"))
    async with harness.open_source(here) as source, harness.open_source(there) as other:
        expect_equal(await take(source, 1), ["here"], "what came here")
        expect_equal(await take(other, 1), ["there"], "what came there")


@topic.check(Need.END)
async def a_source_that_ends(harness: ChannelHarness) -> None:
    """Where no more can come, a source says so when all is settled."""
    assert harness.end is not None
    place = await harness.new_place()
    await (await harness.open()).send(place, texts("last"))
    await harness.end(place)
    async with harness.open_source(place) as source:
        [received] = await receive(source, 1)
        await source.release([received])
        expect_equal(await take(source, 1), ["last"], "what was released before the end")
        try:
            await source.receive(1)
        except EndOfStream:
            return
        raise AssertionError("a call after the end has returned")
