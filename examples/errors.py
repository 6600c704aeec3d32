"""Errors come back as themselves: built-in ones, your own once registered, and groups for `except*`.

Run it: python examples/errors.py
"""

import anyio

from nursery_tasks import App, Retry
from nursery_tasks.errors import JobCancelled, RemoteError

app = App("memory:")


@app.error
class OutOfStock(Exception):
    """Registered, so callers can catch it; any other class of yours arrives as RemoteError."""

    def __init__(self, *, item: str) -> None:
        super().__init__(f"no {item} left")
        self.item = item


class Unregistered(Exception):
    pass


@app.task
async def order(item: str) -> str:
    if item == "tea":
        raise OutOfStock(item=item)
    if item == "unicorn":
        raise Unregistered("what is that?")
    return f"one {item}"


@app.task
async def order_all(items: list[str]) -> None:
    raise ExceptionGroup("orders", [KeyError(items[0]), OutOfStock(item=items[1])])


@app.task(retry=Retry(3, on=ConnectionError, wait=[0.01, 0.02]))
async def flaky(calls: list[int]) -> None:
    raise ConnectionResetError("every time")


@app.task
async def endless() -> None:
    await anyio.sleep_forever()


async def main() -> None:
    async with app, app.open_worker():
        try:
            await order.run("tea")
        except OutOfStock as error:
            print(f"sold out: {error.item}")

        try:
            await order.run("unicorn")
        except RemoteError as error:
            print(f"an error of a class that is unknown here: {error.type_name}: {error.text}")

        try:
            await order_all.run(["coffee", "milk"])
        except* KeyError as group:
            print(f"unknown: {group.exceptions}")
        except* OutOfStock as group:
            print(f"sold out: {group.exceptions}")

        try:
            await flaky.run([])
        except ConnectionResetError as error:
            print(f"after three attempts: {error}")

        job = await endless.enqueue()
        await job.cancel("changed my mind")
        try:
            await job
        except JobCancelled as error:
            print(f"cancelled: {error.reason}")


if __name__ == "__main__":
    anyio.run(main)
