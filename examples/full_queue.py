"""A producer that is faster than its worker: the queue fills up, and holds it back.

python examples/full_queue.py
"""

import anyio

from nursery_tasks import App
from nursery_tasks.errors import QueueFull

app = App("memory:")
app.queue("mail", max_length=5)


@app.task(queue="mail")
async def send(order: int) -> None:
    await anyio.sleep(0.01)


async def main() -> None:
    async with app:
        for order in range(5):
            await send.enqueue(order)
        try:
            await send.enqueue_nowait(5)
        except QueueFull as full:
            print(f"{full.queue} is full: {full.max_length} jobs wait there")

        deepest = 0
        async with app.open_worker(queues=["mail"], slots=1):
            for order in range(5, 50):
                last = await send.enqueue(order)  # waits for room, again and again
                [mail] = await app.queues.list()
                deepest = max(deepest, mail.depth)
            await last
        print(f"50 mails were sent, and no more than {deepest} have waited")


if __name__ == "__main__":
    anyio.run(main)
