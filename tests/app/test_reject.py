"""A handler that rejects its job: the job is dead, and no retry policy is asked."""

from __future__ import annotations

import pytest
from anyio import create_task_group
from support import DEADLINE, working

from nursery_tasks import App, Batch, Reject, Retry
from nursery_tasks.errors import JobDead
from nursery_tasks.model.states import JobState


async def test_a_rejected_job_is_put_aside_and_no_policy_is_asked(app: App) -> None:
    async def look_up(customer: int) -> None:
        raise Reject(f"no customer {customer}")

    @app.task(retry=Retry(5))
    async def order(customer: int) -> None:
        async with create_task_group() as group:
            group.start_soon(look_up, customer)

    async with working(app):
        handle = await order.enqueue(7)
        with pytest.raises(JobDead, match="is dead: no customer 7; `nursery-tasks retry"):
            await handle.result(DEADLINE)
        assert (await handle.outcome()).attempt == 1


away = App("memory:")  # a process finds its functions by importing this module


@away.task(run_in="process", retry=Retry(5))
def reject_away() -> None:
    raise Reject("not this one")


async def test_a_handler_in_a_process_rejects_likewise() -> None:
    async with working(away):
        with pytest.raises(JobDead, match="is dead: not this one"):
            await (await reject_away.enqueue()).result(DEADLINE)


async def test_one_job_of_a_batch_is_rejected_alone(memory_app: App) -> None:
    @memory_app.task(batch=Batch(2, wait=5), retry=Retry(5))
    async def check(numbers: list[int]) -> list[object]:
        return [number if number else Reject("nothing") for number in numbers]

    async with working(memory_app):
        handles = await memory_app.enqueue_many([check.job(0), check.job(1)])
        assert [(await handle.outcome(DEADLINE)).state for handle in handles] == [JobState.DEAD, JobState.SUCCEEDED]
