"""Test your tasks in virtual time: retries over an hour take milliseconds, and every run is the same.

Run it: python examples/test_with_the_lab.py   (or let pytest find it; needs `pip install nursery-tasks[trio]`)
"""

from datetime import timedelta

from nursery_tasks import App, Backoff, Retry, current_job
from nursery_tasks.testing import open_lab, run_lab

app = App()


@app.task(retry=Retry(6, wait=Backoff(base=120, cap=1800, jitter=False)))
async def upload(name: str) -> str:
    if current_job().attempt < 6:
        raise ConnectionError("the other side is down")
    return f"{name} is up"


def test_an_upload_goes_on_for_an_hour() -> None:
    async def check() -> None:
        async with open_lab(app) as lab:
            job = await upload.enqueue("report.pdf")
            assert await job == "report.pdf is up"
            assert 3600 <= lab.elapsed_seconds < 3700
            assert sum(kind == "retrying" for kind in lab.history(job.id)) == 5

    run_lab(check)


def test_tomorrow_comes_at_once() -> None:
    async def check() -> None:
        async with open_lab(app) as lab:
            job = await upload.options(delay=timedelta(days=1), retry=None).enqueue("x")
            outcome = await job.outcome()
            assert outcome.state == "failed"
            assert lab.elapsed_seconds >= 86_400

    run_lab(check)


if __name__ == "__main__":
    test_an_upload_goes_on_for_an_hour()
    test_tomorrow_comes_at_once()
    print("both hold")
