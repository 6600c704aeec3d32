import anyio

from nursery_tasks import App, Retry, check_cancelled, current_job

app = App()  # sqlite:///nursery-tasks.db, or what NURSERY_TASKS_BROKER says


@app.task(timeout=10, retry=Retry(3, on=OSError))
async def measure(path: str) -> int:  # async def: on the worker's event loop
    return len(await anyio.Path(path).read_bytes())


@app.task(timeout=60)
def count_words(path: str) -> dict[str, int]:  # def: in a thread of the worker
    words: dict[str, int] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            check_cancelled()  # lets a cancelled job leave early
            current_job().progress(f"line {number}")
            for word in line.split():
                words[word] = words.get(word, 0) + 1
    return words


@app.task
async def nap(seconds: float) -> None:
    await anyio.sleep(seconds)


async def main() -> None:
    async with app:
        job = await measure.enqueue(__file__)  # detached: it outlives this program
        print(f"this file has {await job} bytes")
        words = await count_words.run(__file__)  # owned: it belongs to the scope around this await
        print(f"and {len(words)} different words")
        with anyio.move_on_after(0.5):
            await nap.run(60)
        print("the nap was cancelled, on the worker, before this line was printed")


if __name__ == "__main__":
    anyio.run(main)
