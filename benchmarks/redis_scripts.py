"""What a job that does nothing costs the Redis server, script by script: the time in which it can do nothing else.

Jobs are submitted, claimed and settled in batches as a worker makes them, one call after the other. The server itself measures
how long its scripts run (`INFO commandstats`), and counts the commands that they make. Beside it stands its CPU time, in which
are also reading calls, writing answers, and the log on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import uuid4

from measuring import Effort, Place, Table, in_turns, median
from peers.servers import Stage, open_stage
from report import alone

from nursery_tasks.brokers.url import open_broker
from nursery_tasks.model.delivery import Delivery, Finished, Submission
from nursery_tasks.model.states import JobState

SUBMITTED, CLAIMED = 500, 400  # jobs in one call
PAYLOAD = b'{"task":"noop","args":[],"kwargs":{},"options":{},"sent_at":1764547200.123456}'
OUTCOME = b'{"state":"succeeded","value":null,"attempts":1,"worker":"host-1234-abcdef","ended_at":1764547200.123456}'
STEPS = ("submit", "claim", "settle")

Figures = list[tuple[float, float, float]]  # for each step, per job: us in scripts, commands, us of CPU


def measure(place: Place, effort: Effort) -> Table:
    found: list[Figures] = []
    for _ in in_turns(effort.rounds, ["Redis"]):
        with open_stage(place) as stage:
            found.append(run(stage, effort.jobs))
    table = Table(
        "The server's share of a job", ["step", "in scripts", "commands", "CPU"], raw={"us, commands, us of CPU": found}
    )
    medians = [[median(column) for column in zip(*rows, strict=True)] for rows in zip(*found, strict=True)]
    table.rows = [_shown(step, row) for step, row in zip(STEPS, medians, strict=True)]
    table.rows.append(_shown("all", [sum(column) for column in zip(*medians, strict=True)]))
    return table


def run(stage: Stage, jobs: int) -> Figures:
    """Take jobs through their lives: all are submitted, then all are claimed, then all are settled."""
    broker = open_broker(stage.url)
    held: list[Delivery] = []

    def submit() -> None:
        for _ in range(0, jobs, SUBMITTED):
            broker.submit([Submission(uuid4().hex, "default", "app.noop", PAYLOAD) for _ in range(SUBMITTED)])

    def claim() -> None:
        while found := broker.claim(["default"], CLAIMED, "host-1234-abcdef", 15.0):
            held.extend(found)

    def settle() -> None:
        for begin in range(0, jobs, CLAIMED):
            broker.settle([Finished(each, JobState.SUCCEEDED, OUTCOME) for each in held[begin : begin + CLAIMED]])

    try:
        figures = [_measured(stage, jobs, step) for step in (submit, claim, settle)]
    finally:
        broker.close()
    if len(held) != jobs:
        raise RuntimeError(f"{len(held)} of {jobs} jobs were claimed")
    return figures


def _measured(stage: Stage, jobs: int, step: Callable[[], None]) -> tuple[float, float, float]:
    before, cpu_before = _said(stage), stage.server_seconds()
    step()
    after, cpu_after = _said(stage), stage.server_seconds()
    figures = [(now - then) / jobs for now, then in zip(after, before, strict=True)]
    return figures[0], figures[1], (cpu_after - cpu_before) / jobs * 1e6


def _said(stage: Stage) -> tuple[int, int]:
    """Return microseconds in scripts, and the commands that scripts have made, since the server began."""
    found = cast("dict[str, dict[str, Any]]", stage.store.info("commandstats"))
    scripts = [each for name, each in found.items() if name.startswith("cmdstat_eval")]
    others = [each for name, each in found.items() if not name.startswith(("cmdstat_eval", "cmdstat_info"))]
    return sum(int(each["usec"]) for each in scripts), sum(int(each["calls"]) for each in others)


def _shown(step: str, row: Sequence[float]) -> list[str]:
    scripts, commands, cpu = row
    return [step, f"{scripts:.1f} us", f"{commands:.2f}", f"{cpu:.1f} us"]


if __name__ == "__main__":
    alone(measure)
