"""What is to be done about a schedule now: one pure function of what is stored, the clock, and what its last runs came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from ..model.delivery import Stored
from ..model.states import ENDED, JobState
from .schedule import History, Schedule, run_id
from .slots import Slots

AT_ONCE: Final = 100  # slots in one step
KNOWN: Final = 1_000  # unfinished runs that are watched; each step stores them
_FAILURES: Final = frozenset({JobState.FAILED, JobState.DEAD})


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done.

    Attributes:
        slots: Those that get a run, in their order.
        cancelled: Jobs to be cancelled first.
        history: What has come of the schedule after that.
    """

    history: History
    slots: tuple[datetime, ...] = ()
    cancelled: tuple[str, ...] = ()


def decide(name: str, schedule: Schedule, now: datetime, here_since: datetime, outcomes: Mapping[str, Stored | None]) -> Step:
    """Decide about the slots of a schedule that are due.

    Args:
        here_since: Since when somebody has been there to run it.
        outcomes: What is known of `history.unfinished`.
    """
    definition, history = schedule.definition, schedule.history
    policies, timing = definition.policies, definition.timing
    first = history.next_slot
    if history.paused or first is None:
        return Step(history)
    history = replace(history, unfinished=tuple(job for job in history.unfinished if not _has_ended(outcomes.get(job))))
    failed = _failed(outcomes) if policies.pause_on_failure else None
    if failed is not None:
        return Step(replace(history, paused=True, note=f"the run {failed[0]} is {failed[1]}"))
    if policies.pause_on_failure and len(history.unfinished) >= KNOWN:
        return Step(replace(history, paused=True, note=f"{len(history.unfinished):,} runs have not ended, too many to watch"))
    slots = Slots(name, timing, first)
    chosen: list[datetime] = []
    going_on: datetime | None = None
    for slot in slots.to_run(policies, now, here_since):
        if len(chosen) == AT_ONCE:
            going_on = slot
            break
        if timing.limit is not None and history.slots_run + len(chosen) >= timing.limit:
            break
        chosen.append(slot)
    following = going_on if going_on is not None else slots.first_due_after(now)
    step = _with_runs(name, policies.overlap, history, chosen, watched=policies.pause_on_failure)
    if timing.limit is not None and step.history.slots_run >= timing.limit:
        following = None
    return Step(replace(step.history, next_slot=following, error=""), step.slots, step.cancelled)


def _with_runs(name: str, overlap: str, history: History, slots: list[datetime], *, watched: bool) -> Step:
    """Let slots run, as far as the runs before them allow it."""
    if overlap == "cancel" and len(slots) > 1:  # each would be cancelled by the next one
        history = replace(history, skipped=history.skipped + len(slots) - 1)
        slots = slots[-1:]
    cancelled = history.unfinished if overlap == "cancel" and slots else ()
    running = list(history.unfinished)
    most = {"skip": 0, "queue_one": 1}.get(overlap)
    run: list[datetime] = []
    for slot in slots:
        if most is None or len(running) <= most:
            run.append(slot)
            running.append(run_id(name, slot))
    if not run:
        return Step(replace(history, skipped=history.skipped + len(slots)))
    remembered = tuple(running) if watched or overlap not in ("allow", "queue_all") else ()
    after = replace(
        history,
        runs=history.runs + len(run),
        skipped=history.skipped + len(slots) - len(run),
        last_slot=run[-1],
        last_job=run_id(name, run[-1]),
        unfinished=remembered,
    )
    return Step(after, tuple(run), cancelled)


def _has_ended(stored: Stored | None) -> bool:
    return stored is None or stored.state in ENDED


def _failed(outcomes: Mapping[str, Stored | None]) -> tuple[str, JobState] | None:
    for job, stored in outcomes.items():
        if stored is not None and stored.state in _FAILURES:
            return job, stored.state
    return None
