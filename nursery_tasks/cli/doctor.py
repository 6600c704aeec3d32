"""`nursery-tasks doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Final

from .. import App, QueueInfo, __version__
from ..errors import NotSupported
from ..model.listing import WorkerRecord
from ..model.states import HELD, JobState
from ..observability.logging import duration
from ..shown import command_line
from .broker import ask, find_app, missing_file
from .findings import RUN, Finding, Level, is_gone
from .ids import each_job
from .limits import limit_text
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .outboxes import look_at_outboxes
from .output import GREEN, RED, RESET, YELLOW, has_colour, plural, visible, write_json, write_line
from .pausing import command_to_resume, pause_text
from .schedules.health import look_at_schedules
from .trouble import FAILED, OK, as_trouble

_LONG_WAIT_SECONDS: Final = 60.0  # a job that has waited longer for nobody is worth a word
_SKEW_SECONDS: Final = 2.0
_HELD_LOOKED_AT: Final = 10_000  # jobs
_WORKERS_SHOWN: Final = 64
_SHOWN: Final = 20  # limits, and locks


_NO_WORKER: Final = Finding(Level.PROBLEM, "workers", "none is running: jobs are accepted, and wait", RUN)


def doctor(
    broker: BrokerOption = None, app: AppOption = None, as_json: JsonOption = False, verbose: VerboseOption = False
) -> int:
    """Look whether everything is in place: Python, event loops, the broker, workers, waiting and dead jobs.

    Changes nothing, and makes no database where there is none. Exit code 1 when there is a problem, and none running is one.
    """
    findings = [look_at_python(), look_at_loops()]
    try:
        findings += _look_at_jobs(find_app(broker, app, create=True))
    except Exception as error:  # not only ours: an app that cannot be imported is a finding, too
        findings.append(_problem(error))
    if as_json:
        write_json({"ok": not _has_problem(findings), "findings": [asdict(finding) for finding in findings]})
    else:
        _write(findings)
    return FAILED if _has_problem(findings) else OK


def look_at_python() -> Finding:
    """Say what runs here."""
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("anyio", "msgspec", "apsw"))
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return Finding(Level.OK, "python", f"{version}, nursery-tasks {__version__}, {libraries}")


def look_at_loops() -> Finding:
    """Say which event loops there are."""
    found, missing = ["asyncio"], list[str]()
    for library in ("uvloop", "trio"):
        try:
            found.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(library)
    step = f"for {' and '.join(missing)}: python -m pip install {' '.join(missing)}" if missing else ""
    return Finding(Level.OK, "event loops", ", ".join(found), step)


def _look_at_jobs(app: App) -> list[Finding]:
    missing = missing_file(app.url)
    if missing is None:
        return run_until_signal(_look_inside, app)
    if not os.access(missing.parent, os.W_OK | os.X_OK):
        text = f"{missing} does not exist, and cannot be made in this directory"
        return [Finding(Level.PROBLEM, "broker", text, f"see ls -ld {missing.parent}")]
    text = f"{app.shown_url}: there is no database {missing} yet"
    step = f"{RUN} makes it, and so does the first job; or name another --broker"
    return [Finding(Level.WARNING, "broker", text, step), _NO_WORKER]


async def _look_inside(app: App) -> list[Finding]:
    findings: list[Finding] = []
    async with app:
        try:
            _ = app.connection.gateway.admin
        except NotSupported as missing:
            server = await _guarded(_look_at_server, app)
            return [*server, Finding(Level.OK, "jobs", "cannot be listed", missing.step), *await _look_at_channels(app)]
        for look in _LOOKS:
            findings += await _guarded(look, app)
    return findings


async def _look_at_server(app: App) -> list[Finding]:
    """Look at a broker that knows nothing of its jobs."""
    facts = ", ".join(f"{name} {fact}" for name, fact in (await app.describe_broker()).items())
    return [Finding(Level.OK, "broker", f"{app.shown_url} can be used"), Finding(Level.OK, "storage", facts)]


async def _look_at_channels(app: App) -> list[Finding]:
    return [
        Finding(Level.OK, f"channel {state.name}", f"{state.url}: {state.text}")
        if state.up
        else Finding(Level.PROBLEM, f"channel {state.name}", f"{state.url}: {state.text}", "its stages wait until it is back")
        for state in await app.channels.check()
    ]


async def _guarded(look: Callable[[App], Awaitable[list[Finding]]], app: App) -> list[Finding]:
    """One thing that cannot be looked at does not hide the others."""
    try:
        return await look(app)
    except Exception as error:
        return [_problem(error)]


def _problem(error: Exception) -> Finding:
    trouble = as_trouble(error)
    return Finding(Level.PROBLEM, "broker", trouble.lines[0], "; ".join(trouble.lines[1:]))


async def _look_at_broker(app: App) -> list[Finding]:
    facts = await app.describe_broker()
    began = time.monotonic()
    await _beat(app, 0.0)  # takes away what is not there: a write that changes nothing
    text = f"{app.shown_url} can be read and written ({duration(time.monotonic() - began)})"
    return [
        Finding(Level.OK, "broker", text),
        *([Finding(Level.OK, "storage", ", ".join(f"{name} {fact}" for name, fact in facts.items()))] if facts else []),
    ]


async def _look_at_clock(app: App) -> list[Finding]:
    """Have the broker stamp a heartbeat, and compare."""
    await _beat(app, _SKEW_SECONDS)
    try:
        stamps = [worker.seen_at for worker in await app.workers() if worker.name == _own_name()]
    finally:
        await _beat(app, 0.0)
    skew = stamps[0] - time.time() if stamps else 0.0
    if abs(skew) < _SKEW_SECONDS:
        return [Finding(Level.OK, "clock", "the broker's and this machine's agree")]
    which = "ahead of" if skew > 0 else "behind"
    text = f"the broker's is {duration(abs(skew))} {which} this machine's; delays count on the broker's"
    return [
        Finding(Level.WARNING, "clock", text, "was this machine's clock set back? it catches up by itself; see timedatectl")
    ]


async def _look_at_workers(app: App) -> list[Finding]:
    workers = await app.workers()
    findings = [_stale(worker) for worker in workers if is_gone(worker)]
    live = [worker for worker in workers if not is_gone(worker)]
    if not any(worker.jobs for worker in live):
        findings.insert(0, _NO_WORKER)
    for worker in live[:_WORKERS_SHOWN]:
        queues = ", ".join(queue for queue in worker.queues if "@" not in queue)
        process = f"process {worker.pid}" + (f", of {worker.group}" if worker.group else "")
        busy = f"{len(worker.running)} of {worker.slots} slots busy, queues {queues}"
        if not worker.jobs:
            busy = "runs schedules, and no jobs"
        elif not worker.schedules:
            busy += "; it runs no schedules"
        findings.append(Finding(Level.OK, "worker", f"{worker.name} ({process}): {busy}"))
    findings += [_unresponsive(worker) for worker in live if worker.unresponsive]
    if len(live) > _WORKERS_SHOWN:
        findings.append(Finding(Level.OK, "worker", f"and {len(live) - _WORKERS_SHOWN} more"))
    return findings


def _unresponsive(worker: WorkerRecord) -> Finding:
    count = len(worker.unresponsive)
    handlers = "1 handler that was cancelled does not end" if count == 1 else f"{count} handlers that were cancelled do not end"
    text = f"{worker.name}: {handlers}, such as that of job {worker.unresponsive[0]}; each costs a slot"
    where = f"kill -TERM {worker.pid}" + ("" if worker.node == socket.gethostname() else f" on {worker.node}")
    return Finding(
        Level.WARNING, "unresponsive", text, f"its log shows where they hang; restart it to have the slots back: {where}"
    )


def _stale(worker: WorkerRecord) -> Finding:
    text = f"{worker.name} (process {worker.pid}) is gone and has not said goodbye: it was killed"
    return Finding(Level.WARNING, "worker", text, "its jobs come back when their leases run out, within seconds")


async def _look_at_held(app: App) -> list[Finding]:
    """Find jobs whose worker is not there any more."""
    live = {worker.name for worker in await app.workers() if not is_gone(worker)}
    lost = [job async for job in each_job(app, _HELD_LOOKED_AT, states=HELD) if job.worker not in live]
    if not lost:
        return []
    text = f"{plural(len(lost), 'job')} held by workers that are not there, such as {lost[0].id} by {lost[0].worker}"
    step = "a worker that runs takes them back when their leases run out" + ("" if live else f": {RUN}")
    return [Finding(Level.WARNING, "held", text, step)]


async def _look_at_queues(app: App) -> list[Finding]:
    served = {queue for worker in await app.workers() for queue in worker.queues}
    findings = [await _look_at_queue(app, record, served) for record in await app.queues.list()]
    return findings or [Finding(Level.OK, "queues", "none: nothing was submitted yet")]


async def _look_at_queue(app: App, record: QueueInfo, served: set[str]) -> Finding:
    what, counts = f"queue {record.name}", record.counts
    parts = [f"{counts[state]:,} {state}" for state in JobState if counts.get(state)]
    text = ", ".join(parts) or "empty"
    oldest = await app.jobs.list(states=[JobState.READY], queue=record.name, limit=1)
    waited = max(0.0, time.time() - oldest[0].due_at) if oldest else 0.0
    if oldest:
        text += f"; the oldest waits for {duration(waited)}"
    if record.paused:
        return Finding(Level.WARNING, what, f"paused; {text}", command_line("queues --resume", record.name))
    if oldest and record.name not in served:
        step = command_line("run module:app --queues", record.name)
        return Finding(Level.WARNING, what, f"{text}; no worker serves it", step)
    if oldest and oldest[0].waits_for:
        return Finding(Level.OK, what, f"{text}, for its limit {oldest[0].waits_for}")
    if waited > _LONG_WAIT_SECONDS:
        return Finding(Level.WARNING, what, text, "its workers are busy: more --slots, or one more worker")
    return Finding(Level.OK, what, text)


async def _look_at_pauses(app: App) -> list[Finding]:
    """Say which tasks wait because an operator has paused them."""
    if app.connection.gateway.broker.pauses is None:
        return []
    return [
        Finding(Level.WARNING, "paused", pause_text(record, time.time()), command_to_resume(record))
        for record in (await app.pauses.list())[:_SHOWN]
    ]


async def _look_at_limits(app: App) -> list[Finding]:
    """Say what jobs wait for that is neither a worker nor a time, and who holds or wants a lock."""
    findings = [Finding(Level.OK, "limit", limit_text(record, time.time())) for record in await app.limits(_SHOWN)]
    for lock in await app.locks(_SHOWN):
        held = f"held with token {lock.token}" if lock.token else "free"
        left = duration(max(0.0, lock.until - time.time()))
        text = f"{lock.name}: {held}, {lock.waiting} in line; its lease lasts {left} if nobody renews it"
        findings.append(Finding(Level.OK, "lock", text))
    return findings


async def _look_at_dead(app: App) -> list[Finding]:
    records = await app.queues.list()
    findings: list[Finding] = []
    for state in (JobState.DEAD, JobState.FAILED):
        count = sum(record.counts.get(state, 0) for record in records)
        if count:
            step = f"nursery-tasks jobs --state {state}, then nursery-tasks retry --all-{state}, or purge"
            findings.append(Finding(Level.WARNING, state, plural(count, "job"), step))
    return findings or [Finding(Level.OK, "dead", "no dead and no failed jobs")]


_LOOKS: Final = (
    _look_at_broker,
    _look_at_clock,
    _look_at_workers,
    _look_at_held,
    _look_at_queues,
    look_at_schedules,
    _look_at_pauses,
    _look_at_limits,
    _look_at_dead,
    _look_at_channels,
    look_at_outboxes,
)


async def _beat(app: App, ttl_seconds: float) -> None:
    record = WorkerRecord(name=_own_name(), node=socket.gethostname(), pid=os.getpid())
    await ask(app, app.connection.gateway.admin.beat, record, ttl_seconds)


def _own_name() -> str:
    return f"doctor-{os.getpid()}"


def _has_problem(findings: list[Finding]) -> bool:
    return any(finding.level is Level.PROBLEM for finding in findings)


def _write(findings: list[Finding]) -> None:
    colours: dict[Level, str] = {Level.OK: GREEN, Level.WARNING: YELLOW, Level.PROBLEM: RED}
    colour = has_colour(sys.stdout)
    width = max(len(visible(finding.what)) for finding in findings)
    for finding in findings:
        level = f"{finding.level:<7}"
        if colour:
            level = f"{colours[finding.level]}{level}{RESET}"
        write_line(f"{level}  {visible(finding.what):<{width}}  {visible(finding.text)}", painted=True)
        if finding.step:
            write_line(f"{'':<{9 + width}}  -> {finding.step}")
