"""A header is said once, at the top, and goes down the whole tree of jobs: python headers.py"""

import anyio

from nursery_tasks import App, current_job

app = App("memory:")


@app.task
async def charge(order: int) -> str:
    return f"order {order} is charged to {current_job().headers['tenant']}"


@app.task
async def checkout(order: int) -> str:
    return await charge.run(order)  # inherits the headers of this job


async def main() -> None:
    async with app, app.open_worker():
        print(await checkout.options(headers={"tenant": "blue"}).run(7))


if __name__ == "__main__":
    anyio.run(main)
