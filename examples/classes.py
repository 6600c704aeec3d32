"""Tasks as classes: options are attributes, bases share them, and each attempt has an instance of its own.

Run it: python examples/classes.py
"""

import anyio

from nursery_tasks import App, Retry, TaskClass

app = App("memory:")


class Web(TaskClass):
    """What all tasks of the web share. It is given to nobody, so it is no task itself."""

    queue = "web"
    timeout = 30
    retry = Retry(3, on=OSError, wait=0.05)

    def __init__(self) -> None:
        self.requests = 0  # of this attempt

    async def get(self, url: str) -> str:
        self.requests += 1
        if self.job.attempt == 1:
            raise OSError("the line is busy")
        return f"the page at {url}"


class Fetch(Web):
    """Fetch one page."""

    async def run(self, url: str) -> str:
        self.log.info("fetching %s", url)
        page = await self.get(url)
        return f"{page}: attempt {self.job.attempt}, {self.requests} request"


class Compare(Web):
    """Say whether two pages are equal."""

    timeout = 60  # two of them may take longer

    async def run(self, one: str, other: str) -> bool:
        return await self.get(one) == await self.get(other)


fetch = app.task(Fetch)
compare = app.task(Compare, name="web.compare")


async def main() -> None:
    async with app, app.open_worker(slots=4):
        print(await fetch.run("https://a"))
        print(await compare.run("https://a", other="https://b"))


if __name__ == "__main__":
    anyio.run(main)
