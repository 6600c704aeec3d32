"""The outbox of a worker when it is full: slots wait, all of them, and all of them go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio import Event, current_time, fail_after

from nursery_tasks import App
from nursery_tasks.worker import settler


async def test_every_slot_that_waited_for_room_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler, "OUTBOX_LIMIT", 2)
    app = App(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    slots, inside, together = 8, [0], Event()

    @app.task
    async def quick(number: int) -> int:
        return number

    @app.task
    async def meet() -> None:
        inside[0] += 1
        if inside[0] == slots:
            together.set()
        await together.wait()  # only when no slot was lost they all get here

    with fail_after(30):
        async with app, app.open_worker(slots=slots):
            handles = await app.enqueue_many([quick.job(number) for number in range(500)])
            assert [await handle for handle in handles] == list(range(500))
            for handle in await app.enqueue_many([meet.job() for _ in range(slots)]):
                await handle
            began = current_time()
        assert current_time() - began < 5  # a slot that still waited would cost the whole drain
