"""A worker inside your own program, and a resource that it opens once for all its jobs.

Run it: python examples/embedded.py
"""

from collections.abc import AsyncIterator

import anyio

from nursery_tasks import App, current_job

app = App("memory:")


@app.lifespan
async def greetings() -> AsyncIterator[dict[str, str]]:
    """Stands for an HTTP client or a connection pool: opened before the first job, closed after the last."""
    yield {"en": "Hello", "fr": "Bonjour"}


@app.task
async def greet(name: str, language: str = "en") -> str:
    words: dict[str, str] = current_job().state["greetings"]
    return f"{words[language]}, {name}"


async def main() -> None:
    async with app, app.open_worker(slots=4):  # no signal handlers; leaving the block drains
        print(await greet.run("Ada"))
        print(await greet.run("Grace", language="fr"))


if __name__ == "__main__":
    anyio.run(main)
