"""A payment that is never started twice: the worker is stopped in the middle of one, and the job is dead and not run again.

python examples/order_and_once.py
"""

import anyio

from nursery_tasks import App
from nursery_tasks.errors import JobDead

app = App("memory:")
started = anyio.Event()


@app.task(delivery="at_most_once")
async def pay(invoice: int) -> None:
    started.set()
    await anyio.sleep(60)


async def main() -> None:
    async with app:
        async with app.open_worker(drain=0):
            payment = await pay.enqueue(7)
            await started.wait()
        try:
            await payment
        except JobDead as error:
            print(f"invoice 7 is dead: {error.reason}")


if __name__ == "__main__":
    anyio.run(main)
