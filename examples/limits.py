"""Limits and a lock, in one program: at most two downloads per host, twenty starts a second, and one report at a time.

python examples/limits.py
"""

import time
from collections import Counter
from urllib.parse import urlsplit

import anyio

from nursery_tasks import App, Concurrency, RateLimit
from nursery_tasks.errors import JobCancelled, LockTaken

app = App("memory:")
running: Counter[str] = Counter()
most: Counter[str] = Counter()


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


@app.task(limits=[Concurrency(2, key=host_of), RateLimit("20/s")])
async def download(url: str) -> None:
    host = host_of(url)
    running[host] += 1
    most[host] = max(most[host], running[host])
    await anyio.sleep(0.1)
    running[host] -= 1


@app.task(limits=[Concurrency(1, excess="reject")])
async def rebuild_index() -> str:
    await anyio.sleep(0.1)
    return "rebuilt"


async def main() -> None:
    async with app, app.open_worker(slots=20):
        began = time.monotonic()
        urls = [f"https://{host}.example/{page}" for page in range(6) for host in ("a", "b")]
        for job in await app.enqueue_many([download.job(url) for url in urls]):
            await job
        print(f"{len(urls)} downloads, at most {max(most.values())} at once from one host, in {time.monotonic() - began:.1f} s")

        first, second = await app.enqueue_many([rebuild_index.job(), rebuild_index.job()])
        print("the first:", await first)
        try:
            await second
        except JobCancelled as error:
            print("the second:", error.reason)

        async with app.lock("report") as lock:
            print("the report is ours, with token", lock.token)
            try:
                async with app.lock("report", wait=0):
                    print("never printed")
            except LockTaken:
                print("and nobody else's")


if __name__ == "__main__":
    anyio.run(main)
