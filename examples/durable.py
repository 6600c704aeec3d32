"""A durable workflow that loses its worker to kill -9 in the middle, and goes on. Run it: python examples/durable.py"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from nursery_tasks import App, Retry, current_job, sleep, step, wait_for_event

FOLDER = Path(os.environ.get("DURABLE_EXAMPLE") or tempfile.mkdtemp())
app = App(f"sqlite:///{FOLDER}/jobs.db")


def note(text: str) -> None:
    with (FOLDER / "log").open("a") as log:
        log.write(f"{text}\n")


@app.task(retry=Retry(3, on=OSError))
async def read(document: str) -> int:
    note(f"read {document}")
    await anyio.sleep(0.1)
    return len(document)


@app.task(retry=5)
async def withdraw(number: str) -> None:
    note(f"withdraw {number}")


@app.task
async def publish(number: str, words: int, at: float) -> str:
    return f"report {number}: {words} words"


async def draw_number() -> str:
    note("draw a number")
    return "R-17"


@app.workflow(durable=True)
async def report(documents: list[str]) -> str:
    async with app.create_task_group() as group:  # the fan-out follows the argument
        parts = [group.start_soon(read, document) for document in documents]
    number = await step(draw_number)  # recorded: not drawn again by another run
    step.undo_with(withdraw, number)  # if something below fails
    current_job().progress("waits for approval")
    await sleep(0.5)  # ends at the same moment, whatever happens meanwhile
    approved: bool = await wait_for_event("approve", timeout=3600, returns=bool)
    if not approved:
        raise PermissionError("not approved")
    began = await step(time.time)
    return await publish.run(number, sum(part.return_value for part in parts), began)


async def work() -> None:
    async with app, app.open_worker(lease=1.5):
        await anyio.sleep_forever()


def start_worker() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, __file__, "work"], env={**os.environ, "DURABLE_EXAMPLE": str(FOLDER)})


async def main() -> None:
    async with app:
        job = await report.enqueue(["one", "four", "sixteen"])
        first = start_worker()
        async for update in job.watch():
            if update.progress == "waits for approval":
                break
        first.send_signal(signal.SIGKILL)
        first.wait()
        second = start_worker()
        try:
            await app.send_event(job.id, "approve", True)
            print(await job)
            print((FOLDER / "log").read_text().splitlines())  # nothing stands there twice

            refused = await report.enqueue(["more"])
            await app.send_event(refused.id, "approve", False)
            outcome = await refused.outcome()
            assert outcome.error is not None
            print(f"{outcome.error.type}: {outcome.error.text}; {outcome.error.notes[-1]}")
        finally:
            second.terminate()
            second.wait()


if __name__ == "__main__":
    anyio.run(work if "work" in sys.argv else main)
