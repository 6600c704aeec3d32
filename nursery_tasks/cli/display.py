"""What `nursery-tasks run` shows: a banner, a line per transition, a summary.

Two displays with the same five methods: `Lines` for people and `JsonLines` for programs. Lines are written by hand and not by
rich, because a worker writes many. Above `DENSE_PER_SECOND` even that would cost more than the jobs: then one line per second
says what happened in it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, Final, Protocol, TextIO

from ..current import CurrentJob
from ..events import EventKind, JobEvent
from ..observability.logging import duration, in_words, to_json
from ..shown import command_line, visible_json, visible_lines
from ..worker import Unstored
from .ids import short_id
from .output import DIM, GREEN, RED, RESET, YELLOW, clock_time, format_facts, format_table, has_colour, note, plural, visible
from .speaking import line_of_job
from .streams import abandon
from .tally import ENDS, Tally

DENSE_PER_SECOND: Final = 200  # transitions; from here on one line per second
_TASK_WIDTH: Final = 24

_COLOURS: Final = {
    EventKind.SUCCEEDED: GREEN,
    EventKind.FAILED: RED,
    EventKind.DEAD: RED,
    EventKind.RETRYING: YELLOW,
    EventKind.CANCELLED: YELLOW,
    EventKind.RELEASED: YELLOW,
    EventKind.STALE: YELLOW,
    EventKind.EXPIRED: YELLOW,
    EventKind.STARTED: DIM,
    EventKind.QUEUED: DIM,
}

Facts = Sequence[tuple[str, str]]


class Display(Protocol):
    """What the worker's life is told to."""

    tally: Tally

    def ready(self, facts: Facts, data: dict[str, Any]) -> None:
        """Say that the worker works; *facts* for people, *data* for programs."""
        ...

    def on_event(self, event: JobEvent) -> None:
        """Show what happened to a job."""
        ...

    def tick(self) -> None:
        """Hear that a second has passed."""
        ...

    def say(self, what: str, text: str) -> None:
        """Say something about the worker itself: one word for programs, a sentence for people."""
        ...

    def printed(self, job: CurrentJob | None, text: str) -> None:
        """Show a line that a job has printed, in any thread; None: the app's own code has, outside of jobs."""
        ...

    def ended(self, code: int, interrupted: int, unstored: Unstored, seconds: float) -> None:
        """Show the summary."""
        ...


class _Writer:
    """Writes lines until nobody reads them any more: a closed pipe must not end the worker."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._broken = False
        self._lock = RLock()  # what threads of handlers print comes in between

    def __call__(self, text: str) -> None:
        if self._broken:
            return
        try:
            with self._lock:
                self._out.write(text)
                self._out.flush()
        except (OSError, ValueError):
            self._broken = True
            abandon(self._out)
            note("nobody reads this worker's lines any more; it goes on")


class Lines:
    """For people.

    Args:
        tasks: The names of the tasks, to align what follows them.
        verbose: Show the traceback of each failed attempt.
        quiet: Show nothing of all this; errors and warnings go to stderr as ever.
        colour: Show colours; None: if *out* is a terminal.
        part: It is one of several workers, whose supervisor shows the banner and the summary.
    """

    def __init__(
        self,
        out: TextIO,
        tasks: Sequence[str],
        *,
        verbose: bool = False,
        quiet: bool = False,
        colour: bool | None = None,
        part: bool = False,
    ) -> None:
        self.tally = Tally()
        self._write: Callable[[str], None] = _Writer(out)
        self._colour = has_colour(out) if colour is None else colour
        self._part = part
        self._width = min(_TASK_WIDTH, max(map(len, tasks), default=4))
        self._id_width = 0  # of the longest so far
        self._verbose = verbose
        self._quiet = quiet
        self._has_failed = False
        self._second: Counter[EventKind] = Counter()  # what happened since the last tick
        self._dense = False

    def ready(self, facts: Facts, data: dict[str, Any]) -> None:
        if not self._quiet and not self._part:
            self._write(format_facts(facts) + "\n")

    def on_event(self, event: JobEvent) -> None:
        self.tally.add(event)
        if self._quiet or event.kind is EventKind.PROGRESS:  # up to ten a second of each job; `jobs` shows the last one
            return
        self._second[event.kind] += 1
        if self._dense:
            return
        if self._second.total() > DENSE_PER_SECOND:
            self._dense = True
            self._note(
                f"more than {DENSE_PER_SECOND} lines a second: from here on one line per second sums up (--json has all)"
            )
            return
        self._write(self._line(event))
        if event.remote_traceback and not self._verbose and not self._has_failed:
            self._has_failed = True
            self._note(f"-v shows tracebacks here; {command_line('jobs', short_id(event.job_id))} shows that of this job")

    def tick(self) -> None:
        second, self._second = self._second, Counter()
        if not self._dense:
            return
        parts = [f"{count:,} {kind}" for kind, count in second.items() if kind is not EventKind.STARTED]
        total = sum(self.tally.total()[kind] for kind in ENDS)
        running = len(self.tally.running)
        self._note(f"{', '.join(parts) or 'nothing ended'} in this second; {running} running, {total:,} ended so far")
        if second.total() <= DENSE_PER_SECOND:
            self._dense = False

    def say(self, what: str, text: str) -> None:
        if not self._quiet:
            self._note(text)

    def printed(self, job: CurrentJob | None, text: str) -> None:
        if job is not None:
            self._write(line_of_job(job.id, job.task, text, time.time()))

    def ended(self, code: int, interrupted: int, unstored: Unstored, seconds: float) -> None:
        if self._quiet or self._part:
            return
        if self.tally.tasks:
            self._write(f"\n{format_summary(self.tally)}")
        total = sum(self.tally.total()[kind] for kind in ENDS)
        more = format_interrupted(interrupted - unstored.interrupted, self.tally.lost)
        more += format_unstored(len(unstored.ended), len(unstored.given_back))
        self._write(f"stopped after {duration(seconds)}: {plural(total, 'job')} ended here{more}\n")

    def _note(self, text: str) -> None:
        self._write(f"{clock_time(time.time())}  {visible(text)}\n")

    def _line(self, event: JobEvent) -> str:
        what, detail = in_words(event)
        text = f"{what:<9}"
        if self._colour:
            text = f"{_COLOURS.get(event.kind, '')}{text}{RESET}"
        job_id, task = visible(short_id(event.job_id)), visible(event.task)
        self._id_width = max(self._id_width, len(job_id))
        line = f"{clock_time(event.at)}  {job_id:<{self._id_width}}  {task:<{self._width}}  {text}  {detail}".rstrip() + "\n"
        if self._verbose and event.remote_traceback:
            line += f"    {visible_lines(event.remote_traceback.rstrip())}\n"
        return line


class JsonLines:
    """For programs: one object per line, with the key `event`. Jobs' events come as they are, the worker's own beside them.

    Args:
        worker: The worker's name, for its own events, where it is one of several.
    """

    def __init__(self, out: TextIO, *, quiet: bool = False, worker: str | None = None) -> None:
        self._common = {} if worker is None else {"worker": worker}
        self.tally = Tally()
        self._write: Callable[[str], None] = _Writer(out)
        self._quiet = quiet

    def ready(self, facts: Facts, data: dict[str, Any]) -> None:
        self.write_object("worker-started", data)

    def on_event(self, event: JobEvent) -> None:
        self.tally.add(event)
        if not self._quiet:
            self._write(to_json(event))

    def tick(self) -> None:
        return

    def say(self, what: str, text: str) -> None:
        self.write_object(f"worker-{what}", {"text": text})

    def printed(self, job: CurrentJob | None, text: str) -> None:
        facts = {} if job is None else {"job_id": job.id, "task": job.task, "attempt": job.attempt}
        self.write_object("print", {**facts, "text": text})

    def ended(self, code: int, interrupted: int, unstored: Unstored, seconds: float) -> None:
        counts = {"interrupted": interrupted, "not_stored": len(unstored.ended), "not_given_back": len(unstored.given_back)}
        summary = {"exit_code": code, **counts, "seconds": seconds, "tasks": self.tally.to_data()}
        self.write_object("worker-stopped", summary)

    def write_object(self, event: str, data: dict[str, Any]) -> None:
        """Write one object."""
        self._write(
            visible_json(
                json.dumps({"event": event, "at": time.time(), **self._common, **data}, ensure_ascii=False, default=str)
            )
            + "\n"
        )


def format_interrupted(interrupted: int, lost: int) -> str:
    """Say what became of jobs that were interrupted, as the end of a sentence; nothing when there are none."""
    back = max(0, interrupted - lost)
    text = f"; {plural(back, 'job')} given back to the queue" if back else ""
    return f"{text}; {plural(lost, 'job')} cut short and dead, as delivered at most once" if lost else text


def format_unstored(ended: int, given_back: int) -> str:
    """Say what the broker was not told, as far as is known, as the end of a sentence; nothing when there is nothing."""
    text = f"; the broker was away: {plural(ended, 'outcome')} not stored" if ended else ""
    if given_back:
        text += f"{',' if ended else '; the broker was away:'} {plural(given_back, 'job')} not given back"
    return f"{text}; they come back when their leases are over" if text else ""


def format_summary(tally: Tally) -> str:
    """Lay out a row per task and a column per end that occurred."""
    total = tally.total()
    shown = [kind for kind in (*ENDS, EventKind.RETRYING, EventKind.RELEASED, EventKind.STALE) if total[kind]]
    names = {EventKind.RETRYING: "retried"}
    columns = ["task", *(names.get(kind, str(kind)) for kind in shown), "mean", "longest"]
    rows = [
        [
            name,
            *(f"{task.counts[kind]:,}" if task.counts[kind] else "-" for kind in shown),
            "-" if task.mean is None else duration(task.mean),
            duration(task.longest) if task.timed else "-",
        ]
        for name, task in sorted(tally.tasks.items())
    ]
    return format_table(columns, rows, right=columns[1:])
