"""Raw tasks that run in processes, where they are found by importing this module."""

from __future__ import annotations

from typing import Any

from nursery_tasks import App


def turn(body: bytes) -> bytes:
    return body[::-1]


def shout(body: str) -> str:
    return body.upper()


def double(body: dict[str, int]) -> list[Any]:
    return [body["n"], 2 * body["n"]]


def in_process_app(url: str) -> App:
    """Register them in an app on this broker; a process makes one, too, when it imports this."""
    app = App(url)
    for function, queue in ((turn, "bodies"), (shout, "texts"), (double, "objects")):
        app.task(run_in="process", queue=queue, raw=True, reply_to="answers")(function)
    return app


app = in_process_app("memory:")
