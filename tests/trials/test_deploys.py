"""A rolling deploy: workers of the old and of the new version serve one queue."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import deploy_program
import pytest
from deploy_program import make_app
from rabbit_server import fresh_rabbit_url
from redis_server import fresh_url

from nursery_tasks import App, JobState, parallel
from nursery_tasks.errors import InvalidArguments

PROGRAM = Path(deploy_program.__file__)
SECONDS = 30.0  # for 200 jobs; what waits for a clock instead of a worker takes longer
JOBS = 100


@pytest.fixture(params=["sqlite", "redis", "amqp", "amqp-storeless"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str, None, None]:
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    opened = {
        "sqlite": lambda: nullcontext(store),
        "redis": fresh_url,
        "amqp": lambda: fresh_rabbit_url(store),
        "amqp-storeless": lambda: fresh_rabbit_url(""),
    }
    with opened[request.param]() as url:
        yield url


@contextmanager
def workers(url: str, *versions: str) -> Generator[None, None, None]:
    """Run worker processes of these versions of the program."""
    with ExitStack() as stack:
        for version in versions:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(PROGRAM), version],
                    env={**os.environ, "NURSERY_TASKS_BROKER": url},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield


@contextmanager
def client(url: str, version: str) -> Generator[App, None, None]:
    app = make_app(version, url)
    try:
        yield app
    finally:
        app.sync.close()


def submit(app: App, task: str, *arguments: tuple[Any, ...]) -> list[Any]:
    """Submit jobs as a program does that has the tasks itself."""
    spec_of_ours = [app.job(task, *each) for each in arguments]
    return app.sync.enqueue_many(spec_of_ours)


def test_new_tasks_and_changed_signatures_run_at_once_where_they_are_known(url: str) -> None:
    with workers(url, "old", "new", "old"), client(url, "new") as app:
        began = time.monotonic()
        fresh = submit(app, "fresh", *[(n,) for n in range(JOBS)])
        changed = submit(app, "changed", *[(n, 2) for n in range(JOBS)])
        assert [job.result(SECONDS) for job in fresh] == [f"new {n}" for n in range(JOBS)]
        assert [job.result(SECONDS) for job in changed] == [f"new {2 * n}" for n in range(JOBS)]
        assert time.monotonic() - began < SECONDS


def test_messages_for_the_old_version_run_where_that_still_works(url: str) -> None:
    with workers(url, "new", "old"), client(url, "old") as app:
        changed = submit(app, "changed", *[(n,) for n in range(JOBS)])
        retyped = submit(app, "retyped", *[(n,) for n in range(JOBS)])
        assert [job.result(SECONDS) for job in changed] == [f"old {n}" for n in range(JOBS)]
        assert [job.result(SECONDS) for job in retyped] == [f"old {n}" for n in range(JOBS)]


def test_a_flow_takes_no_harm_from_the_worker_that_runs_it(url: str) -> None:
    with workers(url, "old", "new"), client(url, "new") as app:
        flows = [parallel(app.job("scaled", number, 2), app.job("scaled", number, 3)) for number in range(10)]

        async def run() -> list[Any]:
            async with app:
                handles = [await flow.enqueue() for flow in flows]
                with anyio.fail_after(SECONDS):
                    return [await handle for handle in handles]

        assert [list(found) for found in anyio.run(run)] == [[number * 2, number * 3] for number in range(10)]


def test_what_no_worker_knows_waits_for_the_first_that_does(url: str) -> None:
    with client(url, "new") as app, workers(url, "old"):
        job = app.sync.enqueue(app.job("fresh", 1))
        assert app.sync.enqueue(app.job("both", 1)).result(SECONDS) == "old 1"  # and is in nobody's way
        with workers(url, "new"):
            assert job.result(SECONDS) == "new 1"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_people_see_what_a_job_waits_for(url: str) -> None:
    with client(url, "new") as app, workers(url, "old"):
        job = app.sync.enqueue(app.job("fresh", 1))
        end = time.monotonic() + SECONDS
        while job.status() is not JobState.SCHEDULED:
            assert time.monotonic() < end, "the worker has not parked it"
            time.sleep(0.01)
        for of_one in ([job.id], []):  # its own page, and the list
            shown = subprocess.run(
                [sys.executable, "-m", "nursery_tasks", "jobs", "--broker", url, *of_one],
                capture_output=True,
                text=True,
                check=False,
            )
            assert "a worker that knows fresh" in shown.stdout, shown


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_message_of_the_same_version_that_does_not_fit_fails_at_once(url: str) -> None:
    with client(url, "new") as app, workers(url, "new"):
        job = app.sync.enqueue(app.job("retyped", ["no number"]))  # what is inside is for the worker to say
        with pytest.raises(InvalidArguments, match="order"):
            job.result(SECONDS)
