"""Functions that hear what happens to the jobs of this program: python hooks.py"""

import anyio

from nursery_tasks import App, JobEvent

app = App("memory:")


@app.task(name="mail.send")
async def send(to: str) -> None:
    if "@" not in to:
        raise ValueError(f"{to} is no address")


@app.on("failed", task="mail.*")
async def complain(event: JobEvent) -> None:
    print(f"{event.task} has failed: {event.detail}")


@app.on("ended", once=True)
def note(event: JobEvent) -> None:  # in a thread: it may block
    print(f"the first one has {event.kind}")


async def main() -> None:
    async with app, app.open_worker():
        await send.run("ada@example.org")
        await (await send.enqueue("nobody")).outcome()
    print(f"{complain.called} complaint, {complain.failed} of them failed")


if __name__ == "__main__":
    anyio.run(main)
