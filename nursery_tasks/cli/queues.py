"""`nursery-tasks queues`: what waits where, and who may take it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from .. import App, QueueInfo
from ..client.data import queue_data
from ..errors import BrokerUnreachable
from ..model.listing import TransportQueue
from ..model.options import check_queue
from ..model.states import JobState
from .broker import find_app
from .limits import limit_text
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .outboxes import list_outboxes, outbox_text
from .output import note, write_json, write_line, write_table
from .pausing import pause_text
from .trouble import OK, USAGE, Trouble

_SHOWN: Final = 50  # limits, and pauses


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
    """Show how many jobs of each queue are in which state. A paused queue takes jobs and gives none.

    Below: limits in use, tasks that are paused (their jobs count as scheduled once a worker has met them), and messages that
    wait to be sent to channels.

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
        try:
            found = await app.queues.list(*changes.create)
        except BrokerUnreachable:
            if not changes.delete:
                raise
            found = []  # what was asked for is done; which queues are left the server does not say
        limits = await app.limits(_SHOWN)
        outboxes = await list_outboxes(app)
        pauses = [] if app.connection.gateway.broker.pauses is None else await app.pauses.list()
    if as_json:
        write_json([queue_data(info) for info in found])
    elif found or changes.delete:
        records = [info for info in found if info.counts or info.paused]
        messages = {info.name: info.messages for info in found if info.messages is not None}
        if records:
            _write(records)
        if records and messages:
            write_line()
        if messages:
            _write_messages(messages)
        for limit in limits:
            note(f"limit {limit_text(limit, time.time())}")
        for outbox in outboxes:
            note(f"outbox {outbox.destination}: {outbox_text(outbox)}")
        for pause in pauses[:_SHOWN]:
            note(f"paused {pause_text(pause, time.time())}")
    else:
        note("no queues: nothing was submitted yet")
    return OK


async def _change(app: App, changes: Changes) -> None:
    await app.queues.pause(*changes.pause)
    await app.queues.resume(*changes.resume)
    for name in changes.create:
        made = await app.queues.create(name)
        note(f"queue {name!r} {'made' if made else 'was there already'}")
    for name in changes.delete:
        if not await app.queues.delete(name, force=changes.force):
            raise Trouble(f"there is no queue {name!r}", "nursery-tasks queues lists those that have jobs")
        note(f"queue {name!r} deleted")


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


def _write(records: list[QueueInfo]) -> None:
    states = [state for state in JobState if any(record.counts.get(state) for record in records)]
    bounds = ["max length"] if any(record.max_length for record in records) else []  # as the app of --app declares it
    rows = [
        [
            record.name,
            "paused" if record.paused else "",
            *(f"{record.counts.get(state, 0):,}" for state in states),
            *("" if record.max_length is None else f"{record.max_length:,}" for _ in bounds),
        ]
        for record in records
    ]
    write_table(["queue", "", *map(str, states), *bounds], rows, right=[*map(str, states), *bounds])
    sys.stdout.flush()
