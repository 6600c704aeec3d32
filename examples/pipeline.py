"""Ten thousand numbers go through RabbitMQ and a Redis list into one sum, by one command that ends by itself.

RABBITMQ_URL=amqp://localhost REDIS_URL=redis://localhost nursery-tasks run examples.pipeline:app --until-done
python examples/pipeline.py
"""

import os
from collections.abc import Iterator

import anyio

from nursery_tasks import App
from nursery_tasks.channels import ChannelMessage

COUNT = int(os.environ.get("COUNT", "10000"))

app = App(
    os.environ.get("NURSERY_TASKS_BROKER", "sqlite:///pipeline.db?synchronous=normal"),
    channels={
        "rabbit": os.environ.get("RABBITMQ_URL", "amqp://localhost") + "?declare=yes",  # it makes the queue that is missing
        "cache": os.environ.get("REDIS_URL", "redis://localhost"),
    },
)


# --8<-- [start:stages]
@app.publisher("rabbit:numbers")
def numbers() -> Iterator[int]:
    yield from range(COUNT)


@app.handler("rabbit:numbers", reply="cache:squares")
async def square(number: int) -> int:
    return number * number


def body_of(message: ChannelMessage) -> str:  # a Redis list has no ids; equal numbers are the same number here
    return message.body.decode()


@app.handler("cache:squares", reply="squares", same_by=body_of)
async def hear(number: int) -> int:
    return number


@app.collector("squares", on_flush=lambda total: print(f"the sum is {total}"))
def add(total: int, number: int) -> int:
    return total + number


# --8<-- [end:stages]
async def main() -> None:
    async with app:
        await app.run_pipeline()


if __name__ == "__main__":
    anyio.run(main)
