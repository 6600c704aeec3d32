"""An app with a task of each kind that the door meets."""

from __future__ import annotations

import anyio

from nursery_tasks import App, current_job


class Told(Exception):
    """An error whose class nobody has registered."""


def make_app(given: App | str = "memory:") -> App:
    """Make an app, not open, or give its tasks to one."""
    app = App(given) if isinstance(given, str) else given
    app.queue("small", max_length=1)

    @app.task
    async def add(a: int, b: int = 0) -> int:
        """Add two numbers.

        They may be negative.
        """
        return a + b

    @app.task
    async def echo(value: object) -> object:
        return value

    @app.task
    async def nap(seconds: float) -> str:
        await anyio.sleep(seconds)
        return current_job().id

    @app.task
    async def stubborn(seconds: float) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(seconds)

    @app.workflow
    async def night(naps: int) -> int:
        async with app.create_task_group() as group:
            for _ in range(naps):
                group.start_soon(nap, 60.0)
        return naps

    @app.task
    async def bad(text: str = "no good") -> None:
        raise Told(text)

    @app.task(timeout=0.05)
    async def late() -> None:
        await anyio.sleep(60)

    @app.task(queue="small")
    async def tight(number: int) -> int:
        return number

    return app
