"""`nursery-tasks run --workers N`: the supervisor from its first breath to its last, with the signals that end it.

It hears the signals, and its workers hear of them from it: they are in sessions of their own. The rules and exit codes are
those of one worker, see `serve.py`. SIGHUP replaces the workers one after the other; where there is a terminal it means that
the terminal is gone, and ends the supervisor, and with it the workers, as it ends any program.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from anyio import create_task_group, current_time, open_signal_receiver

from .. import __version__
from ..observability.logging import duration
from ..shown import visible_json
from ..supervisor import Invitation, Member, Output, Supervisor
from .display import Facts, format_interrupted, format_summary, format_unstored
from .leaving import SIGNALS, hangups, leave_at_once
from .output import clock_time, format_facts, has_colour, note, plural, visible
from .serve import CLEAN_UP_SECONDS, NEXT_SIGNAL_SECONDS, STORE_SECONDS
from .tally import ENDS, Tally
from .trouble import FAILED, Trouble

OUTPUT_SECONDS: Final = 1.0  # for the last lines to be copied
LATE_SECONDS: Final = 0.5  # after the limit that a worker sets itself, it is killed


@dataclass(frozen=True)
class Crew:
    """What the supervisor was asked for.

    Attributes:
        args: The command line, from `run` on; each worker gets the same.
    """

    args: Sequence[str]
    group: str
    workers: int
    drain_seconds: float
    as_json: bool = False
    quiet: bool = False

    def command(self, invitation: Invitation) -> list[str]:
        """Return the command line of one worker. The invitation comes first, so that no `--` can stand before it."""
        return [sys.executable, "-m", "nursery_tasks", "run", f"--member={invitation.write()}", *self.args[1:]]


class Board(Protocol):
    """What the supervisor's life is told to: `Watcher`, and what concerns all workers."""

    tally: Tally

    def reported(self, member: Member, report: dict[str, Any]) -> None:
        """Hear what a worker says."""
        ...

    def died(self, member: Member, pause_seconds: float) -> None:
        """Hear that a worker is gone."""
        ...

    def say(self, what: str, text: str) -> None:
        """Say something about all: one word for programs, a sentence for people."""
        ...

    def ended(self, code: int, supervisor: Supervisor, seconds: float) -> None:
        """Show the summary."""
        ...


class LinesBoard:
    """For people."""

    def __init__(self, out: Output, crew: Crew) -> None:
        self.tally = Tally()
        self._out = out
        self._crew = crew
        self._begun = False

    def reported(self, member: Member, report: dict[str, Any]) -> None:
        if report["kind"] == "ended":
            self.tally.add_parts(report["tally"])
        elif report["kind"] == "ready":
            if not self._begun:
                self._begun = True
                self._write(format_facts(self._facts([(name, value) for name, value in report["facts"]])) + "\n")
            self.say("working", f"{member.name} works (process {member.pid})")

    def died(self, member: Member, pause_seconds: float) -> None:
        if self._begun:
            then = f"in {duration(pause_seconds)}" if pause_seconds else "now"
            self.say("died", f"{member.name} (process {member.pid}) {how_it_ended(member)}; another one starts {then}")

    def say(self, what: str, text: str) -> None:
        self._write(f"{clock_time(time.time())}  {visible(text)}\n")

    def ended(self, code: int, supervisor: Supervisor, seconds: float) -> None:
        if self.tally.tasks:
            self._write(f"\n{format_summary(self.tally)}")
        total = sum(self.tally.total()[kind] for kind in ENDS)
        more = format_interrupted(supervisor.interrupted - supervisor.not_given_back, self.tally.lost)
        more += format_unstored(supervisor.not_stored, supervisor.not_given_back)
        self._write(f"stopped after {duration(seconds)}: {plural(total, 'job')} ended here{more}\n")

    def _facts(self, facts: Facts) -> Facts:
        """Make the facts of all workers from those of the first."""
        crew = self._crew
        names = f"{crew.group}-1" + (f" to {crew.group}-{crew.workers}" if crew.workers > 1 else "")
        changed: list[tuple[str, str]] = []
        for name, value in facts:
            if name == "worker":
                _, _, what = value.partition(", ")
                changed.append(("workers", f"{names}, each in a process of its own, {what}"))
            else:
                changed.append((name, f"{value} in each" if name == "slots" else value))
        return changed

    def _write(self, text: str) -> None:
        if not self._crew.quiet:
            self._out.write(text)


class JsonBoard:
    """For programs: objects beside those of the workers."""

    def __init__(self, out: Output, crew: Crew) -> None:
        self.tally = Tally()
        self._out = out
        workers = [f"{crew.group}-{number}" for number in range(1, crew.workers + 1)]
        self._object("supervisor-started", version=__version__, group=crew.group, pid=os.getpid(), workers=workers)

    def reported(self, member: Member, report: dict[str, Any]) -> None:
        if report["kind"] == "ended":
            self.tally.add_parts(report["tally"])

    def died(self, member: Member, pause_seconds: float) -> None:
        code, number = (None, -member.code) if member.code is not None and member.code < 0 else (member.code, None)
        data = {"worker": member.name, "pid": member.pid, "exit_code": code, "signal": number, "pause_seconds": pause_seconds}
        self._object("worker-died", **data)

    def say(self, what: str, text: str) -> None:
        self._object(f"supervisor-{what}", text=text)

    def ended(self, code: int, supervisor: Supervisor, seconds: float) -> None:
        counts = {name: getattr(supervisor, name) for name in ("interrupted", "not_stored", "not_given_back")}
        self._object("supervisor-stopped", exit_code=code, **counts, seconds=seconds, tasks=self.tally.to_data())

    def _object(self, event: str, **data: object) -> None:
        document = json.dumps({"event": event, "at": time.time(), **data}, ensure_ascii=False, default=str)
        self._out.write(visible_json(document) + "\n")


class Stages:
    """What the signals have asked for so far. See `serve.Stages`, which does the same for one worker."""

    def __init__(self, supervisor: Supervisor, board: Board, drain_seconds: float) -> None:
        self._supervisor = supervisor
        self._board = board
        self._drain_seconds = drain_seconds
        self._stage = 0
        self._handled_at = 0.0

    async def watch(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Act on signals until cancelled."""
        async for number in signals:
            if not self._stage or current_time() - self._handled_at >= NEXT_SIGNAL_SECONDS:
                self._next(number)
                self._handled_at = current_time()

    def hang_up(self) -> None:
        """Act on a SIGHUP where no terminal can have sent it."""
        self._board.say("restarting", "replacing the workers, one after the other")
        self._supervisor.restart()

    def _next(self, number: signal.Signals) -> None:
        self._stage += 1
        if self._stage == 1:
            more = f"; running jobs may go on for {duration(self._drain_seconds)}; a second signal (Ctrl-C) cancels"
            self._board.say("draining", f"stopping all workers{more if self._drain_seconds else ''}")
            self._supervisor.drain(self._drain_seconds)
        elif self._stage == 2:
            self._board.say(
                "cancelling", "cancelling what runs; its jobs go back to their queue; a third signal leaves at once"
            )
            self._supervisor.cancel()
        else:
            self._supervisor.kill()
            leave_at_once(number)


async def serve_crew(crew: Crew) -> int:
    """Run the workers until a signal ends them; returns the exit code.

    Raises:
        Trouble: No worker could be started at all.
    """
    out, err = Output(1, lambda: _complain("nobody reads the workers' lines any more; they go on")), Output(2, lambda: None)
    board: Board = JsonBoard(out, crew) if crew.as_json else LinesBoard(out, crew)
    supervisor = Supervisor(
        crew.command,
        group=crew.group,
        workers=crew.workers,
        watcher=board,
        streams=(out, err),
        labelled=(not crew.as_json, True),
        clean_up_seconds=CLEAN_UP_SECONDS + STORE_SECONDS + LATE_SECONDS,
        colour=has_colour(sys.stdout),
    )
    began, code = time.monotonic(), FAILED
    stages = Stages(supervisor, board, crew.drain_seconds)
    with open_signal_receiver(*SIGNALS) as signals, nullcontext() if _has_terminal() else hangups(stages.hang_up):
        async with create_task_group() as around:
            around.start_soon(stages.watch, signals, name="signals")
            code = await supervisor.run()
            around.cancel_scope.cancel()
        if supervisor.hopeless is None:
            board.ended(code, supervisor, time.monotonic() - began)
        for stream in (out, err):
            stream.finish(OUTPUT_SECONDS)
    if supervisor.hopeless is not None and (supervisor.hopeless.code or 0) <= 0:  # or it has said itself what the matter is
        raise Trouble(f"the worker {how_it_ended(supervisor.hopeless)} before it worked")
    return code


def how_it_ended(member: Member) -> str:
    """Say how a worker's process ended."""
    if member.problem is not None:
        return f"could not be started: {member.problem}"
    if member.code is None:
        return "does not end"
    if member.code >= 0:
        return f"ended with exit code {member.code}"
    name = f"signal {-member.code}"
    with suppress(ValueError):
        name = signal.Signals(-member.code).name
    return f"was killed by {name}"


def _has_terminal() -> bool:
    """Say whether a terminal would send SIGHUP when it closes. With nohup that is ignored already, and stays so."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _complain(text: str) -> None:
    with suppress(Exception):
        note(text)
