"""A worker with a channel that writes to a file, and that is killed in the middle of it.

Run as `python forwarder_program.py BACKEND WHEN`: `never`, or how much of its second batch is in the file when it dies:
`before`, `half` or `after`. With `outcome` it stores an outcome that sends messages, and dies before anybody can send them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from nursery_tasks import App, JobState
from nursery_tasks.channels import ChannelMessage
from nursery_tasks.model.codec import pack_outcome
from nursery_tasks.model.delivery import Finished
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.model.outgoing import Outgoing
from nursery_tasks.worker import forward_line

LOG = Path(os.environ.get("LOG", "log"))
forward_line.LEASE_SECONDS = 1.5  # type: ignore[misc]
forward_line.TAKEN_SECONDS = 0.3  # type: ignore[misc]


class FileChannel:
    """Writes the ids of messages to a file, one line each."""

    name = "file:"

    def __init__(self, when: str) -> None:
        self._when, self._batches = when, 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        yield

    def open_source(self, place: str, *, prefetch: int) -> Any:
        raise NotImplementedError

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        self._batches += 1
        dies = self._batches == 2 and self._when != "never"
        most = {"before": 0, "half": len(messages) // 2}.get(self._when) if dies else None
        write(place, messages[:most])
        if dies:
            os.kill(os.getpid(), 9)
        await anyio.lowlevel.checkpoint()

    async def check(self) -> str:
        return "a file"


def write(place: str, messages: Sequence[ChannelMessage]) -> None:
    """Append all lines in one write."""
    with LOG.open("ab", buffering=0) as log:
        log.write("".join(f"{place} {message.id}\n" for message in messages).encode())


def outgoing(*ids: str) -> list[Outgoing]:
    return [Outgoing("out:place", msgspec.msgpack.encode(ChannelMessage(body=b"x", id=each))) for each in ids]


app = App(channels={"out": FileChannel(sys.argv[-1])})


@app.task
async def work() -> None: ...


async def end_and_die() -> None:
    """Store an outcome with messages, and die in the next moment."""
    async with app:
        await work.enqueue()
        gateway = app.connection.gateway
        [delivery] = await gateway.claim(["default"], 1, "victim", 15.0)
        outcome = pack_outcome(Outcome(state=JobState.SUCCEEDED))
        await gateway.settle([Finished(delivery, JobState.SUCCEEDED, outcome, outgoing=tuple(outgoing("o-1", "o-2", "o-3")))])
        os.kill(os.getpid(), 9)


async def main() -> None:
    async with app, app.open_worker():
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    backend, when = sys.argv[1:]
    anyio.run(end_and_die if when == "outcome" else main, backend=backend)
