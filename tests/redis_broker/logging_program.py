"""A worker that keeps a log of events. Run as `python logging_program.py`."""

from __future__ import annotations

import anyio

from nursery_tasks import App

app = App(event_log=3600)


@app.task
async def nap(seconds: float) -> None:
    await anyio.sleep(seconds)


async def main() -> None:
    async with app, app.open_worker():
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
