"""`app.sync` opens the broker by itself, and gives it back when it is told to."""

from __future__ import annotations

import os
from pathlib import Path

from nursery_tasks import App, JobState


def open_files(path: Path) -> list[str]:
    links = (
        os.readlink(f"/proc/self/fd/{number}")
        for number in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{number}")
    )
    return [link for link in links if link.startswith(str(path))]


def test_a_closed_sync_client_holds_no_file_and_opens_it_again_when_needed(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    handle = app.sync.enqueue(app.job("add", 1, 2))
    app.sync.close()
    if os.path.isdir("/proc/self/fd"):
        assert open_files(tmp_path) == []
    assert handle.status() is JobState.READY
    app.sync.close()
    app.sync.close()


async def test_closing_the_sync_client_leaves_an_open_app_alone(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    async with app:
        handle = app.sync.enqueue(app.job("add", 1, 2))  # a short call, in a test
        app.sync.close()
        assert await app.handle(handle.id).status() is JobState.READY


async def test_the_end_of_the_app_leaves_the_sync_client_alone(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    async with app:
        handle = app.sync.enqueue(app.job("add", 1, 2))
    assert handle.status() is JobState.READY
    app.sync.close()
