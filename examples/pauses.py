"""A task that waits, and one customer whose jobs wait, without a deploy.

python examples/pauses.py
"""

import anyio

from nursery_tasks import App

app = App("memory:")
imported: list[str] = []


@app.task
async def import_orders(customer: str, day: int) -> None:
    imported.append(f"{customer}/{day}")


@app.task
async def report() -> str:
    return "the report was made all the same"


async def main() -> None:
    async with app, app.open_worker():
        await app.pauses.pause("import_orders", where={"customer": "eu-7"}, note="their API is down")
        waiting = await app.enqueue_many([import_orders.job("eu-7", day) for day in (1, 2, 3)])
        await import_orders.run("us-1", 1)
        print(f"imported: {', '.join(imported)}")

        await app.pauses.pause("import_orders", note="the new version comes")
        last = await import_orders.enqueue("us-1", 2)
        print(await report.run())
        for pause in await app.pauses.list():
            print(f"{pause.task} {pause.where or 'for all'}: {pause.note}")

        await app.pauses.resume("import_orders")
        await last
        await app.pauses.resume("import_orders", where={"customer": "eu-7"})
        for job in waiting:
            await job
        print(f"imported: {', '.join(imported)}")


if __name__ == "__main__":
    anyio.run(main)
