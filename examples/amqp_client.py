"""Jobs from a program with another AMQP library: it pushes, is answered, and takes results out of a queue.

Start a server, or name one, and run it; the other library is pika:
RABBITMQ_URL=amqp://guest:guest@localhost/ python examples/amqp_client.py
"""

import os
import sys
import tempfile
from pathlib import Path

import anyio

from nursery_tasks import App

SERVER = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost/")

OTHER_PROGRAM = """
import sys
import pika

with pika.BlockingConnection(pika.URLParameters(sys.argv[1])) as connection:
    channel = connection.channel()
    mine = channel.queue_declare("", exclusive=True).method.queue
    ask = pika.BasicProperties(reply_to=mine, correlation_id="q1", message_id="sum-1")
    channel.basic_publish("", "nursery-tasks.default", b'{"task": "add", "args": [1, 2]}', ask)
    for _, properties, body in channel.consume(mine, auto_ack=True):
        print(properties.correlation_id, "is answered with", body.decode(), flush=True)
        break
    channel.cancel()

    for word in (b"one", b"two"):  # raw bodies, for the task that takes what is raw on this queue
        channel.basic_publish("", "nursery-tasks.notes", word)
    channel.queue_declare("notes-done", durable=True, arguments={"x-expires": 86_400_000})
    results = channel.consume("notes-done", auto_ack=True)
    print("and the notes are", sorted(next(results)[2].decode() for _ in range(2)), flush=True)
    channel.cancel()
"""


async def main(database: Path) -> None:
    app = App(SERVER, store=f"sqlite:///{database}")

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(queue="notes", raw=True, reply_to="notes-done")
    async def note(body: bytes) -> bytes:
        return body.upper()

    async with app:
        await app.enqueue_many([add.job(0, 0)])  # makes the queue, as the first worker would
        await note.enqueue(b"zero")
        async with app.open_worker(queues=["default", "notes"]):
            await anyio.run_process([sys.executable, "-c", OTHER_PROGRAM, SERVER], stdout=None, stderr=None)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(main, Path(folder) / "jobs.db")
