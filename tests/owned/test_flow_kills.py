"""SIGKILL for the worker that runs an enqueued flow."""

from __future__ import annotations

from anyio import fail_after

from nursery_tasks import parallel

from .fleet import DEADLINE, Fleet, on_loops, until, until_started


@on_loops("uvloop")
async def test_a_flow_whose_worker_was_killed_begins_again_when_its_jobs_are_gone(fleet: Fleet, loop: str) -> None:
    first, second = fleet.work(loop, loop, lease=1, slots=1, queues=["default"])
    [children] = fleet.work(loop, lease=30, queues=["children"])
    with fail_after(DEADLINE):
        async with fleet.app() as app:
            jobs = [app.job("work", f"leaf.{number}", 60).with_options(queue="children") for number in range(2)]
            handle = await parallel(*jobs).job().with_options(queue="default").enqueue()
            await until(lambda: len(fleet.lines("start")) == 2, "both branches")
            await until_started(handle)
            record = await app.connection.gateway.call(app.connection.gateway.admin.job, handle.id)
            assert record is not None
            worker = next(one for one in await app.workers() if one.name == record.worker)
            (first if first.pid == worker.pid else second).kill()
            await until(lambda: len(fleet.lines("start")) == 4, "both branches of the second attempt")
            left = fleet.lines("left")
            assert await handle.cancel("enough") == "cancelled"
            await until(lambda: len(fleet.lines("left")) == 4, "all to end")
    assert {line.pid for line in fleet.lines("start")} == {children.pid}
    assert sorted(line.path for line in left) == ["leaf.0", "leaf.1"]
    assert max(line.at for line in left) < min(line.at for line in fleet.lines("start")[2:])
    assert not fleet.lines("done")
