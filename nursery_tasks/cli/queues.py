"""`nursery-tasks queues`: what waits where, and who may take it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
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
from .trouble import OK, USAGE, Trouble

_LIMITS_SHOWN: Final = 50


def queues(
    pause: Annotated[list[str] | None, typer.Option("--pause", metavar="NAME", help="Let no worker take jobs from it.")] = None,
    resume: Annotated[list[str] | None, typer.Option("--resume", metavar="NAME", help="Undo --pause.")] = None,
    create: Annotated[list[str] | None, typer.Option("--create", metavar="NAME", help="Make it at the server.")] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option("--delete", metavar="NAME", help="Delete it at the server, when it is empty and nobody serves it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --delete: with all that waits in it.")] = False,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show how many jobs of each queue are in which state. A paused queue takes jobs and gives none. Below: limits in use.

    With RabbitMQ also the messages at the server, where queues can be created ahead of their workers, and deleted.
    """
    changes = Changes(pause or [], resume or [], create or [], delete or [], force)
    for option, names in (
        ("--pause", changes.pause),
        ("--resume", changes.resume),
        ("--create", changes.create),
        ("--delete", changes.delete),
    ):
        for name in names:
            check_queue(option, name)
    if force and not delete:
        raise Trouble("--force says how to delete, and nothing is deleted", "see --delete", code=USAGE)
    return run_until_signal(_queues, find_app(broker, app), changes, as_json)


@dataclass(frozen=True)
class Changes:
    """What to do to queues before they are shown: their names."""

    pause: list[str]
    resume: list[str]
    create: list[str]
    delete: list[str]
    force: bool


async def _queues(app: App, changes: Changes, as_json: bool) -> int:
    async with app:
        await _change(app, changes)
        records = await _records(app, changes)
        messages = await _messages(app, dict.fromkeys([*await _names(app, changes, records), *changes.create]))
        limits = await app.limits(_LIMITS_SHOWN)
    if as_json:
        known = {record.name for record in records}
        empty = [QueueRecord(name=name, counts={}) for name in messages if name not in known]
        write_json([queue_data(record) | _message_data(messages.get(record.name)) for record in [*records, *empty]])
    elif records or messages or changes.delete:
        if records:
            _write(records)
        if records and messages:
            print()
        if messages:
            _write_messages(messages)
        for limit in limits:
            note(f"limit {limit_text(limit, time.time())}")
    else:
        note("no queues: nothing was submitted yet")
    return OK


async def _records(app: App, changes: Changes) -> list[QueueRecord]:
    """List the queues, with their jobs; a broker without a store knows none."""
    gateway = app.connection.gateway
    if gateway.has_only_messages and not changes.pause and not changes.resume:
        return []
    return await ask(app, gateway.admin.queues)


async def _names(app: App, changes: Changes, records: list[QueueRecord]) -> list[str]:
    """Return the queues whose messages are to be shown; without a store only the server knows all of them."""
    gateway = app.connection.gateway
    if gateway.has_only_messages and not changes.create and not changes.delete:
        return await ask(app, gateway.queue_admin.queue_names)
    return [record.name for record in records]


async def _change(app: App, changes: Changes) -> None:
    gateway = app.connection.gateway
    for name in changes.pause:
        await ask(app, gateway.admin.pause, name)
    for name in changes.resume:
        await ask(app, gateway.admin.resume, name)
    for name in changes.create:
        made = await ask(app, gateway.queue_admin.create_queue, name)
        note(f"queue {name!r} {'made' if made else 'was there already'}")
    for name in changes.delete:
        if not await ask(app, gateway.queue_admin.delete_queue, name, changes.force):
            raise Trouble(f"there is no queue {name!r}", "nursery-tasks queues lists those that have jobs")
        note(f"queue {name!r} deleted")


async def _messages(app: App, names: Iterable[str]) -> dict[str, TransportQueue]:
    """Ask the server that moves the messages, where there is one."""
    gateway = app.connection.gateway
    found = {name: await gateway.transport_queue(name) for name in names}
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
