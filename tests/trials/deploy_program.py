"""Two versions of one module, side by side, as in a rolling deploy: `python deploy_program.py old|new` is a worker of one."""

from __future__ import annotations

import sys

import anyio

from nursery_tasks import App


def make_app(version: str, url: str | None = None) -> App:
    """Return the app as one of the two versions of the program has it."""
    app = App(url)

    @app.task
    async def both(number: int) -> str:
        return f"{version} {number}"

    if version == "new":

        @app.task
        async def fresh(number: int) -> str:
            return f"{version} {number}"

        @app.task(run_in="thread")
        def changed(number: int, scale: int) -> str:
            return f"{version} {number * scale}"

        @app.task
        async def scaled(value: int, scale: int) -> int:
            return value * scale

        @app.task(name="retyped")
        async def retyped_in_new(order: list[int]) -> str:
            return f"{version} {sum(order)}"

    else:

        @app.task(name="changed", run_in="thread")
        def changed_in_old(number: int) -> str:
            return f"{version} {number}"

        @app.task(name="scaled")
        async def scaled_in_old(value: int) -> int:
            return value

        @app.task(name="retyped")
        async def retyped_in_old(order: int) -> str:
            return f"{version} {order}"

    return app


async def main(version: str) -> None:
    app = make_app(version)
    async with app, app.open_worker(slots=10):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
