"""`nursery-tasks queues`: what waits where, and who may take it."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

import msgspec
import typer

from .. import App
from ..model.listing import QueueRecord, TransportQueue
from ..model.options import check_queue
from ..model.states import JobState
from .broker import ask, find_app, note
from .limits import limit_text
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import write_json, write_table
from .records import queue_data
from .trouble import OK

_LIMITS_SHOWN: Final = 50


def queues(
    pause: Annotated[list[str] | None, typer.Option("--pause", metavar="NAME", help="Let no worker take jobs from it.")] = None,
    resume: Annotated[list[str] | None, typer.Option("--resume", metavar="NAME", help="Undo --pause.")] = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show how many jobs of each queue are in which state. A paused queue takes jobs and gives none. Below: limits in use."""
    for option, names in (("--pause", pause), ("--resume", resume)):
        for name in names or ():
            check_queue(option, name)
    return run_until_signal(_queues, find_app(broker, app), pause or [], resume or [], as_json)


async def _queues(app: App, pause: list[str], resume: list[str], as_json: bool) -> int:
    async with app:
        admin = app.connection.gateway.admin
        for name in pause:
            await ask(app, admin.pause, name)
        for name in resume:
            await ask(app, admin.resume, name)
        records = await ask(app, admin.queues)
        messages = await _messages(app, records)
        limits = await app.limits(_LIMITS_SHOWN)
    if as_json:
        write_json([queue_data(record) | _message_data(messages.get(record.name)) for record in records])
    elif records:
        _write(records)
        if messages:
            _write_messages(messages)
        for limit in limits:
            note(f"limit {limit_text(limit, time.time())}")
    else:
        note("no queues: nothing was submitted yet")
    return OK


async def _messages(app: App, records: list[QueueRecord]) -> dict[str, TransportQueue]:
    """Ask the server that moves the messages, where there is one."""
    gateway = app.connection.gateway
    found = {record.name: await gateway.transport_queue(record.name) for record in records}
    return {name: queue for name, queue in found.items() if queue is not None}


def _message_data(queue: TransportQueue | None) -> dict[str, Any]:
    return {} if queue is None else {"messages": msgspec.to_builtins(queue)}


def _write_messages(messages: dict[str, TransportQueue]) -> None:
    """Show the messages behind the jobs."""

    def shown(value: float | None, unit: str = "") -> str:
        return "" if value is None else f"{value:,.0f}{unit}"

    rows = [
        [
            name,
            shown(queue.ready),
            shown(queue.unacknowledged),
            shown(queue.consumers),
            shown(queue.in_per_second, "/s"),
            shown(queue.out_per_second, "/s"),
            shown(None if queue.memory_bytes is None else queue.memory_bytes / 1024, " KiB"),
        ]
        for name, queue in messages.items()
    ]
    columns = ["messages", "held", "consumers", "in", "out", "memory"]
    sys.stdout.write("\n")
    write_table(["queue", *columns], rows, right=columns)
    sys.stdout.flush()


def _write(records: list[QueueRecord]) -> None:
    states = [state for state in JobState if any(record.counts.get(state) for record in records)]
    rows = [
        [record.name, "paused" if record.paused else "", *(f"{record.counts.get(state, 0):,}" for state in states)]
        for record in records
    ]
    write_table(["queue", "", *map(str, states)], rows, right=[str(state) for state in states])
    sys.stdout.flush()
