"""Lists behind a Cluster and behind Sentinels: each list is in a slot of its own, and so is what lies beside it."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from anyio import fail_after, to_thread
from redis_server import need_server
from redis_topologies import Cluster, Watched, shared_cluster, wait_for

from nursery_tasks.channels import ChannelMessage
from nursery_tasks.channels.url import open_channel
from nursery_tasks.errors import ChannelRefused, ChannelUnavailable
from nursery_tasks.testing.channels import ChannelCheck, ChannelHarness, checks, run_check

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
WANTED = {"in_order", "unsettled_comes_again", "released_comes_again", "no_more_than_the_prefetch", "a_cut_receive"}
_numbers = count(1)


@pytest.fixture
def cluster() -> Generator[Cluster, None, None]:
    need_server()
    cluster = shared_cluster()
    yield cluster
    for node in cluster.primaries:
        with redis.Redis(port=node.port) as client:
            client.flushdb()


@BOTH
@pytest.mark.parametrize("check", [each for each in checks if each.name in WANTED], ids=lambda check: check.name)
async def test_the_contract_on_a_cluster(cluster: Cluster, check: ChannelCheck) -> None:
    url = f"{cluster.url}?namespace=test-{next(_numbers)}."
    result = await run_check(check, ChannelHarness(opener=lambda: open_channel(url), keeps=frozenset()))
    assert result.verdict == "kept", str(result)


@ASYNCIO
async def test_names_with_braces_on_a_cluster(cluster: Cluster) -> None:
    channel = open_channel(cluster.url)
    with fail_after(30):
        async with channel.open():
            for place in ("{shop}orders", "orders{shop}", "a", "b", "c"):
                async with channel.open_source(place, prefetch=1) as source:
                    await channel.send(place, [ChannelMessage(body=place.encode())])
                    [received] = await source.receive(1)
                    assert received.message.body == place.encode()
                    await source.accept([received])
            async with channel.open_source("odd}{", prefetch=1) as source:
                with pytest.raises(ChannelRefused, match="braces"):
                    await source.receive(1)


@ASYNCIO
async def test_a_failover_behind_a_sentinel() -> None:
    need_server()
    with TemporaryDirectory() as folder, Watched(Path(folder)) as watched:
        channel = open_channel(watched.url)
        with fail_after(50):
            async with channel.open(), channel.open_source("in", prefetch=5) as source:
                await channel.send("in", [ChannelMessage(body=b"before")])
                await source.accept(await source.receive(1))
                await to_thread.run_sync(fail_over, watched)
                while True:
                    try:
                        await channel.send("in", [ChannelMessage(body=b"after")])
                        break
                    except ChannelUnavailable:
                        continue
                found: list[bytes] = []
                while b"after" not in found:
                    try:
                        received = await source.receive(5)
                    except ChannelUnavailable:
                        continue
                    found += [each.message.body for each in received]


def fail_over(watched: Watched) -> None:
    wait_for(watched.asks_for_failover, "a failover")
    watched.wait_for_failover(watched.servers[0])
