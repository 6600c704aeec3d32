"""Handlers that wait for other jobs: their slots, which they release meanwhile."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from anyio import CancelScope, create_task_group, current_time, fail_after, move_on_after
from support import DEADLINE, Gate, until, working

from nursery_tasks import App, current_job
from nursery_tasks.errors import JobCancelled


async def test_one_slot_is_enough_for_nested_waits_of_any_depth(app: App) -> None:
    @app.task
    async def dig(depth: int) -> int:
        return 1 + await dig.run(depth - 1) if depth else 0

    async with working(app, slots=1) as worker:
        assert await dig.run(50) == 50
        assert worker._hand_over.released_slots == 0
        assert worker._hand_over.busy in (0, 1)  # the last one's child may not be back yet


async def test_handlers_in_threads_lend_their_slots_too(app: App) -> None:
    @app.task
    def dig(depth: int) -> int:
        return 1 + app.sync.run(dig.job(depth - 1)) if depth else 0

    async with working(app, slots=1):
        assert await dig.run(50) == 50


@pytest.mark.parametrize("way", ["handle", "group"])
async def test_each_way_to_wait_for_a_job_lends_the_slot(app: App, way: str) -> None:
    @app.task
    async def leaf(n: int) -> int:
        return n

    @app.task
    async def parent() -> int:
        if way == "handle":
            return await (await leaf.enqueue(2))
        async with app.create_task_group() as group:
            children = [group.start_soon(leaf, n) for n in range(3)]
        return sum(child.return_value for child in children)

    async with working(app, slots=1):
        assert await parent.run() == (2 if way == "handle" else 3)


async def test_a_thread_that_waits_for_an_enqueued_job_lends_its_slot(app: App) -> None:
    @app.task
    async def leaf() -> str:
        return "done"

    @app.task
    def parent() -> str:
        return app.sync.enqueue(leaf.job()).result()

    async with working(app, slots=1):
        assert await parent.run() == "done"


async def test_no_more_handlers_run_at_once_than_there_are_slots(memory_app: App) -> None:
    computing, most = 0, 0

    async def compute() -> None:
        nonlocal computing, most
        computing += 1
        most = max(most, computing)
        try:
            await anyio.sleep(0.002)
        finally:
            computing -= 1

    @memory_app.task
    async def tree(depth: int) -> None:
        await compute()
        if depth:
            async with memory_app.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(tree, depth - 1)
        await compute()

    async with working(memory_app, slots=2):
        await tree.run(3)  # 40 jobs: one level more takes a busy machine close to the deadline
    assert most == 2


async def test_who_waits_for_a_slot_again_gets_it_before_what_has_not_started(memory_app: App) -> None:
    order: list[str] = []
    gates = {"leaf": Gate(), "busy": Gate()}

    @memory_app.task
    async def block(name: str) -> None:
        await gates[name].pass_through()

    @memory_app.task
    async def parent() -> None:
        await block.run("leaf")
        order.append("parent")

    @memory_app.task
    async def other() -> None:
        order.append("other")

    with fail_after(DEADLINE):
        async with memory_app, memory_app.open_worker(slots=1, queues=["default"]) as worker:
            async with create_task_group() as tg:
                tg.start_soon(parent.run)
                await gates["leaf"].wait_for(1)
                busy = await block.enqueue("busy")  # next in the line, and then `other`
                waiting = await other.enqueue()
                gates["leaf"].open()
                await gates["busy"].wait_for(1)
                await until(lambda: worker._hand_over._returning)  # the parent wants to go on
                gates["busy"].open()
            await waiting
            await busy
    assert order == ["parent", "other"]


async def test_a_branch_that_begins_to_wait_while_another_returns_does_not_lock_the_worker(memory_app: App) -> None:
    @memory_app.task
    async def leaf() -> None:
        await anyio.lowlevel.checkpoint()

    @memory_app.task
    async def parent() -> None:
        async def branch() -> None:
            for _ in range(10):
                await leaf.run()

        async with create_task_group() as tg:
            for _ in range(5):
                tg.start_soon(branch)

    async with working(memory_app, slots=1) as worker:
        async with create_task_group() as tg:
            for _ in range(4):
                tg.start_soon(parent.run)
        assert worker._hand_over.released_slots == 0


async def test_a_cancelled_handler_does_not_wait_for_a_slot_to_clean_up(memory_app: App) -> None:
    gate, cleaned = Gate(), []

    @memory_app.task
    async def never() -> None:
        await anyio.sleep_forever()

    @memory_app.task
    async def busy() -> None:
        await gate.pass_through()

    @memory_app.task
    async def parent() -> None:
        try:
            await never.options(queue="nobody").run()
        finally:
            cleaned.append(current_job().cancel_reason)

    async with working(memory_app, slots=1, queues=["default"]) as worker:
        job = await parent.enqueue()
        await until(lambda: worker._hand_over.released_slots == 1)
        other = await busy.enqueue()  # it has the only slot now
        await gate.wait_for(1)
        await job.cancel("enough")
        with pytest.raises(JobCancelled, match="enough"):
            await job
        assert cleaned == ["enough"]
        gate.open()
        await other
        await until(lambda: worker._hand_over.busy == 0)
        assert worker._hand_over.released_slots == 0


async def test_children_of_the_hand_over_do_not_pile_up(memory_app: App) -> None:
    @memory_app.task
    async def dig(depth: int) -> None:
        if depth:
            await dig.run(depth - 1)

    async with working(memory_app, slots=2) as worker:
        for _ in range(3):
            await dig.run(40)
        await dig.run(0)
        await until(lambda: worker._hand_over.children <= 2 + 8 + 1)


async def test_a_wait_that_is_given_up_takes_the_slot_again(memory_app: App) -> None:
    @memory_app.task
    async def never() -> None:
        await anyio.sleep_forever()

    @memory_app.task
    async def parent() -> str:
        with move_on_after(0.05):
            await never.run()
        return "went on"

    async with working(memory_app, slots=1) as worker:
        assert await parent.run() == "went on"
        with fail_after(DEADLINE):
            assert await parent.run() == "went on"
        assert worker._hand_over.released_slots == 0


async def test_what_a_handler_waits_for_goes_before_what_has_not_begun(app: App) -> None:
    """Else all parents would begin before the first child, and each that waits holds memory, or a thread."""
    most, waiting = 0, 0

    @app.task
    async def child() -> None:
        """Do nothing."""

    @app.task
    async def parent() -> None:
        nonlocal most, waiting
        waiting += 1
        most = max(most, waiting)
        await child.run()
        waiting -= 1

    async with working(app, slots=2):
        for job in await app.enqueue_many([parent.job() for _ in range(60)]):
            await job
    assert most < 60


async def test_a_worker_that_is_left_gives_back_what_its_handlers_wait_for(app: App) -> None:
    gate = Gate()

    @app.task
    async def leaf() -> None:
        """Do nothing."""

    @app.task
    async def hog() -> None:
        await gate.pass_through()

    @app.task
    async def parent() -> None:
        await leaf.options(priority=0).run()

    with fail_after(DEADLINE):
        async with app:
            with CancelScope() as scope:
                async with app.open_worker(slots=1) as worker:
                    for job in await app.enqueue_many([leaf.job() for _ in range(100)]):
                        await job  # short jobs, so that it fetches ahead
                    await hog.options(priority=9).enqueue()
                    await gate.wait_for(1)
                    await parent.enqueue()
                    gate.open()
                    await until(lambda: worker._hand_over.released_slots or not worker.running)
                    began = current_time()
                    scope.cancel()
            assert current_time() - began < 4


async def test_a_handler_that_waits_for_the_end_of_its_children_is_not_called_stubborn(
    memory_app: App, caplog: pytest.LogCaptureFixture
) -> None:
    release = anyio.Event()

    @memory_app.task
    async def slow_to_end() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with CancelScope(shield=True):
                await release.wait()

    @memory_app.task
    async def parent() -> None:
        await slow_to_end.run()

    async with working(memory_app, cleanup=0.2) as worker:
        job = await parent.enqueue()
        await until(lambda: len(worker.running) == 2)
        async with create_task_group() as tg:
            tg.start_soon(job.cancel)
            await until(lambda: len(worker._describe().unresponsive) == 1)
            await anyio.sleep(0.3)
            assert job.id not in worker._describe().unresponsive  # it waits for the one that is
            release.set()
