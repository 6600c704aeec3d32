"""What the demo does once the worker runs: submit, watch, interfere, and bring the results together."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from anyio import create_task_group, fail_after, move_on_after

from ... import App, JobHandle
from ...errors import JobCancelled, JobTimedOut
from ...model.outcome import Outcome
from ...model.states import JobState
from .progress import Progress

READ, TAKEN_APART, ODD = "files read", "files taken apart", "odd jobs"
ODD_JOBS: Final = ("flaky", "too_slow", "endless")
ROWS: Final = 10
_TREE_SECONDS: Final = 0.5
_LIMIT_SECONDS: Final = 120.0  # for everything; it takes some seconds


@dataclass
class Played:
    """What came out.

    Attributes:
        table: The largest modules, as `largest` returned them.
        tree: What became of a tree of jobs whose scope was left.
        odd: What became of the flaky, the slow and the endless job: id and sentence, by the task's name.
        problems: What should not have happened.
    """

    sizes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    codes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tree: str = ""
    table: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    odd: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    problems: list[str] = field(default_factory=list[str])
    jobs: int = 0
    seconds: float = 0.0


async def play(app: App, files: Sequence[Path], progress: Progress) -> Played:
    """Run the demo's jobs; the tasks are called by name, as any program can that does not have their code."""
    played, began = Played(), time.monotonic()
    with fail_after(_LIMIT_SECONDS):
        odd = {name: await app.job(name).with_options(priority=5).enqueue() for name in ODD_JOBS}
        reading = await app.enqueue_many([app.job("measure", str(path)) for path in files])
        counting = await app.enqueue_many([app.job("count_code", str(path)) for path in files])
        async with create_task_group() as following:
            for handles, what, into in ((reading, READ, played.sizes), (counting, TAKEN_APART, played.codes)):
                for handle in handles:
                    following.start_soon(_collect, handle, into, played, lambda what=what: progress.advance(what))
            for tell in (_tell_flaky, _tell_too_slow, _tell_endless):
                following.start_soon(_follow_odd, tell, odd, played, progress)
        # The fan-in is owned: were this scope left now, the job would be cancelled where it runs.
        played.table = await app.job("largest", played.sizes, played.codes, ROWS).run()
        played.jobs = len(odd) + len(reading) + len(counting) + 1
        played.seconds = time.monotonic() - began
        await _leave_tree(app, played)
    return played


async def _leave_tree(app: App, played: Played) -> None:
    """Own a tree of jobs for a moment, and look whether leaving the scope ends them all."""
    ends_at = time.monotonic() + _TREE_SECONDS
    with move_on_after(_TREE_SECONDS):
        await app.job("family", 2).run()
    took = time.monotonic() - ends_at
    found = await app.jobs.list(task="family", limit=100)
    played.tree = f"{len(found)} jobs on three levels; all had ended {took * 1000:.0f} ms after it was left"
    played.problems += [f"family {job.id} is {job.state}" for job in found if job.state is not JobState.CANCELLED]


async def _collect(handle: JobHandle[Any], into: list[dict[str, Any]], played: Played, advance: Callable[[], None]) -> None:
    outcome = await handle.outcome()
    if outcome.state is JobState.SUCCEEDED:
        into.append(await handle.result())
    else:
        played.problems.append(f"{handle.task} {handle.id} {_ended(outcome)}")
    advance()


async def _follow_odd(
    tell: Callable[[JobHandle[Any]], Awaitable[str]],
    odd: dict[str, JobHandle[Any]],
    played: Played,
    progress: Progress,
) -> None:
    name = tell.__name__.removeprefix("_tell_")
    handle = odd[name]
    sentence = await tell(handle)
    if not sentence:
        played.problems.append(f"{name} {handle.id} {_ended(await handle.outcome())}")
    played.odd[name] = (handle.id, sentence or "did something else")
    progress.advance(ODD)


async def _tell_flaky(handle: JobHandle[Any]) -> str:
    outcome = await handle.outcome()
    if outcome.state is not JobState.SUCCEEDED or outcome.attempt != 3:
        return ""
    return "failed twice with a ConnectionError, was retried each time, and worked at attempt 3"


async def _tell_too_slow(handle: JobHandle[Any]) -> str:
    try:
        await handle
    except JobTimedOut as error:
        outcome = await handle.outcome()
        took = (outcome.ended_at or 0.0) - (outcome.started_at or 0.0)
        return f"wanted 60 s, has a timeout of {error.timeout_seconds:g} s, and was cancelled after {took:.2f} s"
    return ""


async def _tell_endless(handle: JobHandle[Any]) -> str:
    async for update in handle.watch():
        if update.progress:  # it runs, and has said so
            break
    asked = time.monotonic()
    await handle.cancel("the demo has seen enough")
    took = time.monotonic() - asked
    try:
        await handle
    except JobCancelled as error:
        return f"was cancelled from here ({error.reason}) and had ended in the worker {took * 1000:.0f} ms later"
    return ""


def _ended(outcome: Outcome) -> str:
    error = f": {outcome.error.type}: {outcome.error.text}" if outcome.error else ""
    return f"{outcome.state}{error}"
