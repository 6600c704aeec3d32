"""A program that knows only aio-pika calls a handler: it pushes messages into a queue, and consumes the answers.

Start a server, or name one, and run it:
RABBITMQ_URL=amqp://guest:guest@localhost/ python examples/amqp_rpc.py
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import anyio

from nursery_tasks import App

SERVER = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost/")


# --8<-- [start:client]
async def client() -> None:
    import aio_pika

    async with await aio_pika.connect(SERVER) as connection:
        channel = await connection.channel()
        await channel.declare_queue("numbers", durable=True, arguments={"x-queue-type": "quorum"})
        answers = await channel.declare_queue(exclusive=True)
        for number in (3, 4, 0):
            question = aio_pika.Message(str(number).encode(), reply_to=answers.name, correlation_id=f"q{number}")
            await channel.default_exchange.publish(question, "numbers")
        told: list[str] = []
        async with answers.iterator() as incoming:
            async for answer in incoming:
                async with answer.process():
                    how = str(answer.headers.get("nursery-tasks-state", "is"))
                    told.append(" ".join([str(answer.correlation_id), how, answer.body.decode()]))
                if len(told) == 3:
                    break
        print("\n".join(sorted(told)))


# --8<-- [end:client]
async def main(database: Path) -> None:
    app = App(f"sqlite:///{database}", channels={"rabbit": SERVER})

    @app.handler("rabbit:numbers")
    def divide(number: int) -> float:
        return 60 / number

    async with app, app.open_worker():
        await anyio.run_process([sys.executable, __file__, "client"], stdout=None, stderr=None)


if __name__ == "__main__":
    if sys.argv[1:] == ["client"]:
        asyncio.run(client())
    else:
        with tempfile.TemporaryDirectory() as folder:
            anyio.run(main, Path(folder) / "jobs.db")
