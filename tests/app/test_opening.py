"""Opening an app that is left in the middle of it, or that cannot be opened: nothing stays open."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after, to_thread
from support import DEADLINE, until

from nursery_tasks import App
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.errors import BrokerUnreachable


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> list[SqliteBroker]:
    """The brokers that are open."""
    living: list[SqliteBroker] = []
    close = SqliteBroker.close

    def open_and_note(broker: SqliteBroker, *args: Any, **options: Any) -> None:
        open_it(broker, *args, **options)
        living.append(broker)

    def close_and_note(broker: SqliteBroker) -> None:
        close(broker)
        living.remove(broker)

    open_it = SqliteBroker.__init__
    monkeypatch.setattr(SqliteBroker, "__init__", open_and_note)
    monkeypatch.setattr(SqliteBroker, "close", close_and_note)
    return living


async def test_an_app_that_could_not_be_opened_can_be_opened_and_closed_later(
    tmp_path: Path, living: list[SqliteBroker]
) -> None:
    app = App(f"sqlite:///{tmp_path}/later/jobs.db")
    with pytest.raises(BrokerUnreachable):
        async with app:
            pytest.fail("there is no such directory")
    os.mkdir(tmp_path / "later")
    async with app:
        assert len(living) == 1
    assert living == []


def test_a_blocking_client_that_could_not_be_opened_keeps_nothing_open(tmp_path: Path, living: list[SqliteBroker]) -> None:
    app = App(f"sqlite:///{tmp_path}/later/jobs.db")
    with pytest.raises(BrokerUnreachable):
        app.sync.queues.list()
    os.mkdir(tmp_path / "later")

    async def open_and_leave() -> None:
        async with app:
            assert len(living) == 1

    asyncio.run(open_and_leave())
    assert living == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("when", ["while it opens", "in the moment when it is open"])
async def test_an_app_that_asyncio_cancels_while_it_opens_leaves_nothing_open(
    tmp_path: Path, living: list[SqliteBroker], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    begun, let_go = threading.Event(), threading.Event()
    open_it = SqliteBroker.__init__

    def open_slowly(broker: SqliteBroker, *args: Any, **options: Any) -> None:
        begun.set()
        let_go.wait(DEADLINE)
        open_it(broker, *args, **options)

    monkeypatch.setattr(SqliteBroker, "__init__", open_slowly)
    app = App(f"sqlite:///{tmp_path}/jobs.db")

    async def work() -> None:
        async with app:
            pytest.fail("it was cancelled before")

    with fail_after(DEADLINE):
        opening = asyncio.create_task(work())
        assert await to_thread.run_sync(begun.wait, DEADLINE)
        if when == "while it opens":
            opening.cancel()
        let_go.set()
        while not living:
            time.sleep(0.001)  # noqa: ASYNC251 - the loop sees nothing of this ...
        if when != "while it opens":
            time.sleep(0.05)  # noqa: ASYNC251 - ... and hears of it together with the cancel
            opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: not living)
        async with app:  # and it can be opened again
            assert len(living) == 1
    assert living == []
