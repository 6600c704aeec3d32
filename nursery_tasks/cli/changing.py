"""`nursery-tasks cancel`, `retry` and `purge`: what changes jobs from outside."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from anyio import create_task_group

from .. import App
from ..model.delivery import CancelAnswer
from ..model.listing import JobFilter, QueueRecord
from ..model.states import ENDED, HELD, WAITING, JobState
from ..workflows import undo_id_of
from .broker import ask, find_app, note
from .ids import each_job, find_ids
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import plural, write_json
from .trouble import FAILED, OK, USAGE, Trouble

_ALL = 1_000_000  # jobs that one command puts back
_CHUNK = 500

OptionalIdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Job ids; six digits from either end do.")
]

_CANCEL_WORDS = {
    CancelAnswer.CANCELLED: "cancelled",
    CancelAnswer.REQUESTED: "asked to stop, still running",
    CancelAnswer.UNRESPONSIVE: "told to stop, but unresponsive",
    CancelAnswer.FINISHED: "had ended already",
    CancelAnswer.UNKNOWN: "unknown",
}


def cancel(
    ids: OptionalIdsArgument = None,
    task: Annotated[str | None, typer.Option(help="All jobs of this task.")] = None,
    tag: Annotated[str | None, typer.Option(help="All jobs with this tag.")] = None,
    queue: Annotated[str | None, typer.Option(help="All jobs of this queue.")] = None,
    reason: Annotated[str | None, typer.Option(help="Told to the job, and kept.")] = None,
    wait: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="How long to wait for running ones to end.")] = 5.0,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Cancel jobs: those that wait will never start, those that run are told and leave at their next await.

    With --task, --tag and --queue all jobs that have not ended and for which all of these hold.
    """
    by_filter = not task is tag is queue is None
    if bool(ids) == by_filter:
        raise Trouble("it wants either ids, or --task, --tag or --queue", "see nursery-tasks jobs", code=USAGE)
    found = find_app(broker, app)
    if ids:
        return run_until_signal(_cancel, found, ids, reason, wait, as_json)
    return run_until_signal(_cancel_all, found, task, tag, queue, reason, wait, as_json)


async def _cancel_all(
    app: App, task: str | None, tag: str | None, queue: str | None, reason: str | None, wait: float, as_json: bool
) -> int:
    async with app:
        counts = await app.cancel_jobs(task=task, tag=tag, queue=queue, reason=reason, wait=wait)
    if as_json:
        write_json({str(answer): counts.get(answer, 0) for answer in CancelAnswer})
        return OK
    for answer, words in _CANCEL_WORDS.items():
        if counts.get(answer):
            print(f"{plural(counts[answer], 'job')} {words}")
    if not counts:
        note("no such jobs")
    return OK


async def _cancel(app: App, given: list[str], reason: str | None, wait: float, as_json: bool) -> int:
    answers: dict[str, CancelAnswer] = {}
    async with app:
        ids = await find_ids(app, given)

        async def cancel_one(job_id: str) -> None:
            answers[job_id] = await app.handle(job_id).cancel(reason, wait=wait)

        async with create_task_group() as cancelling:
            for job_id in ids:
                cancelling.start_soon(cancel_one, job_id)
    if as_json:
        write_json([{"id": job_id, "answer": answers[job_id]} for job_id in ids])
    else:
        for job_id in ids:
            print(f"{job_id}  {_CANCEL_WORDS[answers[job_id]]}")
    return FAILED if CancelAnswer.UNKNOWN in answers.values() else OK


def retry(
    ids: OptionalIdsArgument = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All dead jobs.")] = False,
    all_failed: Annotated[bool, typer.Option("--all-failed", help="All failed jobs.")] = False,
    queue: Annotated[str | None, typer.Option(help="With --all-...: only jobs of this queue.")] = None,
    task: Annotated[str | None, typer.Option(help="With --all-...: only jobs of this task.")] = None,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Run jobs again that failed, died, expired or were cancelled, as if they were new."""
    states = frozenset(state for state, wanted in ((JobState.DEAD, all_dead), (JobState.FAILED, all_failed)) if wanted)
    if bool(ids) == bool(states):
        raise Trouble("it wants either ids, or --all-dead or --all-failed", "see nursery-tasks jobs --state dead", code=USAGE)
    return run_until_signal(_retry, find_app(broker, app), ids or [], JobFilter(states=states, queue=queue, task=task), as_json)


async def _retry(app: App, given: list[str], wanted: JobFilter, as_json: bool) -> int:
    answers: dict[str, bool] = {}
    async with app:
        admin = app.connection.gateway.admin
        ids = await find_ids(app, given) if given else [record.id async for record in each_job(app, wanted, _ALL)]
        for begin in range(0, len(ids), _CHUNK):
            chunk = ids[begin : begin + _CHUNK]
            undone = await _undone(app, chunk)
            answers.update(dict.fromkeys(undone, False))
            wanted_ids = [job_id for job_id in chunk if job_id not in undone]
            if wanted_ids:
                answers.update(zip(wanted_ids, await ask(app, admin.requeue, wanted_ids), strict=True))
        refused = {job_id: await _why_not(app, job_id) for job_id in given and ids if not answers[job_id]}
    if as_json:
        write_json([{"id": job_id, "retried": retried} for job_id, retried in answers.items()])
    elif given:
        for job_id in ids:
            print(f"{job_id}  {refused.get(job_id, 'ready again')}")
    else:
        print(f"{plural(sum(answers.values()), 'job')} ready again")
    return FAILED if refused else OK


async def _undone(app: App, ids: list[str]) -> set[str]:
    """Find the durable workflows that have taken back what they did: their function is not run again."""
    found = await app.connection.gateway.outcomes([undo_id_of(job_id) for job_id in ids])
    return {job_id for job_id, undoing in zip(ids, found, strict=True) if undoing is not None}


async def _why_not(app: App, job_id: str) -> str:
    if await _undone(app, [job_id]):
        return "not retried: what this workflow had done was undone; submit it anew instead"
    record = await ask(app, app.connection.gateway.admin.job, job_id)
    if record is None:
        return "unknown"
    if record.state not in ENDED:
        return f"not retried: it is {record.state}"
    if record.state is JobState.SUCCEEDED:
        return "not retried: it has succeeded; submit a new job instead"
    return f"not retried: another job has its key {record.key!r}" if record.key else "not retried"


def purge(
    queue: Annotated[str, typer.Argument(help="The queue's name.")],
    state: Annotated[
        list[JobState] | None,
        typer.Option("--state", help="Jobs in this state; can be repeated; default: scheduled, ready."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Delete jobs of one queue for good. Those that a worker holds are left alone; cancel them.

    With RabbitMQ the messages that wait there go as well, unless --state names other jobs than ready ones.
    """
    states = frozenset(state or WAITING)
    if states & HELD:
        held = " and ".join(sorted(states & HELD))
        raise Trouble(f"jobs that are {held} belong to a worker", "cancel them: nursery-tasks cancel ID", code=USAGE)
    found = find_app(broker, app)
    words = " or ".join(value for value in JobState if value in states)
    if not yes:
        count = run_until_signal(_count, found, queue, states)
        confirm(f"delete {plural(count, 'job')} of queue {queue!r} that {'is' if count == 1 else 'are'} {words}?")
    purged, messages = run_until_signal(_purge, found, queue, states)
    if as_json:
        beside = {} if messages is None else {"messages": messages}
        write_json({"queue": queue, "states": sorted(states), "purged": purged, **beside})
    else:
        print(f"{plural(purged, 'job')}{' and ' + plural(messages, 'message') if messages else ''} deleted")
    return OK


async def _count(app: App, queue: str, states: frozenset[JobState]) -> int:
    async with app:
        gateway = app.connection.gateway
        if gateway.has_only_messages:
            found = await gateway.transport_queue(queue)
            return 0 if found is None else found.ready
        records: list[QueueRecord] = await ask(app, app.connection.gateway.admin.queues)
    return sum(record.counts.get(state, 0) for record in records if record.name == queue for state in states)


async def _purge(app: App, queue: str, states: frozenset[JobState]) -> tuple[int, int | None]:
    """Return how many jobs were deleted, and how many messages; None: jobs are all that there is."""
    purged = 0
    async with app:
        gateway = app.connection.gateway
        if gateway.has_only_messages:
            if JobState.READY not in states:
                raise Trouble("without a store only what waits at the server can be deleted", "leave out --state", code=USAGE)
            return 0, await gateway.drop_messages(queue)
        while count := await ask(app, gateway.admin.purge, queue, states):
            purged += count
        if JobState.READY not in states:
            return purged, None
        return purged, await gateway.drop_messages(queue)


def confirm(question: str) -> None:
    """Ask whether to delete something.

    Raises:
        Trouble: No; or nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise Trouble(question.replace("delete", "this deletes").replace("?", ""), "say --yes to do so", code=USAGE)
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Trouble("nothing was deleted")
