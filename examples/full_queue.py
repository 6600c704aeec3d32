"""A queue that holds a producer back which is faster than its worker, and one that takes turns.

python examples/full_queue.py
"""

import anyio

from nursery_tasks import App
from nursery_tasks.errors import QueueFull

app = App("memory:")
app.queue("mail", max_length=5)
app.queue("reports", fair_by="{tenant}", weights={"big": 2})
made: list[str] = []


@app.task(queue="mail")
async def send(order: int) -> None:
    await anyio.sleep(0.01)


@app.task(queue="reports")
async def report(tenant: str, month: int) -> None:
    made.append(tenant)


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

        reports = [report.job("big", month) for month in range(100)]
        reports += [report.job("small", month) for month in range(10)]
        handles = await app.enqueue_many(reports)
        async with app.open_worker(queues=["reports"], slots=1):
            for handle in handles:
                await handle
        place = max(place for place, tenant in enumerate(made, 1) if tenant == "small")
        print(f"the ten reports of the small one were made among the first {place} of {len(made)}")


if __name__ == "__main__":
    anyio.run(main)
