"""What `nursery-tasks run` shows: a banner, a line per transition, a summary.

Two displays with the same five methods: `Lines` for people and `JsonLines` for programs. Lines are written by hand and not by
rich, because a worker writes many. Above `DENSE_PER_SECOND` even that would cost more than the jobs: then one line per second
says what happened in it.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TextIO

from ..events import EventKind, JobEvent
from ..observability.logging import duration, in_words, to_json
from .output import DIM, GREEN, RED, RESET, YELLOW, clock_time, format_facts, format_table, has_colour, plural
from .tally import ENDS, Tally

DENSE_PER_SECOND: Final = 200  # transitions; from here on one line per second
SHORT_ID: Final = 8  # the end of an id: its beginning is the time, and alike in neighbours
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

    def ended(self, code: int, interrupted: int, seconds: float) -> None:
        """Show the summary."""
        ...


class _Writer:
    """Writes lines until nobody reads them any more: a closed pipe must not end the worker."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._broken = False

    def __call__(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            self._broken = True
            print("nobody reads this worker's lines any more; it goes on", file=sys.stderr)


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
        self._verbose = verbose
        self._quiet = quiet
        self._second: Counter[EventKind] = Counter()  # what happened since the last tick
        self._dense = False

    def ready(self, facts: Facts, data: dict[str, Any]) -> None:
        if not self._quiet and not self._part:
            self._write(format_facts(facts) + "\n")

    def on_event(self, event: JobEvent) -> None:
        self.tally.add(event)
        if self._quiet:
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

    def ended(self, code: int, interrupted: int, seconds: float) -> None:
        if self._quiet or self._part:
            return
        if self.tally.tasks:
            self._write(f"\n{format_summary(self.tally)}")
        total = sum(self.tally.total()[kind] for kind in ENDS)
        given_back = f"; {plural(interrupted, 'job')} given back to the queue" if interrupted else ""
        self._write(f"stopped after {duration(seconds)}: {plural(total, 'job')} ended here{given_back}\n")

    def _note(self, text: str) -> None:
        self._write(f"{clock_time(time.time())}  {text}\n")

    def _line(self, event: JobEvent) -> str:
        what, detail = in_words(event)
        text = f"{what:<9}"
        if self._colour:
            text = f"{_COLOURS.get(event.kind, '')}{text}{RESET}"
        line = (
            f"{clock_time(event.at)}  {event.job_id[-SHORT_ID:]}  {event.task:<{self._width}}  {text}  {detail}".rstrip() + "\n"
        )
        if self._verbose and event.remote_traceback:
            line += "".join(f"    {row}\n" for row in event.remote_traceback.rstrip().splitlines())
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
        self._object("worker-started", data)

    def on_event(self, event: JobEvent) -> None:
        self.tally.add(event)
        if not self._quiet:
            self._write(to_json(event))

    def tick(self) -> None:
        return

    def say(self, what: str, text: str) -> None:
        self._object(f"worker-{what}", {"text": text})

    def ended(self, code: int, interrupted: int, seconds: float) -> None:
        summary = {"exit_code": code, "interrupted": interrupted, "seconds": seconds, "tasks": self.tally.to_data()}
        self._object("worker-stopped", summary)

    def _object(self, event: str, data: dict[str, Any]) -> None:
        self._write(
            json.dumps({"event": event, "at": time.time(), **self._common, **data}, ensure_ascii=False, default=str) + "\n"
        )


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
