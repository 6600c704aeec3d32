"""A debounce and a throttle, in one program: an editor that saves at each key, and a user who asks again and again.

python examples/debounce.py
"""

import anyio

from nursery_tasks import App, Debounce, Throttle

app = App("memory:")


@app.task(debounce=Debounce(0.3, key="{document}", most=5))
async def index(document: str, text: str) -> str:
    return f"{document} is indexed: {text}"


@app.task(throttle=Throttle(60, key="{user}"))
async def send_link(user: str) -> str:
    return f"a link for {user}"


async def main() -> None:
    async with app, app.open_worker():
        jobs = [await index.enqueue("letter", text) for text in ("D", "De", "Dear", "Dear Ada")]
        other = await index.enqueue("poem", "Roses")
        print([job.created for job in jobs], len({job.id for job in jobs}), "job")
        print(await jobs[0])
        print(await other)

        links = [await send_link.enqueue(user) for user in ("ada", "ada", "bob", "ada")]
        print([link.created for link in links], [await link for link in links])


if __name__ == "__main__":
    anyio.run(main)
