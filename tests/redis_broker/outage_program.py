"""A worker that writes down what it does, and logs to its standard error. Run as `python outage_program.py BACKEND`."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import anyio

from nursery_tasks import App

app = App()
LOG = Path(os.environ.get("LOG", "log"))


@app.task(name="work")
async def work(number: int, seconds: float) -> int:
    note(number)
    await anyio.sleep(seconds)
    return number


@app.task(name="block")
async def block(number: int, seconds: float) -> int:
    note(number)
    time.sleep(seconds)  # noqa: ASYNC251 - the subject of a test
    return number


def note(number: int) -> None:
    with LOG.open("ab", buffering=0) as log:
        log.write(b"%d\n" % number)


async def main() -> None:
    async with app, app.open_worker(slots=20, lease=float(os.environ.get("LEASE", "15"))):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    uvloop = sys.argv[1] == "uvloop"
    anyio.run(main, backend="asyncio" if uvloop else sys.argv[1], backend_options={"use_uvloop": True} if uvloop else {})
