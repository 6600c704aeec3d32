"""Documents in, a report out: a flow, run in three ways. Run it: python examples/flows.py"""

import tempfile
from collections import Counter
from pathlib import Path

import anyio

from nursery_tasks import App, Retry, parallel, parallel_map, sequence

folder = tempfile.TemporaryDirectory()
app = App(f"sqlite:///{folder.name}/jobs.db")


@app.task
def find(place: str) -> list[str]:
    return sorted(str(path) for path in Path(place).glob("*.txt"))


@app.task(retry=Retry(3, on=OSError))
async def read(path: str) -> str:
    return await anyio.Path(path).read_text()


@app.task
def words(text: str, least: int = 1) -> dict[str, int]:
    return Counter(word for word in text.lower().split() if len(word) >= least)


@app.task
def lines(text: str) -> int:
    return len(text.splitlines())


@app.task
def summary(found: tuple[dict[str, int], int]) -> str:
    counts, length = found
    return f"{length} lines, mostly {max(counts, key=lambda word: counts[word])!r}"


@app.task
def report(summaries: list[str]) -> str:
    return "\n".join(f"document {number}: {text}" for number, text in enumerate(summaries, 1))


one_document = sequence(read, parallel(words.job(least=4), lines), summary)
flow = sequence(find, parallel_map(one_document, then=report))


def write_documents(place: Path) -> None:
    for number, text in enumerate(["the tree\ngrows over the tree", "rivers and rivers"], 1):
        (place / f"{number}.txt").write_text(text)


async def main() -> None:
    with tempfile.TemporaryDirectory() as documents:
        write_documents(Path(documents))
        print(await flow.run_local(documents))  # no broker, no worker
        async with app, app.open_worker():
            assert await flow.run(documents) == await flow.run_local(documents)  # from here, on workers, owned
            job = await flow.enqueue(documents)  # all of it on workers: this program may end
            print(await job)
    print(flow.to_mermaid())


if __name__ == "__main__":
    anyio.run(main)
    folder.cleanup()
