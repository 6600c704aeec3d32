"""`nursery-tasks events`: what has happened, from the log of events, and what happens."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from .. import App
from ..client.following import EventStream
from ..events import JobEvent
from ..observability.logging import in_words, to_json
from ..shown import visible_lines
from .broker import find_app
from .ids import find_ids, short_id
from .loops import Stopped, run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import clock_time, note, visible, write_json_line, write_line
from .trouble import OK, USAGE, Trouble, Verbosity

_AGO: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_TODAY_SECONDS: Final = 12 * 3_600  # what is older is shown with its day


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only events of this job; six digits of its id do.")] = None,
    task: Annotated[str | None, typer.Option(help="Only events of this task, or of those that fit: 'mail.*'.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="Only this kind, or ended for all ends; repeatable."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="start, now, 10m (s, m, h, d), a moment in ISO 8601, or a cursor. Default: start; with -f now."
        ),
    ] = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show what has happened to jobs, a line for each event: of all programs on the broker that have an `event_log`."""
    begin = _to_since(since or ("now" if follow else "start"))
    try:
        return run_until_signal(_show, find_app(broker, app), follow, job, task, kind or [], begin, as_json)
    except Stopped as stopped:
        if not follow:
            raise
        return stopped.code  # quietly: this is how it ends


async def _show(
    app: App, follow: bool, job: str | None, task: str | None, kinds: list[str], since: str | datetime, as_json: bool
) -> int:
    async with app:
        if job is not None:
            [job] = await find_ids(app, [job])
        async with app.follow(job=job, task=task, kinds=kinds, since=since) as stream:
            try:
                shown = await _write_all(stream, as_json)
                if follow:
                    async for event in stream:
                        _write(event, as_json)
            finally:
                if follow:
                    note(f"go on with: --since {stream.cursor}")
        if not shown and not follow:
            note("no such events" if job or task or kinds else "no events; App(event_log=timedelta(days=1)) keeps them")
    return OK


async def _write_all(stream: EventStream, as_json: bool) -> int:
    """Write what is there now."""
    shown = 0
    while (events := await stream.read()) is not None:
        for event in events:
            _write(event, as_json)
        shown += len(events)
    return shown


def _write(event: JobEvent, as_json: bool) -> None:
    if as_json:
        write_json_line(to_json(event))
        return
    what, detail = in_words(event)
    job_id = visible(short_id(event.job_id)) or "-"
    write_line(f"{_moment(event.at)}  {job_id}  {visible(event.task)}  {what:<9}  {detail}".rstrip(), painted=True)
    if Verbosity.tracebacks and event.remote_traceback:
        write_line(f"    {visible_lines(event.remote_traceback.rstrip())}", painted=True)


def _moment(at: float) -> str:
    if abs(time.time() - at) < _TODAY_SECONDS:
        return clock_time(at)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _to_since(given: str) -> str | datetime:
    """Read where to begin.

    Raises:
        Trouble: It is a moment, and none that can be read.
    """
    if ago := _AGO.fullmatch(given):
        return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    if not re.match(r"\d{4}-\d\d-\d\d", given):
        return given
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise Trouble(f"--since {given} is no moment", "write it as 2026-01-31T08:00, in local time", code=USAGE) from None
    return moment if moment.tzinfo is not None else moment.astimezone()
