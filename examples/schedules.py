"""Schedules: by a decorator, with arguments, and put while the program runs. Run it: python examples/schedules.py"""

import tempfile
from datetime import UTC, datetime

import anyio

from nursery_tasks import App, cron, current_job, every

app = App(f"sqlite:///{tempfile.mkdtemp()}/jobs.db")
beats: list[datetime] = []
enough = anyio.Event()


@app.task(schedule=every(0.25))
async def heartbeat() -> None:
    slot = current_job().slot  # the moment that the schedule has named, however late this runs
    assert slot is not None
    beats.append(slot)
    if len(beats) == 3:
        enough.set()


@app.task
async def report(region: str) -> str:
    slot = current_job().slot
    return f"report of {region}" + (f" for {slot:%d %B}" if slot else ", by hand")


app.schedule("nightly", report.job("the world"), cron("0 2 * * *", tz="Europe/Rome"), overlap="skip")


async def main() -> None:
    async with app, app.open_worker():
        await enough.wait()
        print(f"{beats[1] - beats[0]} and {beats[2] - beats[1]} between the beats")

        await app.schedules.put("tenant-7", report.job("tenant 7"), cron("0 9 * * mon-fri", tz="Asia/Tokyo"))
        await app.schedules.pause("tenant-7", "has not paid")
        for info in await app.schedules.list():
            print(f"{info.name}: {info.words}, {info.state}")

        run = await app.schedules.run_now("tenant-7")  # also while it is paused
        print(await run)

        since, until = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)
        for job_id in await app.schedules.backfill("nightly", since, until):
            print(job_id, await app.handle(job_id))


if __name__ == "__main__":
    anyio.run(main)
