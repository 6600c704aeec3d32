"""`nursery-tasks cancel`, `retry` and `purge`: what changes jobs from outside."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from anyio import create_task_group

from .. import App, Purged, RetryAnswer
from ..model.delivery import CancelAnswer
from ..model.states import HELD, WAITING, JobState
from .broker import find_app
from .ids import find_ids
from .loops import run_until_signal
from .options import AppOption, BrokerOption, JsonOption, VerboseOption
from .output import ask_person, note, plural, write_json, write_line
from .trouble import FAILED, OK, USAGE, Trouble

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
_RETRY_WORDS = {
    RetryAnswer.READY: "ready again",
    RetryAnswer.UNKNOWN: "unknown",
    RetryAnswer.NOT_ENDED: "not retried: it is {}",
    RetryAnswer.SUCCEEDED: "not retried: it has succeeded; submit a new job instead",
    RetryAnswer.UNDONE: "not retried: what this workflow had done was undone; submit it anew instead",
    RetryAnswer.KEY_TAKEN: "not retried: another job has its key {!r}",
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
        counts = await app.jobs.cancel(task=task, tag=tag, queue=queue, reason=reason, wait=wait)
    if as_json:
        write_json({str(answer): counts.get(answer, 0) for answer in CancelAnswer})
        return OK
    for answer, words in _CANCEL_WORDS.items():
        if counts.get(answer):
            write_line(f"{plural(counts[answer], 'job')} {words}")
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
            write_line(f"{job_id}  {_CANCEL_WORDS[answers[job_id]]}")
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
    wanted = {"states": states, "queue": queue, "task": task}
    return run_until_signal(_retry, find_app(broker, app), ids or [], wanted, as_json)


async def _retry(app: App, given: list[str], wanted: dict[str, Any], as_json: bool) -> int:
    async with app:
        if given:
            answers = await app.jobs.retry(await find_ids(app, given))
        else:
            answers = await app.jobs.retry(**wanted)
        told = {job_id: await _in_words(app, job_id, answer) for job_id, answer in answers.items()} if given else {}
    retried = [answer is RetryAnswer.READY for answer in answers.values()]
    if as_json:
        write_json([{"id": job_id, "retried": done} for job_id, done in zip(answers, retried, strict=True)])
    elif given:
        for job_id, words in told.items():
            write_line(f"{job_id}  {words}")
    else:
        write_line(f"{plural(sum(retried), 'job')} ready again")
    return FAILED if given and not all(retried) else OK


async def _in_words(app: App, job_id: str, answer: RetryAnswer) -> str:
    info = await app.jobs.get(job_id) if answer in (RetryAnswer.NOT_ENDED, RetryAnswer.KEY_TAKEN) else None
    about = None if info is None else info.key if answer is RetryAnswer.KEY_TAKEN else str(info.state)
    return _RETRY_WORDS[answer].format(about)


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
    purged = run_until_signal(_purge, found, queue, states)
    if as_json:
        beside = {} if purged.messages is None else {"messages": purged.messages}
        write_json({"queue": queue, "states": sorted(states), "purged": purged.jobs, **beside})
    else:
        messages = f" and {plural(purged.messages, 'message')}" if purged.messages else ""
        write_line(f"{plural(purged.jobs, 'job')}{messages} deleted")
    return OK


async def _count(app: App, queue: str, states: frozenset[JobState]) -> int:
    async with app:
        found = [info for info in await app.queues.list(queue) if info.name == queue]
    return sum(
        info.messages.ready if not info.counts and info.messages else sum(info.counts.get(state, 0) for state in states)
        for info in found
    )


async def _purge(app: App, queue: str, states: frozenset[JobState]) -> Purged:
    async with app:
        return await app.queues.purge(queue, states=states)


def confirm(question: str) -> None:
    """Ask whether to delete something.

    Raises:
        Trouble: No; or nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise Trouble(question.replace("delete", "this deletes").replace("?", ""), "say --yes to do so", code=USAGE)
    if ask_person(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Trouble("nothing was deleted")
