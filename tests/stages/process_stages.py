"""Handlers that run in processes, where they are found by importing this module."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from nursery_tasks import App
from nursery_tasks.channels import ChannelMessage
from nursery_tasks.testing.channels import MemoryChannel


def turn(body: bytes) -> bytes:
    return body[::-1]


def sign(given: ChannelMessage) -> ChannelMessage:
    return msgspec.structs.replace(given, headers={**given.headers, "seen": "yes"}, id=None)


def halve(number: int) -> Iterator[int]:
    yield from (number // 2, number - number // 2)


def count(number: int) -> Iterator[int]:
    yield from range(number)


def count_until_told(number: int) -> Iterator[int]:
    """Count without an end; `number` is what a message has to say."""
    while True:
        yield number
        number += 1


def count_to_what_cannot_travel(number: int) -> Iterator[object]:
    yield from range(number)
    yield object()
    yield from range(number)


channel = MemoryChannel()
app = App("memory:", channels={"a": channel})
app.handler("a:bodies", reply="a:turned", run_in="process")(turn)
app.handler("a:messages", reply="a:signed", run_in="process")(sign)
app.handler("a:numbers", reply="a:halves", run_in="process", many=True)(halve)
app.handler("a:counts", reply="a:counted", run_in="process", many=True)(count)
app.handler("a:endless", reply="a:endlessly", run_in="process", many=True, timeout=2)(count_until_told)
app.handler("a:odd", reply="a:oddly", run_in="process", many=True)(count_to_what_cannot_travel)
