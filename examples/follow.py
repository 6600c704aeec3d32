"""Read what happens from the log in the broker, and go on later where one has stopped: python follow.py"""

import tempfile
from datetime import timedelta
from pathlib import Path

import anyio

from nursery_tasks import App

URL = f"sqlite:///{Path(tempfile.mkdtemp())}/jobs.db"
app = App(URL, event_log=timedelta(days=1))
looker = App(URL)  # another program, as it were: it has neither tasks nor a worker


@app.task
async def add(a: int, b: int) -> int:
    return a + b


async def look(since: str) -> str:
    """Show one event, and return where to go on."""
    async with looker, looker.follow(kinds=["ended"], since=since) as events:
        event = await anext(events)
        print(f"{event.job_id} has {event.kind}")
        return event.cursor


async def main() -> None:
    async with app, app.open_worker():
        await add.options(id="first").run(1, 2)
        cursor = await look("start")
        await add.options(id="second").run(3, 4)
        await look(cursor)


if __name__ == "__main__":
    anyio.run(main)
