"""Ten thousand children of one nursery: they join, whatever becomes of some, and need little memory."""

from __future__ import annotations

import gc
from pathlib import Path

import anyio
import pytest
from anyio import create_task_group

from nursery_tasks import App, current_job, parallel_map
from nursery_tasks.errors import JobCancelled, JobTimedOut

MEMBERS = 10_000
WARM = 1_500  # more than a group has under way at a time: what these need is there before it is measured
MOST_BYTES = (
    6_000  # per further member: its name in the group, its id in the recording and its result; not a task and a message
)
STATM = Path("/proc/self/statm")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not STATM.exists(), reason="the memory of this process is read from /proc"),
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * 4096


class Peak:
    """Watches the memory of this process."""

    def __init__(self) -> None:
        gc.collect()
        self._before = self._most = resident_bytes()

    @property
    def grown(self) -> int:
        """By how many bytes it was larger than at the beginning, at most."""
        return self._most - self._before

    async def watch(self) -> None:
        while True:
            self._most = max(self._most, resident_bytes())
            await anyio.sleep(0.02)


def make_app(folder: Path) -> App:
    return App(f"sqlite:///{folder}/jobs.db?synchronous=normal")


async def test_a_durable_group_of_ten_thousand_needs_little_memory(tmp_path: Path) -> None:
    app = make_app(tmp_path)

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    @app.workflow(durable=True)
    async def fan(members: int) -> int:
        async with app.create_task_group() as group:
            children = [group.start_soon(double, n) for n in range(members)]
        return sum(child.return_value for child in children)

    async with app, app.open_worker(slots=50):
        assert await fan.run(WARM) == WARM * (WARM - 1)
        peak = Peak()
        async with create_task_group() as watching:
            watching.start_soon(peak.watch)
            assert await fan.run(MEMBERS) == MEMBERS * (MEMBERS - 1)
            watching.cancel_scope.cancel()
    assert peak.grown < MOST_BYTES * (MEMBERS - WARM)


async def test_a_flow_over_ten_thousand_joins_when_some_fail(tmp_path: Path) -> None:
    app = make_app(tmp_path)

    @app.task
    async def double(n: int) -> int:
        if n == 5_000:
            raise ValueError("no")
        if n == 5_001:
            await app.handle(current_job().id).cancel("by hand", wait=0)
        if n in (5_001, 5_002):
            await anyio.sleep_forever()
        return 2 * n

    flow = parallel_map(double.options(timeout=20), policy="wait_all")
    async with app, app.open_worker(slots=50):
        assert len(await flow.run(range(WARM))) == WARM
        peak = Peak()
        async with create_task_group() as watching:
            watching.start_soon(peak.watch)
            with pytest.raises(ExceptionGroup) as caught:
                await flow.run(range(MEMBERS))
            watching.cancel_scope.cancel()
    assert [type(error) for error in caught.value.exceptions] == [ValueError, JobCancelled, JobTimedOut]
    assert peak.grown < MOST_BYTES * (MEMBERS - WARM)
