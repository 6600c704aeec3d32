"""Links that break at any moment: whatever was sent is accepted in the end, and nothing is left behind."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator
from contextlib import suppress
from itertools import count

import anyio
import pytest
import rabbit_server
import redis_server
from anyio import CancelScope, create_task_group, fail_after
from proxy import Proxy

from nursery_tasks.channels import Channel, ChannelMessage, Received, Source
from nursery_tasks.channels.url import open_channel
from nursery_tasks.errors import ChannelUnavailable

_numbers = count(1)

Opener = Callable[[], Channel]


@pytest.fixture(params=["redis", "amqp"])
def way(request: pytest.FixtureRequest) -> Generator[tuple[Opener, Opener, Proxy], None, None]:
    """A way to a server that a test can break, one that it cannot, and the proxy on the first."""
    if request.param == "redis":
        redis_server.need_server()
        server = redis_server.shared_server()
        with Proxy(server.port) as proxy:
            namespace = f"chaos-{os.getpid()}-{next(_numbers)}:"
            urls = [f"redis://127.0.0.1:{port}/0?timeout=2&namespace={namespace}" for port in (proxy.port, server.port)]
            yield lambda: open_channel(urls[0]), lambda: open_channel(urls[1]), proxy
        redis_server.drop_keys(server, f"*{namespace}*")  # other tests look that nothing is left on this server
        return
    rabbit_server.need_server()
    node = rabbit_server.shared_server()
    with node.virtual_host() as name, Proxy(node.port) as proxy:
        options = "?timeout=2&declare=yes&queue_type=classic"
        places = [f"amqp://guest:guest@127.0.0.1:{port}/{name}{options}" for port in (proxy.port, node.port)]
        yield lambda: open_channel(places[0]), lambda: open_channel(places[1]), proxy


async def send_all(channel: Channel, wanted: list[str], part: int) -> None:
    for begin in range(0, len(wanted), part):
        messages = [ChannelMessage(body=each.encode(), id=each) for each in wanted[begin : begin + part]]
        while True:
            try:
                await channel.send("flow", messages)
                break
            except ChannelUnavailable:
                continue


async def receive_some(source: Source, accepted: set[str], maybe: set[str], wanted: set[str], dice: random.Random) -> None:
    """Receive, accept most, release some, and leave some calls in the middle, until all were accepted.

    What was being accepted when the link broke may be accepted, or come again.
    """
    while accepted | maybe != wanted:
        try:
            with CancelScope() as scope:
                scope.deadline = anyio.current_time() + dice.choice([0.002, 0.02, 1.0])
                received = await source.receive(dice.choice([1, 7, 50]))
            if scope.cancelled_caught:
                continue
            if dice.random() < 0.1:
                await source.release(received)
                continue
            bodies = {each.message.body.decode() for each in received}
            maybe |= bodies - accepted
            await source.accept(received)
            accepted |= bodies
            maybe -= bodies
        except ChannelUnavailable:
            continue


async def flow(way: tuple[Opener, Opener, Proxy], messages: int, breaks: int, seed: int) -> None:
    broken, sound, proxy = way
    dice = random.Random(seed)
    wanted = [f"{number}" for number in range(messages)]
    accepted: set[str] = set()
    maybe: set[str] = set()

    async def break_links(sent: anyio.Event) -> None:
        for _ in range(breaks):
            await anyio.sleep(dice.uniform(0.01, 0.15))
            dice.choice(
                [
                    proxy.cut_all,
                    lambda: proxy.on("cut", "to client", after=dice.randrange(200)),
                    lambda: proxy.on("cut", "to server", after=dice.randrange(2000)),
                ]
            )()
        await sent.wait()

    async def drain(done: CancelScope) -> None:
        channel = broken()
        async with channel.open():
            while accepted | maybe != set(wanted):  # a source is closed and opened again, too
                with anyio.move_on_after(dice.uniform(0.3, 1.0)):
                    async with channel.open_source("flow", prefetch=20) as source:
                        await receive_some(source, accepted, maybe, set(wanted), dice)
        done.cancel()

    with fail_after(55):
        async with create_task_group() as tg:
            sender, sent = broken(), anyio.Event()
            async with sender.open(), create_task_group() as draining:
                tg.start_soon(break_links, sent)
                draining.start_soon(drain, draining.cancel_scope)
                draining.start_soon(drain, draining.cancel_scope)
                await send_all(sender, wanted, 25)
                sent.set()
        last = sound()
        async with last.open(), last.open_source("flow", prefetch=1000) as source:
            await last.send("flow", [ChannelMessage(body=b"the mark")])
            left: list[str] = []
            while "the mark" not in left:  # what came twice is still there, perhaps
                left += [each.message.body.decode() for each in await source.receive(1000)]
    assert accepted | maybe == set(wanted)
    assert len(maybe) <= 20 * breaks
    assert set(left) <= {*wanted, "the mark"}


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_links_that_break(way: tuple[Opener, Opener, Proxy]) -> None:
    await flow(way, messages=300, breaks=12, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
async def test_links_that_break_for_long(way: tuple[Opener, Opener, Proxy], seed: int) -> None:
    await flow(way, messages=2_000, breaks=100, seed=seed)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_calls_that_are_cut_by_asyncios_own_cancel(way: tuple[Opener, Opener, Proxy]) -> None:
    """asyncio's `Task.cancel()` knows no shield; what it cuts comes again."""
    import asyncio

    channel = way[1]()
    wanted = {f"{number}" for number in range(60)}
    accepted: set[str] = set()
    async with channel.open():
        await send_all(channel, sorted(wanted), 60)
        dice = random.Random(3)
        with fail_after(50):
            while accepted != wanted:
                async with channel.open_source("flow", prefetch=20) as source:
                    received: list[Received] = []

                    async def some(source: Source = source, received: list[Received] = received) -> None:
                        received += await source.receive(5)

                    for _ in range(10):
                        task = asyncio.ensure_future(some())
                        await asyncio.wait({task}, timeout=dice.choice([0.0, 0.001, 0.003, 0.01, 0.1]))
                        task.cancel()
                        with suppress(asyncio.CancelledError):
                            await task
                        await source.accept(received)
                        accepted |= {each.message.body.decode() for each in received}
                        received.clear()
        assert accepted == wanted
