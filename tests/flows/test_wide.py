"""Wide flows: what is under way at a time is bounded, whatever the number of items; and flows in durable workflows."""

from __future__ import annotations

import pytest
from support import gather, working

from nursery_tasks import App, parallel, parallel_map, sequence
from nursery_tasks.client.group import AT_ONCE
from nursery_tasks.events import EventKind, JobEvent

ITEMS = 1_500
ONE_LOOP = pytest.mark.parametrize("anyio_backend", [pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio")])


class UnderWay:
    """How many jobs an app has submitted that have not ended, and the most there ever were."""

    def __init__(self, app: App) -> None:
        self.now = self.most = self.all = 0
        app.subscribe(self.on_event)

    def on_event(self, event: JobEvent) -> None:
        if event.kind is EventKind.QUEUED:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)
        elif event.kind is EventKind.SUCCEEDED:
            self.now -= 1


@ONE_LOOP
async def test_thousands_of_items_have_a_thousand_jobs_under_way_at_most(memory_app: App) -> None:
    @memory_app.task
    async def double(n: int) -> int:
        return 2 * n

    under_way = UnderWay(memory_app)
    async with memory_app, memory_app.open_worker(slots=50):  # no deadline: the machine may be busy
        assert await parallel_map(double).run(range(ITEMS)) == [2 * n for n in range(ITEMS)]
    assert (under_way.now, under_way.all) == (0, ITEMS)
    assert under_way.most <= AT_ONCE


@ONE_LOOP
async def test_flows_run_in_durable_workflows(app: App) -> None:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    @app.workflow(durable=True)
    async def twice(n: int) -> list[int]:
        flow = sequence(double, parallel(double, double, then=sum))
        return list(await gather(lambda: flow.run(n), lambda: flow.run(n)))

    async with working(app, slots=1):
        assert await twice.run(1) == [8, 8]
