"""Measure throughput, latency, CPU and memory, beside another task queue on the same disk; write `docs/benchmarks.md`.

    python benchmarks/run.py             some minutes
    python benchmarks/run.py --quick     half a minute; leaves the documentation as it is
    python benchmarks/throughput.py      one scenario

What is measured, and how, stands at the top of each scenario's file. All contenders run in turns, A B C, A B C, ..., and what
is shown are medians over the rounds.
"""

from __future__ import annotations

import cancel
import embedded
import enqueue
import idle
import processes
import round_trip
import start
import steps
import throughput
from measuring import Effort, Table, describe_machine, load, open_place, progress, wait_for_calm
from report import Scenario, arguments, as_text, machine_as_text, write_docs

SCENARIOS: dict[str, Scenario] = {
    "throughput": throughput.measure,
    "steps": steps.measure,
    "embedded": embedded.measure,
    "enqueue": enqueue.measure,
    "round-trip": round_trip.measure,
    "cancel": cancel.measure,
    "processes": processes.measure,
    "idle": idle.measure,
    "start": start.measure,
}


def main() -> None:
    given = arguments(__doc__)
    effort = Effort.quick() if given.quick else Effort()
    tables: dict[str, Table] = {}
    with open_place(given.directory) as place:
        if writes := not (given.quick or given.no_docs):
            wait_for_calm(loaded=given.loaded)
        machine = {**describe_machine(place), "load before": load()}
        print(machine_as_text(machine), end="\n\n")
        for name, measure in SCENARIOS.items():
            tables[name] = measure(place, effort)
            progress("")
            print(as_text(tables[name]), flush=True)
    if writes:
        write_docs(machine, tables)


if __name__ == "__main__":
    main()
