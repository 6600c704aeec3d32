"""`app.channels`: names, URLs, and what a program does with channels itself."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from pathlib import Path

import anyio
import pytest

from nursery_tasks import App
from nursery_tasks.channels import ChannelMessage
from nursery_tasks.channels import url as url_of_channels
from nursery_tasks.channels.url import open_channel
from nursery_tasks.errors import AppNotOpen, ChannelUnavailable, InvalidChannelUrl, InvalidOptions, NotSupported
from nursery_tasks.testing.channels import MemoryChannel

HERE = __name__


def open_here(url: str) -> MemoryChannel:
    return MemoryChannel(url)


def open_nothing(url: str) -> object:
    return url


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring a scheme, as an installed package does."""
    points = {
        "toy": EntryPoint("toy", f"{HERE}:open_here", url_of_channels.GROUP),
        "odd": EntryPoint("odd", f"{HERE}:open_nothing", url_of_channels.GROUP),
    }

    class Found(list[EntryPoint]):
        names = frozenset(points)

        def select(self, *, name: str) -> Found:
            return Found(point for point in self if point.name == name)

    monkeypatch.setattr(url_of_channels, "_entry_points", lambda: Found(points.values()))


async def test_a_message_goes_to_a_channel_or_to_a_queue_of_the_apps_own_broker() -> None:
    rabbit = MemoryChannel("toy://rabbit")
    app = App("memory:", channels={"rabbit": rabbit})

    @app.task(raw=True, queue="own")
    async def handle(body: bytes) -> None:
        assert body == b"plain"

    async with app:
        sent = await app.channels.send("rabbit:orders", {"item": 7}, headers={"x-shop": "eu"}, reply_to="answers")
        await app.channels.send("rabbit:orders", "a text", id="7")
        assert rabbit.waiting("orders") == [
            ChannelMessage(
                body=b'{"item":7}', id=sent, content_type="application/json", headers={"x-shop": "eu"}, reply_to="answers"
            ),
            ChannelMessage(body=b"a text", id="7"),
        ]
        with pytest.raises(NotSupported):  # the broker in memory has no inbox; those that have one are tried with `raw=True`
            await app.channels.send("own", b"plain")


async def test_a_place_without_a_channel_is_a_queue_with_an_inbox(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db", channels={"rabbit": MemoryChannel()})
    came: list[bytes] = []
    done = anyio.Event()

    @app.task(raw=True, queue="own")
    async def handle(body: bytes) -> None:
        came.append(body)
        done.set()

    with anyio.fail_after(30):
        async with app, app.open_worker(queues=["own"]):
            assert await app.channels.send("own", b"plain")
            await done.wait()
    assert came == [b"plain"]


def code_of_child_that_looks(app: App) -> int:
    child = os.fork()
    if child == 0:
        try:
            _ = app.channels["a"]
        except AppNotOpen:
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_forked_child_has_none_of_its_parents_channels_open() -> None:
    async with App("memory:", channels={"a": MemoryChannel()}) as app:
        assert code_of_child_that_looks(app) == 0
        assert app.channels["a"].name == "memory:"


async def test_names_are_checked_where_they_stand() -> None:
    app = App("memory:", channels={"rabbit": MemoryChannel()})
    async with app:
        for to in ("rabit:orders", "rabbit:", "no queue"):
            with pytest.raises(InvalidOptions, match="expected"):
                await app.channels.send(to, b"")
    for channels in ({"a b": MemoryChannel()}, {"a:b": MemoryChannel()}, {"": MemoryChannel()}, {"a": 7}, {"a": MemoryChannel}):
        with pytest.raises(InvalidOptions):
            App("memory:", channels=channels)  # type: ignore[arg-type]
    with pytest.raises(InvalidChannelUrl, match="ftp: names no channel"):
        App("memory:", channels={"a": "ftp://me:secret@host"})


async def test_channels_are_open_while_the_app_is() -> None:
    channel = MemoryChannel()
    app = App("memory:", channels={"a": channel})
    with pytest.raises(AppNotOpen):
        await app.channels.send("a:x", b"")
    async with app:
        assert app.channels["a"] is channel
        assert list(app.channels) == ["a"]
    with pytest.raises(AppNotOpen):
        _ = app.channels["a"]


async def test_a_look_tells_those_that_are_up_from_those_that_are_down() -> None:
    up, down = MemoryChannel("toy://up"), MemoryChannel("toy://down")
    down.go_away()
    async with App("memory:", channels={"up": up, "down": down}) as app:
        first, second = await app.channels.check()
        assert (first.name, first.url, first.up) == ("up", "toy://up", True)
        assert (second.name, second.up, second.text) == ("down", False, "it is away")
        with pytest.raises(ChannelUnavailable):
            await app.channels.send("down:x", b"")
        with pytest.raises(NotSupported, match="way to look at messages"):
            await app.channels.peek("up:x")


@pytest.mark.usefixtures("toy")
async def test_a_package_brings_a_channel_by_its_scheme() -> None:
    app = App("memory:", channels={"a": "toy://me:secret@host/x"})
    assert app.channels.shown == {"a": "toy://me:***@host/x"}
    async with app:
        assert isinstance(app.channels["a"], MemoryChannel)
    with pytest.raises(InvalidChannelUrl, match="returned no channel"):
        open_channel("odd://x")


@pytest.mark.parametrize("given", [["redis://localhost"], "redis://localhost"])
def test_channels_have_names(given: object) -> None:
    with pytest.raises(InvalidOptions, match="expected URLs by name"):
        App("memory:", channels=given)  # type: ignore[arg-type]
