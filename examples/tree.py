"""A tree of jobs on two workers, and what leaving the scope around it does. Run it: python examples/tree.py"""

import tempfile

import anyio

from nursery_tasks import App, current_job

folder = tempfile.TemporaryDirectory()
app = App(f"sqlite:///{folder.name}/jobs.db")


@app.task
async def leaf(name: str) -> None:
    try:
        await anyio.sleep(60)
    finally:
        print(f"{name} on {current_job().worker} ends: {current_job().cancel_reason}")


@app.task
async def branch(name: str) -> None:
    async with app.create_task_group() as group:  # its children may be on either worker
        for number in range(2):
            group.start_soon(leaf, f"{name}.{number}")


@app.task
async def fail_soon() -> None:
    await anyio.sleep(0.2)
    raise ValueError("no")


async def main() -> None:
    async with app, app.open_worker(name="left", slots=3), app.open_worker(name="right", slots=3):
        with anyio.move_on_after(0.5) as scope:
            async with app.create_task_group() as group:
                group.start_soon(branch, "a")
                group.start_soon(branch, "b")
        print(f"left early: {scope.cancelled_caught}; nothing of the tree is left")

        try:
            async with app.create_task_group() as group:
                group.start_soon(leaf, "c")
                group.start_soon(fail_soon)
        except* ValueError as errors:
            print(f"a sibling failed: {errors.exceptions[0]!r}")

        job = await leaf.enqueue("d")  # detached: it has to be cancelled by hand
        await anyio.sleep(0.1)
        print(f"asked to end, it is {await job.cancel('enough seen')}")


if __name__ == "__main__":
    anyio.run(main)
    folder.cleanup()
