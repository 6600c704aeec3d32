"""What all contenders do in turns: each round is one visit to each of them.

A visit, on a server of its own: one program submits jobs one by one, then the rest in bulk; the first of them writes down when
it runs. Then the worker starts, and works them off (`throughput`). Then another program makes round trips through that worker:
it submits a job and waits for the result, at rest (one caller, who pauses 5 ms between two jobs, so that both processes have
gone to sleep) and under load (eight callers, each of whom submits the next job as soon as the last one's result is there). At
the end, on another server, jobs are queued for two workers.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measuring import Place, in_turns, median, percentile

from .effort import Effort
from .servers import Stage, open_stage
from .sides import Side
from .throughput import work_off

PAUSE_SECONDS = 0.005

# name in the data -> what its numbers are
LEGEND = {
    "singles": "submitted one by one: jobs/s, median us",
    "bulk": "submitted in bulk: jobs/s",
    "start": "start of the process to first job: ms",
    "one": "one worker: jobs/s, CPU us per job, MiB",
    "two": "two workers: jobs/s, CPU us per job, MiB",
    "rest": "round trip at rest: median ms, p99 ms",
    "load": "round trip of each of eight callers: median ms, p99 ms, jobs/s of all",
}


def measure(place: Place, effort: Effort, sides: list[Side]) -> dict[str, Any]:
    by_name = {side.name: side for side in sides}
    found: dict[str, dict[str, list[list[float]]]] = {name: {} for name in by_name}
    for name in in_turns(effort.rounds, list(by_name)):
        for key, figures in visit(by_name[name], place, effort).items():
            found[name].setdefault(key, []).append(figures)
    return {"legend": LEGEND, "found": found}


def visit(side: Side, place: Place, effort: Effort) -> dict[str, list[float]]:
    figures = visit_one_worker(side, place, effort)
    return figures if side.trips_only else {**figures, **visit_two_workers(side, place, effort)}


def visit_one_worker(side: Side, place: Place, effort: Effort) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}
    with open_stage(place) as stage, ExitStack() as stack:
        if side.trips_only:
            stack.enter_context(side.worker(stage))
        else:
            jobs = _jobs(side, effort)
            figures |= _submit(side, stage, effort.singles, jobs)
            ended, began = side.ended(stage), time.time()
            worker = stack.enter_context(side.worker(stage))
            figures["one"] = work_off(side, ended, [worker], jobs, effort.most_seconds)
            figures["start"] = [(_first_moment(stage.directory) - began) * 1e3]
        return figures | _trips(side, stage, effort)


def visit_two_workers(side: Side, place: Place, effort: Effort) -> dict[str, list[float]]:
    with open_stage(place) as stage, ExitStack() as stack:
        jobs = _jobs(side, effort)
        side.client("fill", stage, count=jobs)
        ended = side.ended(stage)
        workers = [stack.enter_context(side.worker(stage, number)) for number in (1, 2)]
        return {"two": work_off(side, ended, workers, jobs, effort.most_seconds)}


def _jobs(side: Side, effort: Effort) -> int:
    return max(effort.singles + 400, int(side.jobs * effort.share))


def _submit(side: Side, stage: Stage, singles: int, jobs: int) -> dict[str, list[float]]:
    *taken, many, seconds = side.client("submit", stage, count=jobs, singles=singles)
    return {"singles": [singles / sum(taken), median(taken) * 1e6], "bulk": [many / seconds]}


def _trips(side: Side, stage: Stage, effort: Effort) -> dict[str, list[float]]:
    count = max(3, effort.trips // side.trips)
    taken = side.client("rest-and-load", stage, count=count, callers=effort.callers, pause=PAUSE_SECONDS)
    rest, load = taken[:count], taken[count:]
    return {
        "rest": [median(rest) * 1e3, percentile(rest, 99) * 1e3],
        "load": [median(load) * 1e3, percentile(load, 99) * 1e3, effort.callers / (sum(load) / len(load))],
    }


def _first_moment(directory: Path) -> float:
    return float((directory / "jobs.moment").read_text().split()[0])
