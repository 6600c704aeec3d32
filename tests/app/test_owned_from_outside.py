"""Owned jobs when the cancel comes from outside of `async with app`: Ctrl-C, or a scope around the whole program."""

from __future__ import annotations

from pathlib import Path

from anyio import CancelScope, Event, create_task_group, current_time, fail_after, sleep_forever

from nursery_tasks import App


async def test_a_caller_that_is_cancelled_together_with_its_app_leaves_once_its_job_has_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    working, calling = App(url), App(url)
    started, ended, cancelled_at = Event(), Event(), [0.0]

    @working.task
    async def wait() -> None:
        started.set()
        try:
            await sleep_forever()
        finally:
            ended.set()

    async def cancel_once_it_runs(scope: CancelScope) -> None:
        await started.wait()
        cancelled_at[0] = current_time()
        scope.cancel()

    with fail_after(30):
        async with working, working.open_worker(), create_task_group() as around:
            with CancelScope() as scope:
                around.start_soon(cancel_once_it_runs, scope)
                async with calling:
                    await calling.job("wait").run()
            assert scope.cancelled_caught
            assert ended.is_set()
            assert current_time() - cancelled_at[0] < 5  # and not the ten seconds for which it would wait at most
