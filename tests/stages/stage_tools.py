"""What the tests of stages share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from anyio import fail_after, sleep
from support import DEADLINE, SECONDS_APART

from nursery_tasks import App
from nursery_tasks.channels import ChannelMessage
from nursery_tasks.model.states import HELD, WAITING
from nursery_tasks.testing.channels import MemoryChannel


class StagedApp:
    """An app with two channels in memory, `a` and `b`."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.a, self.b = MemoryChannel("a"), MemoryChannel("b")
        url = "memory:" if broker == "memory" else f"sqlite:///{folder}/jobs.db?synchronous=normal"
        self.app = App(url, channels={"a": self.a, "b": self.b})


def message(body: object, **more: Any) -> ChannelMessage:
    """Return a message; what is not bytes goes as JSON."""
    return ChannelMessage(body=body if isinstance(body, bytes) else msgspec.json.encode(body), **more)


async def bodies(channel: MemoryChannel, place: str, count: int) -> list[bytes]:
    """Wait until so many messages are at a place, and return what they say."""
    with fail_after(DEADLINE):
        while len(channel.waiting(place)) < count:  # noqa: ASYNC110 - what is looked at has no event
            await sleep(SECONDS_APART)
    return [each.body for each in channel.waiting(place)]


async def until_worked_off(app: App, queue: str) -> None:
    """Wait until no job of a queue waits or runs."""
    unfinished = {*WAITING, *HELD}
    with fail_after(DEADLINE):
        while any(each.name == queue and unfinished & set(each.counts) for each in await app.queues.list()):  # noqa: ASYNC110
            await sleep(SECONDS_APART)
