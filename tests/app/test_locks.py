"""`app.lock()`: one holder at a time, in the order of arrival, told when the lease is lost; async and blocking."""

from __future__ import annotations

import threading
import time
from functools import partial

import anyio.lowlevel
import pytest
from anyio import Event, create_task_group, fail_after, move_on_after, sleep, sleep_forever, to_thread
from support import DEADLINE, until, working

from nursery_tasks import App, Lock
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.needed import locks_of
from nursery_tasks.brokers.parts import Locks
from nursery_tasks.brokers.protocol import Feature
from nursery_tasks.errors import InvalidOptions, LockLost, LockTaken, NotSupported, WouldBlockLoop
from nursery_tasks.testing import FaultyBroker

pytestmark = pytest.mark.anyio


def locks(app: App) -> Locks:
    return locks_of(app.connection.gateway.broker)


async def test_holders_follow_each_other_in_the_order_of_arrival(app: App) -> None:
    order: list[int] = []
    tokens: list[int] = []
    inside = 0

    def stand_in_line(count: int) -> bool:
        return [each.waiting for each in locks(app).list_locks(9)] == [count]

    async def hold(number: int) -> None:
        nonlocal inside
        async with app.lock("door") as lock:
            assert inside == 0
            inside += 1
            order.append(number)
            tokens.append(lock.token)
            await sleep(0.001)
            inside -= 1

    async with app:
        with fail_after(DEADLINE):
            async with create_task_group() as tg, app.lock("door"):
                for number in range(4):
                    tg.start_soon(hold, number)
                    await until(partial(stand_in_line, number + 1))
        assert order == [0, 1, 2, 3]
        assert tokens == sorted(set(tokens))
        assert locks(app).list_locks(9) == []


async def test_a_lock_that_is_taken_is_not_waited_for_longer_than_asked(app: App) -> None:
    async with app:
        async with app.lock("door"):
            with pytest.raises(LockTaken, match="the lock 'door' is taken"):
                async with app.lock("door", wait=0):
                    raise AssertionError("two hold it")
            with pytest.raises(LockTaken, match=r"was not free within 0\.05 s"):
                async with app.lock("door", wait=0.05):
                    raise AssertionError("two hold it")
            async with app.lock("window", wait=0):
                pass
            assert [(each.name, each.waiting) for each in locks(app).list_locks(9)] == [("door", 0)]
        async with app.lock("door", wait=0):
            pass


async def test_a_cancel_leaves_the_line_and_gives_the_lock_back(app: App) -> None:
    async with app:
        async with app.lock("door"):
            with move_on_after(0.02):
                async with app.lock("door"):
                    raise AssertionError("two hold it")
            assert [each.waiting for each in locks(app).list_locks(9)] == [0]
        with move_on_after(0.02) as scope:
            async with app.lock("door"):
                await sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(ZeroDivisionError):
            async with app.lock("door"):
                raise ZeroDivisionError
        assert locks(app).list_locks(9) == []


@pytest.mark.parametrize("url", ["sqlite", "redis"], indirect=True)
async def test_a_lost_lease_cancels_the_block(app: App) -> None:
    async with app:
        with fail_after(DEADLINE):
            with pytest.raises(LockLost, match="the lock 'door'"):  # noqa: PT012 - the end of the block raises
                async with app.lock("door", lease=0.5) as lock:
                    assert locks(app).unlock([("door", lock.holder)]) == [True]  # as if it had run out
                    await sleep_forever()
            async with app.lock("door", wait=0):
                pass


@pytest.mark.parametrize("url", ["sqlite", "redis"], indirect=True)
async def test_a_lock_is_kept_while_its_holder_blocks_the_loop(app: App) -> None:
    async with app, app.lock("door", lease=1.2) as lock:
        time.sleep(1.5)  # noqa: ASYNC251 - longer than a lease
        await anyio.lowlevel.checkpoint()
        lock.check()
        with pytest.raises(LockTaken):
            async with app.lock("door", wait=0):
                pass


async def test_a_lease_that_cannot_be_renewed_is_given_up_before_it_is_over() -> None:
    class Shared(MemoryBroker):
        blocking = True
        features = MemoryBroker.features | {Feature.SHARED}

    faulty, app = FaultyBroker(Shared()), App("memory:")
    with app.use_broker(faulty), fail_after(DEADLINE):
        async with app:
            stall = faulty.stall("relock")
            with pytest.raises(LockLost):  # noqa: PT012 - the end of the block raises
                async with app.lock("door", lease=1.0) as lock:
                    assert lock.fence_at <= lock.renewed_at + 0.8
                    await sleep_forever()
            stall.release()


async def test_a_thread_waits_for_a_lock_and_is_told_when_it_is_lost(app: App) -> None:
    taken, go_on = threading.Event(), threading.Event()

    def hold() -> Lock:
        with app.sync.lock("door") as lock:
            taken.set()
            assert go_on.wait(DEADLINE)
            lock.check()
        return lock

    def try_it() -> None:
        with pytest.raises(LockTaken), app.sync.lock("door", wait=0):
            pass
        with pytest.raises(LockTaken), app.sync.lock("door", wait=0.05):
            pass

    async with app:
        async with create_task_group() as tg:
            tg.start_soon(to_thread.run_sync, hold)
            await to_thread.run_sync(taken.wait, DEADLINE)
            await to_thread.run_sync(try_it)
            go_on.set()
        async with app.lock("door", wait=0) as lock:
            assert lock.token > 1
        with pytest.raises(WouldBlockLoop):
            app.sync.lock("door").__enter__()
    app.sync.close()


async def test_handlers_do_not_overlap_and_leave_when_they_are_cancelled(app: App) -> None:
    inside, most, waiting = 0, 0, Event()

    @app.task
    async def notoverlap(number: int) -> int:
        nonlocal inside, most
        async with app.lock("notoverlap"):
            inside += 1
            most = max(most, inside)
            await sleep(0.02)
            inside -= 1
        return number

    @app.task
    def blocked() -> None:
        with app.sync.lock("notoverlap"):
            raise AssertionError("two hold it")

    async with working(app, slots=4):
        jobs = [await notoverlap.enqueue(number) for number in range(3)]
        assert [await job for job in jobs] == [0, 1, 2]
        assert most == 1
        async with app.lock("notoverlap"):
            job = await blocked.enqueue()
            await until(lambda: any(each.waiting for each in locks(app).list_locks(9)))
            waiting.set()
            await job.cancel()
            assert await job.status() == "cancelled"
        assert locks(app).list_locks(9) == []
    app.sync.close()


async def test_bad_names_and_times_are_refused(memory_app: App) -> None:
    async with memory_app:
        for wrong in (
            lambda: memory_app.lock("two words"),
            lambda: memory_app.lock("x", lease=0.1),
            lambda: memory_app.lock("x", wait=-1),
        ):
            with pytest.raises(InvalidOptions):
                wrong()


async def test_a_broker_without_locks_says_so(memory_app: App) -> None:
    broker = MemoryBroker()
    broker.locks = None
    with memory_app.use_broker(broker):
        async with memory_app:
            with pytest.raises(NotSupported, match="memory: has no locks"):
                async with memory_app.lock("door"):
                    pass
