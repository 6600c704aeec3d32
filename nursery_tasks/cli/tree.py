"""`nursery-tasks tree`: a job with all that it has started, live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Final

import typer
from anyio import sleep

from .. import App, JobInfo
from ..client.data import job_data
from ..client.tree import MOST, Node, read_tree
from ..model.states import JobState
from ..observability.logging import duration
from ..workflows import RECORDS
from .broker import find_app
from .ids import find_ids
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import DIM, GREEN, RED, RESET, YELLOW, ago, clock_time, has_colour, note, visible, write_json, write_line
from .trouble import OK

FOLLOW_SECONDS: Final = 0.5
_PART: Final = 8  # digits of an id

_MARKS: Final = {
    JobState.SCHEDULED: ("◷", DIM),
    JobState.READY: ("○", DIM),
    JobState.CLAIMED: ("◌", ""),
    JobState.STARTED: ("●", YELLOW),
    JobState.SUCCEEDED: ("✔", GREEN),
    JobState.FAILED: ("✘", RED),
    JobState.CANCELLED: ("⊘", DIM),
    JobState.EXPIRED: ("⊘", DIM),
    JobState.DEAD: ("✘", RED),
}


def tree(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job at the top; six digits of its id do.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Draw it anew until the job has ended.")] = False,
    running: Annotated[bool, typer.Option("--running", help="Leave out what has ended.")] = False,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Draw a job with all that it has started: state, age, deadline, attempt, worker, and where a leaf waits.

    `nursery-tasks cancel` works on every node, and takes along what that one awaits.
    """
    return run_until_signal(_tree, find_app(broker, app), job_id, follow, running, as_json)


async def _tree(app: App, given: str, follow: bool, running: bool, as_json: bool) -> int:
    async with app:
        [job_id] = await find_ids(app, [given])
        if not follow:
            top, left = await read_tree(app.jobs, job_id)
            _write(top, left, running, as_json)
        elif as_json or not sys.stdout.isatty():
            await _follow_plainly(app, job_id, running, as_json)
        else:
            await _follow_live(app, job_id, running)
    return OK


async def _follow_plainly(app: App, job_id: str, running: bool, as_json: bool) -> None:
    """Write the tree whenever it has changed: for a pipe."""
    before: object = None
    while True:
        top, left = await read_tree(app.jobs, job_id)
        states = [(node.record.id, node.record.state, node.record.attempts) for node in _all(top)]
        if states != before:
            _write(top, left, running, as_json)
            sys.stdout.flush()
            before = states
        if top.record.state.ended:
            return
        await sleep(FOLLOW_SECONDS)


async def _follow_live(app: App, job_id: str, running: bool) -> None:
    """Draw the tree in one place of the terminal."""
    from rich.live import Live  # late: the other commands need none
    from rich.text import Text

    with Live(auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            top, left = await read_tree(app.jobs, job_id)
            lines = [*draw(top, time.time(), has_colour(sys.stdout), running), *_more(left)]
            live.update(Text.from_ansi("\n".join(lines)), refresh=True)
            if top.record.state.ended:
                return
            await sleep(FOLLOW_SECONDS)


def _write(top: Node, left: int, running: bool, as_json: bool) -> None:
    if as_json:
        write_json(top.to_data())
        return
    for line in draw(top, time.time(), has_colour(sys.stdout), running):
        write_line(line, painted=True)
    for line in _more(left):
        note(line)


def _more(left: int) -> list[str]:
    return [f"only the first {MOST:,} jobs are drawn"] if left else []


def draw(top: Node, now: float, colour: bool = False, running: bool = False) -> list[str]:
    """Draw a tree, one line for each job.

    Args:
        running: Leave out what has ended, with all below it.
    """
    return [_line(top, now, colour), *_branches(top, "", now, colour, running)]


def _branches(node: Node, indent: str, now: float, colour: bool, running: bool) -> Iterator[str]:
    shown = [child for child in node.children if not running or not child.record.state.ended]
    for place, child in enumerate(shown):
        is_last = place == len(shown) - 1
        yield f"{indent}{'└── ' if is_last else '├── '}{_line(child, now, colour)}"
        yield from _branches(child, indent + ("    " if is_last else "│   "), now, colour, running)


def _line(node: Node, now: float, colour: bool) -> str:
    record = node.record
    mark, paint = _MARKS[record.state]
    facts = [
        f"{record.state}{', unresponsive' if record.unresponsive else ''}",
        _age(record, now),
        _deadline(record, now),
        f"attempt {record.attempts}" if record.attempts > 1 else "",
        f"on {record.worker}" if record.worker and not record.state.ended else "",
        "" if record.owned or record.parent is None else "detached",
        _waits(node, now),
    ]
    text = visible(", ".join(fact for fact in facts if fact))
    head = f"{paint}{mark}{RESET}" if colour and paint else mark
    tail = f"{DIM}{text}{RESET}" if colour else text
    return f"{head} {visible(f'{record.task} {record.id[-_PART:]}')}  {tail}"


def _age(record: JobInfo, now: float) -> str:
    if record.state.ended:
        began, ended = record.started_at or record.created_at, record.ended_at
        return "" if ended is None or ended <= began else f"took {duration(ended - began)}"
    if record.state is JobState.SCHEDULED:
        return f"due {ago(record.due_at, now)}"
    return f"for {duration(max(0.0, now - (record.started_at or record.created_at)))}"


def _deadline(record: JobInfo, now: float) -> str:
    if record.state.ended or not record.owned:
        return ""
    remaining = None if record.message is None else record.message.remaining
    return "" if remaining is None else f"deadline {ago(record.created_at + remaining, now)}"


def _waits(node: Node, now: float) -> str:
    """Say where a job that runs is waiting, or how it has ended, as far as that can be known."""
    record = node.record
    data = job_data(record)
    if record.state.ended:
        if record.task.startswith("sleep:") and record.outcome is not None:
            until = _moment_of(record)
            return f"until {clock_time(until)}" if until > now else ""
        error = data.get("error", {}).get("type", "").rpartition(".")[2]
        return " ".join(filter(None, (data.get("reason", ""), error)))
    if record.cancel_reason is not None:
        return f"told to end{f': {record.cancel_reason}' if record.cancel_reason else ''}"
    if record.state is not JobState.STARTED:
        return ""
    awaited = [child.record for child in node.children if child.record.owned and not _is_record(child.record)]
    open_children = sum(not child.state.ended for child in awaited)
    facts = [f"waits for {open_children} of {len(awaited)}" if open_children else "", _event_of(node), _sleep_of(node, now)]
    if any(facts):
        return ", ".join(filter(None, facts))
    return f"says {data['progress']!r}" if "progress" in data else ""


def _is_record(record: JobInfo) -> bool:
    """Say whether it is something that a durable workflow has recorded, and no job."""
    return record.state.ended and record.task.partition(":")[0] in RECORDS


def _event_of(node: Node) -> str:
    """Say which event a durable workflow waits for: the n-th wait for a name gets the n-th event of that name."""
    tasks = [child.record.task for child in node.children]
    for child in reversed(node.children):
        kind, _, name = child.record.task.partition(":")
        if kind == "wait" and _is_record(child.record) and tasks.count(child.record.task) > tasks.count(f"event:{name}"):
            until = _moment_of(child.record)
            return f"waits for the event {name!r}{f' until {clock_time(until)}' if until else ''}"
    return ""


def _sleep_of(node: Node, now: float) -> str:
    sleeps = [child.record for child in node.children if child.record.task.startswith("sleep:")]
    return f"sleeps until {clock_time(until)}" if sleeps and (until := _moment_of(sleeps[-1])) > now else ""


def _moment_of(record: JobInfo) -> float:
    return record.result or 0.0


def _all(top: Node) -> Iterator[Node]:
    yield top
    for child in top.children:
        yield from _all(child)
