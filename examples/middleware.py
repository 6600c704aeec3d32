"""Context managers around each attempt and each submission: python middleware.py"""

import time
from collections.abc import AsyncGenerator

import anyio

from nursery_tasks import App, CurrentJob, OutgoingJob, current_job

app = App("memory:")


@app.middleware(around="submission")
async def with_tenant(sent: OutgoingJob) -> AsyncGenerator[None, None]:
    sent.headers.setdefault("tenant", "blue")
    yield


@app.middleware
async def timed(job: CurrentJob) -> AsyncGenerator[None, None]:
    began = time.monotonic()
    try:
        yield  # the handler runs here
    finally:
        print(f"{job.task} of {job.headers['tenant']} took less than {time.monotonic() - began + 1:.0f} s")


@app.task
async def charge(order: int) -> str:
    return f"order {order} is charged to {current_job().headers['tenant']}"


async def main() -> None:
    async with app, app.open_worker():
        print(await charge.run(7))


if __name__ == "__main__":
    anyio.run(main)
