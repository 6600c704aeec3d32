"""Bookings in order, for each account; and a payment that is never started twice, not when its worker stops in the middle.

python examples/order_and_once.py
"""

from collections import defaultdict

import anyio

from nursery_tasks import App, Retry, current_job
from nursery_tasks.errors import JobDead

app = App("memory:")
booked: defaultdict[str, list[int]] = defaultdict(list)
started = anyio.Event()


@app.task(ordering_key="{account}", retry=Retry(3, wait=0.1))
async def book(account: str, number: int) -> None:
    if number == 1 and current_job().attempt < 3:
        raise ConnectionError("the ledger is busy")  # the others of this account wait until it is through
    booked[account].append(number)


@app.task(delivery="at_most_once")
async def pay(invoice: int) -> None:
    started.set()
    await anyio.sleep(60)


async def main() -> None:
    async with app:
        async with app.open_worker(slots=10):
            for job in await app.enqueue_many([book.job(account, n) for n in range(5) for account in ("anna", "bert")]):
                await job
        for account, numbers in booked.items():
            print(f"{account}: {numbers}")

        async with app.open_worker(drain=0):
            payment = await pay.enqueue(7)
            await started.wait()
        try:
            await payment
        except JobDead as error:
            print(f"invoice 7 is dead: {error.reason}")


if __name__ == "__main__":
    anyio.run(main)
