"""Lists of a Redis server as a channel: the contract, what programs in other languages see, and what a killed one leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Generator
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
import redis
from anyio import to_thread
from redis_server import RedisServer, need_server, shared_server

from nursery_tasks.channels import ChannelMessage
from nursery_tasks.channels.redis import RedisChannel, lists
from nursery_tasks.channels.url import open_channel
from nursery_tasks.errors import ChannelError, ChannelRefused, InvalidChannelUrl
from nursery_tasks.loop.clocks import boot_time
from nursery_tasks.testing.channels import Away, ChannelCheck, ChannelHarness, Need, checks, run_check

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
_numbers = count(1)


@pytest.fixture
def server() -> Generator[RedisServer, None, None]:
    """The server of this process; the keys of a test are gone after it."""
    need_server()
    server = shared_server()
    yield server
    with redis.Redis(port=server.port) as client:
        client.flushdb()


@pytest.fixture
def client(server: RedisServer) -> Generator[Any, None, None]:
    """A program that knows nothing of us."""
    with redis.Redis(port=server.port) as client:
        yield client


@pytest.fixture
def own_server() -> Generator[RedisServer, None, None]:
    need_server()
    with TemporaryDirectory() as folder, RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def harness_of(server: RedisServer, *, away: bool = False) -> ChannelHarness:
    url = f"redis://127.0.0.1:{server.port}/0?namespace=test-{os.getpid()}-{next(_numbers)}."

    async def occupy(place: str) -> None:
        server.command("SET", url.rpartition("=")[2] + place, "no list")

    async def stop() -> None:
        await to_thread.run_sync(server.kill)

    async def start() -> None:
        await to_thread.run_sync(server.start)

    return ChannelHarness(
        opener=lambda: open_channel(url),
        keeps=frozenset(),
        away=Away(stop, start) if away else None,
        impossible=["", "x" * 600, "a\0b"],
        occupy=occupy,
    )


@BOTH
@pytest.mark.parametrize("check", [each for each in checks if Need.AWAY not in each.needs], ids=lambda check: check.name)
async def test_the_contract(server: RedisServer, check: ChannelCheck) -> None:
    result = await run_check(check, harness_of(server))
    assert result.verdict == ("left out" if check.needs & {Need.KEEPS, Need.END} else "kept"), str(result)


@BOTH
@pytest.mark.parametrize("check", [each for each in checks if Need.AWAY in each.needs], ids=lambda check: check.name)
async def test_the_contract_with_a_server_that_goes_away(own_server: RedisServer, check: ChannelCheck) -> None:
    result = await run_check(check, harness_of(own_server, away=True))
    assert result.verdict == "kept", str(result)


@BOTH
async def test_programs_that_know_nothing_of_us(server: RedisServer, client: Any) -> None:
    channel = RedisChannel(f"{server.url}?namespace=pq:")
    async with channel.open(), channel.open_source("in", prefetch=10) as source:
        client.rpush("pq:in", b"first", b"second \xff")
        received = await source.receive(10)
        while len(received) < 2:
            received += await source.receive(10)
        assert [each.message for each in received] == [ChannelMessage(body=b"first"), ChannelMessage(body=b"second \xff")]
        client.lpush("pq:in", b"third")
        received += await source.receive(10)
        await source.accept(received)
        await channel.send("out", [ChannelMessage(body=b"a", id="7", headers={"x": "y"}), ChannelMessage(body=b"b")])
        assert [message.body for message in await channel.peek("out", 1)] == [b"a"]
        assert [client.blpop("pq:out", 5), client.blpop("pq:out", 5)] == [(b"pq:out", b"a"), (b"pq:out", b"b")]
    assert client.keys("*") == []  # nothing of ours is left beside


@BOTH
async def test_lists_that_are_read_at_the_other_end(server: RedisServer, client: Any) -> None:
    channel = RedisChannel(f"{server.url}?read=right")
    async with channel.open():
        client.lpush("in", b"1", b"2", b"3")
        async with channel.open_source("in", prefetch=2) as source:
            received = await source.receive(2)
            while len(received) < 2:
                received += await source.receive(1)
            await source.accept(received[:1])
            assert await channel.count("in") == 2  # with the one that is here
        assert client.lrange("in", 0, -1) == [b"3", b"2"]  # the second is back where it came from
        await channel.send("in", [ChannelMessage(body=b"4")])
        assert [message.body for message in await channel.peek("in", 2)] == [b"2", b"3"]
        assert (await channel.count("in"), await channel.count("nothing")) == (3, 0)
        assert client.brpop("in", 5) == (b"in", b"2")


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


async def test_what_a_killed_program_had_comes_again_elsewhere(
    server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = textwrap.dedent(
        f"""
        import anyio
        from nursery_tasks.channels.redis import RedisChannel, lists
        lists.LEASE_SECONDS = 1.0
        async def main():
            channel = RedisChannel({server.url!r})
            async with channel.open(), channel.open_source("in", prefetch=10) as source:
                received = []
                while len(received) < 3:
                    received += await source.receive(10)
                print(*(each.message.body.decode() for each in received), flush=True)
                await anyio.sleep(60)
        anyio.run(main)
        """
    )
    client.rpush("in", "1", "2", "3", "4")
    with start(program) as victim:
        assert victim.stdout is not None
        assert len((await to_thread.run_sync(victim.stdout.readline)).split()) >= 3
        victim.send_signal(signal.SIGKILL)
    monkeypatch.setattr("nursery_tasks.channels.redis.source.BEAT_SECONDS", 0.2)
    channel = RedisChannel(server.url)
    found: list[str] = []
    with anyio.fail_after(30):
        async with channel.open(), channel.open_source("in", prefetch=10) as source:
            while len(found) < 4:
                received = await source.receive(10)
                found += [each.message.body.decode() for each in received]
                await source.accept(received)
    assert sorted(found) == ["1", "2", "3", "4"]


async def test_a_source_that_has_lost_its_lease_says_so(server: RedisServer, client: Any) -> None:
    channel = RedisChannel(server.url)
    async with channel.open(), channel.open_source("in", prefetch=10) as source:
        client.rpush("in", "1")
        received = await source.receive(1)
        [taken] = client.keys("*:taken:*")
        client.delete(taken)  # as if others had them
        with pytest.raises(ChannelError, match="others have these"):
            await source.accept(received)
        assert lists.BEAT_SECONDS + lists.LEASE_SECONDS <= 30


@pytest.mark.parametrize("beats_first", [False, True])
async def test_what_came_under_a_lease_that_is_over_is_not_handed_over(
    server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch, beats_first: bool
) -> None:
    channel = RedisChannel(server.url)
    open_source = partial(channel.open_source, "in", prefetch=5)
    with anyio.fail_after(20):
        async with channel.open(), open_source() as source, open_source() as other:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await source.receive(5)  # it asks, and hears no answer
            await channel.send("in", [ChannelMessage(body=b"moved")])
            while not source._came:  # noqa: ASYNC110 - what is looked at has no event
                await anyio.sleep(0.01)
            client.zadd("{in}:nursery-tasks:sources", {source._id: 0})
            [received] = await other.receive(1)
            now = boot_time() + lists.LEASE_SECONDS + 1  # as after SIGCONT
            monkeypatch.setattr("nursery_tasks.channels.redis.source.boot_time", lambda: now)
            if beats_first:
                await to_thread.run_sync(source._beat)
            await other.accept([received])
            await channel.send("in", [ChannelMessage(body=b"new")])
            [again] = await source.receive(5)
            assert again.message.body == b"new"
            await source.accept([again])


async def test_wrong_urls_and_a_wrong_password() -> None:
    for url, problem in (
        ("redis://h?prefix=x", "no option 'prefix'"),
        ("redis://h?read=up", "neither left nor right"),
        ("redis://h?colour=red", "no option 'colour'"),
        ("redis://h/abc", "number of a database"),
    ):
        with pytest.raises(InvalidChannelUrl, match=problem):
            open_channel(url)


async def test_a_user_who_may_not(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", "half", "on", ">secret", "~other", "+@all")
    channel = RedisChannel(f"redis://half:secret@127.0.0.1:{server.port}/0")
    async with channel.open():
        with pytest.raises(ChannelRefused, match="may not do that") as caught:
            await channel.send("in", [ChannelMessage(body=b"")])
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(channel)
        async with channel.open_source("in", prefetch=1) as source:
            with pytest.raises(ChannelRefused):
                await source.receive(1)
