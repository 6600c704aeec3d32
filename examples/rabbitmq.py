"""RabbitMQ moves the jobs, and a store keeps them: results, retries, delays and cancels are as with any other broker.

Start a server, or name one, and run it: RABBITMQ_URL=amqp://guest:guest@localhost/ python examples/rabbitmq.py
"""

import os
import tempfile
from pathlib import Path

import anyio

from nursery_tasks import App, Retry, current_job

SERVER = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost/")

# Exchanges, queues and keys are yours to name. Those of the queue `orders` here; all others begin with the prefix.
NAMES = "?prefix=shop&exchange.orders=Shop.x&queue.orders=Shop.orders&routing_key.orders=order.new&prefetch.orders=10"


async def main(database: Path) -> None:
    app = App(SERVER + NAMES, store=f"sqlite:///{database}")  # with workers on many machines: store="redis://..."

    @app.task(queue="orders", retry=Retry(3, wait=0.1))
    async def ship(order: int) -> str:
        if current_job().attempt == 1:
            raise ConnectionError("the carrier does not answer")
        return f"order {order} was shipped at attempt {current_job().attempt}"

    @app.task(queue="notes", raw=True)  # takes what any AMQP client publishes: see docs/how-to/use-rabbitmq.md
    async def note(body: bytes) -> str:
        return body.decode()

    async with app, app.open_worker(queues=["orders", "default"]):
        print(await ship.run(7))  # owned: it ends with this scope
        jobs = await app.enqueue_many([ship.job(number) for number in range(100)])  # published in one go, each confirmed
        print(f"and {len([await job for job in jobs])} more")
        later = await ship.job(8).with_options(delay=1000).enqueue()  # without a plugin: the store knows when it is due
        await later.cancel("the customer has changed his mind")
        print(f"order 8 is {await later.status()}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(main, Path(folder) / "jobs.db")
