"""The last stop of the tour: the lab, where the clock jumps and a job over hours is tested in milliseconds."""

from typing import Any

import pytest

from nursery_tasks import App, Backoff, Retry, current_job
from nursery_tasks.testing import lab_backend, open_lab


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return lab_backend()


@pytest.fixture
def app() -> App:
    return App()  # whatever its broker is: the lab brings its own


async def test_in_the_lab_an_hour_takes_no_time(app: App) -> None:
    attempts = []

    @app.task(retry=Retry(4, on=ConnectionError, wait=Backoff(base=600, jitter=False)))
    async def flaky() -> str:
        attempts.append(current_job().attempt)
        if len(attempts) < 4:
            raise ConnectionError
        return "done"

    async with open_lab(app) as lab:
        assert await flaky.options(delay=60).run() == "done"
        assert lab.elapsed_seconds == pytest.approx(60 + 600 + 600 + 600, abs=1)
    assert attempts == [1, 2, 3, 4]
