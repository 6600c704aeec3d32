"""A worker that is killed from outside: with a job that never ends, or idle. Arguments: where to tell pids, and how."""

from __future__ import annotations

import sys

import anyio
from process_tasks import about_me, app, stubborn, tell


async def main(began: str, how: str) -> None:
    """Run one job."""
    async with app, app.open_worker(processes=1):
        if how == "idle":
            tell(began, (await about_me.run())["pid"])
            await anyio.sleep_forever()
        await stubborn.run(began, how)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
