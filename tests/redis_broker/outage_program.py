"""A worker that writes down what it does, and logs to its standard error. Run as `python outage_program.py BACKEND`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import anyio

from nursery_tasks import App

app = App()
LOG = Path(os.environ.get("LOG", "log"))


@app.task(name="work")
async def work(number: int, seconds: float) -> int:
    with LOG.open("ab", buffering=0) as log:
        log.write(b"%d\n" % number)
    await anyio.sleep(seconds)
    return number


async def main() -> None:
    async with app, app.open_worker(slots=20, lease=float(os.environ.get("LEASE", "15"))):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    anyio.run(main, backend=sys.argv[1])
