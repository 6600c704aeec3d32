"""A durable workflow that starts its successor: what the guide says of such a chain, and of what it leaves behind."""

from __future__ import annotations

from anyio import Event, fail_after, sleep
from support import DEADLINE, SECONDS_APART, working

from nursery_tasks import App, current_job


async def test_a_chain_goes_on_and_leaves_one_record_for_each_link(app: App) -> None:
    over = Event()

    @app.workflow(durable=True)
    async def poll(n: int) -> None:
        if n < 5:
            await poll.options(key=f"poll-{n + 1}").enqueue(n + 1)
        else:
            over.set()

    async with working(app):
        await poll.options(key="poll-0").enqueue(0)
        with fail_after(DEADLINE):
            await over.wait()
            # With a key the record is stored after the job that it is of: the last link may be over before.
            while len(await app.jobs.list(task="enqueue:poll")) < 5:  # noqa: ASYNC110 - what is looked at has no event
                await sleep(SECONDS_APART)
        listed = await app.jobs.list(limit=100)
    assert sum(info.task == "enqueue:poll" for info in listed) == 5
    assert sum(info.task == "poll" for info in listed) == 6


async def test_who_enqueues_its_own_task_with_its_own_key_gets_itself(app: App) -> None:
    @app.workflow(durable=True)
    async def poll() -> tuple[bool, bool]:
        successor = await poll.options(key="poller").enqueue()
        return successor.created, successor.id == current_job().id

    async with working(app):
        first = await poll.options(key="poller").enqueue()
        assert await first == (False, True)
