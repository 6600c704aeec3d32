"""`nursery-tasks jobs`: a list of jobs, or all about one."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from .. import App, JobInfo
from ..client.data import job_data, short_type
from ..errors import UnknownJob
from ..model.states import JobState
from ..observability.logging import duration
from .broker import find_app
from .ids import find_ids, short_id
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import ago, moment, note, shown_width, write_facts, write_json, write_table
from .trouble import OK, one_line

_DETAIL_WIDTH = 60
_WIDE_ENOUGH = 120  # columns for whole ids; narrower terminals get their ends, which every command takes
_TASK_WIDTH = 16
_QUEUE_WIDTH = 12
_LEAST_DETAIL = 12
_BODY_WIDTH = 1_000

StatesOption = Annotated[list[JobState] | None, typer.Option("--state", help="Only jobs in this state; can be repeated.")]


def jobs(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show all about this job; six digits of its id do.")
    ] = None,
    state: StatesOption = None,
    queue: Annotated[str | None, typer.Option(help="Only jobs of this queue.")] = None,
    task: Annotated[str | None, typer.Option(help="Only jobs of this task.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="Only jobs that this job submitted.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    newest: Annotated[bool, typer.Option("--newest", help="Begin with the newest.")] = False,
    after: Annotated[int, typer.Option(metavar="CURSOR", help="Go on after this place in the list.")] = 0,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """List jobs in the order of their submission, or show all about one."""
    found = find_app(broker, app)
    if job_id is not None:
        return run_until_signal(_show_one, found, job_id, as_json)
    wanted = {"states": state or (), "queue": queue, "task": task, "tag": tag, "parent": parent}
    return run_until_signal(_show_list, found, wanted, limit, after, newest, as_json)


async def _show_list(app: App, wanted: dict[str, Any], limit: int, after: int, newest: bool, as_json: bool) -> int:
    async with app:
        found = await app.jobs.list(**wanted, limit=limit + 1, after=after, newest_first=newest)
    more, records = len(found) > limit, found[:limit]
    if as_json:
        write_json({"jobs": [job_data(record) for record in records], "next_cursor": records[-1].cursor if more else None})
        return OK
    if records:
        _write_list(records, time.time())
    if more:
        note(f"there are more:{' --newest' if newest else ''} --after {records[-1].cursor}")
    elif not records:
        note("no such jobs" if any(wanted.values()) or after else "no jobs")
    return OK


def _write_list(records: list[JobInfo], now: float) -> None:
    if shown_width() >= _WIDE_ENOUGH:
        columns = ["id", "task", "queue", "state", "attempts", "created", "detail"]
        rows = [
            [
                record.id,
                _task(record),
                record.queue,
                _state(record),
                str(record.attempts),
                ago(record.created_at, now),
                one_line(_detail(record, now), _DETAIL_WIDTH),
            ]
            for record in records
        ]
        write_table(columns, rows, right=["attempts"], fold=["detail"])
        return
    queues = len({record.queue for record in records}) > 1  # else it says nothing
    columns = ["id", "task", *(["queue"] if queues else []), "state", "age", "detail"]
    rows = [
        [
            short_id(record.id),
            one_line(_task(record), _TASK_WIDTH),
            *([one_line(record.queue, _QUEUE_WIDTH)] if queues else []),
            "unresponsive" if record.unresponsive else str(record.state),
            duration(max(0.0, now - record.created_at)),
            one_line((f"attempt {record.attempts}, " if record.attempts > 1 else "") + _detail(record, now), _DETAIL_WIDTH),
        ]
        for record in records
    ]
    taken = sum(max(len(cell) for cell in cells) + 2 for cells in zip(*[columns, *rows], strict=True)) - max(
        len(row[-1]) for row in [columns, *rows]
    )
    left = max(_LEAST_DETAIL, shown_width() - taken)
    write_table(columns, [[*row[:-1], one_line(row[-1], left)] for row in rows])


def _task(record: JobInfo) -> str:
    """Return the task's name, where another program has said one."""
    return record.task or ("(raw)" if record.raw else "(unreadable)")


def _state(record: JobInfo) -> str:
    return f"{record.state}, unresponsive" if record.unresponsive else str(record.state)


def _detail(record: JobInfo, now: float) -> str:
    """Say what a person wants to know of a job in this state."""
    data = job_data(record)
    error = f"{short_type(data['error']['type'])}: {data['error'].get('text', '')}" if "error" in data else ""
    match record.state:
        case JobState.SCHEDULED if record.is_paused:
            return "paused"
        case JobState.SCHEDULED if record.parked:
            return f"waits for a worker that knows {record.parked}"
        case JobState.SCHEDULED:
            return f"due {ago(record.due_at, now)}" + (f" after {error}" if error else "")
        case JobState.SUCCEEDED:
            return json.dumps(data.get("result"), ensure_ascii=False)
        case JobState.STARTED:
            running = f"for {duration(now - record.started_at)} on {record.worker}" if record.started_at else ""
            return f"{running}, {json.dumps(data['progress'])}" if "progress" in data else running
        case JobState.FAILED:
            return error
        case JobState.READY if record.waits_for:
            return f"waits for its limit {record.waits_for}"
        case _:
            return ": ".join(filter(None, (data.get("reason", ""), error)))


async def _show_one(app: App, given: str, as_json: bool) -> int:
    async with app:
        [job_id] = await find_ids(app, [given])
        record = await app.jobs.get(job_id)
        if record is None:
            raise UnknownJob(given)
    data = job_data(record)
    if as_json:
        write_json(data)
    else:
        write_facts(_facts(record, data, time.time()))
    return OK


def _facts(record: JobInfo, data: dict[str, Any], now: float) -> list[tuple[str, str]]:
    facts = [
        ("job", record.id),
        (
            "task",
            f"{record.task}({_arguments(data)})" if "args" in data else _task(record),
        ),
        ("state", _state(record) + (f": {data['reason']}" if "reason" in data else "")),
        ("queue", record.queue + (f", priority {record.priority}" if record.priority else "")),
        ("attempts", str(record.attempts) + (f", {record.crashes} workers died" if record.crashes else "")),
        ("created", moment(record.created_at, now)),
    ]
    if record.waits_for is not None:
        facts.append(("waits for", f"its limit {record.waits_for}"))
    if record.is_paused:
        facts.append(("waits for", "the end of a pause; nursery-tasks paused lists them"))
    elif record.parked is not None:
        facts.append(("waits for", f"a worker that knows {record.parked}, until {moment(record.due_at, now)}"))
    elif record.state is JobState.SCHEDULED:
        facts.append(("due", moment(record.due_at, now)))
    facts += [
        (name, moment(at, now)) for name, at in (("started", record.started_at), ("ended", record.ended_at)) if at is not None
    ]
    if "seconds" in data:
        facts.append(("took", duration(data["seconds"])))
    facts += [
        (name, value) for name, value in (("worker", record.worker), ("key", record.key), ("parent", record.parent)) if value
    ]
    if "undecodable" in data and record.state is not JobState.DEAD:  # else its reason says so
        facts.append(("message", data["undecodable"]))
    if "body" in data or "body_base64" in data:
        facts.append(_body(data))
    if "tags" in data:
        facts.append(("tags", ", ".join(data["tags"])))
    if "headers" in data:
        facts.append(("headers", ", ".join(f"{name}: {value}" for name, value in data["headers"].items())))
    if record.owned:
        facts.append(("owned", "it ends with whoever awaits it"))
    if record.cancel_reason is not None and not record.state.ended:
        facts.append(("cancel", f"asked for: {record.cancel_reason or 'no reason given'}"))
    facts += [(name, json.dumps(data[name], ensure_ascii=False)) for name in ("progress", "result") if name in data]
    if "error" in data:
        error = data["error"]
        facts.append(("error" if record.state.ended else "last error", f"{error['type']}: {error.get('text', '')}"))
        if error.get("traceback"):
            facts.append(("traceback", error["traceback"].rstrip()))
    return facts


def _body(data: dict[str, Any]) -> tuple[str, str]:
    name = "body" if "body" in data else "body_base64"
    text: str = data[name]
    shown = json.dumps(text[:_BODY_WIDTH], ensure_ascii=False) if name == "body" else text[:_BODY_WIDTH]
    more = f" ... {len(text) - _BODY_WIDTH:,} characters more, see --json" if len(text) > _BODY_WIDTH else ""
    return name.replace("_", ", "), shown + more


def _arguments(data: dict[str, Any]) -> str:
    shown = [json.dumps(value, ensure_ascii=False) for value in data["args"]]
    shown += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in data["kwargs"].items()]
    return ", ".join(shown)
