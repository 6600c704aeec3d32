"""An app whose jobs come from other programs, for a real worker."""

from __future__ import annotations

import os
from dataclasses import dataclass

from nursery_tasks import App

app = App(os.environ["NURSERY_TASKS_BROKER"])


@dataclass
class Order:
    what: str
    count: int = 1


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task
async def fail() -> None:
    raise ValueError("no such file")


@app.task(queue="notes", raw=True, reply_to="notes-answers")
async def note(body: bytes) -> str:
    return f"res-{body.decode()}"


@app.task(queue="orders", raw=True, reply_to="order-answers")
def order(body: Order) -> dict[str, int]:
    return {body.what: body.count}
