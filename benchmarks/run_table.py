"""Measure nursery-tasks on Redis, RabbitMQ and SQLite beside every peer, all in turns; write the table of `docs/benchmarks.md`.

    python benchmarks/run_table.py                     25 minutes at most
    python benchmarks/run_table.py --quick             six minutes at most; leaves the documentation as it is
    python benchmarks/run_table.py --brokers SQLite    a part of it, likewise
    python benchmarks/run_table.py --compare REV       this tree beside another revision of ours, without peers, likewise
    python benchmarks/run_table.py --render            the page from the stored figures, without measuring

The first run makes a virtual environment for each peer, in `.bench/peers/`, which is not in that time.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring import describe_machine, load, open_place, progress, reference, wait_for_calm
from peers import servers
from peers.effort import Effort
from peers.overview import against_the_best, everybody, two_versions
from peers.revision import open_revision
from peers.sides import RABBIT_SIDES, SIDES, SQLITE_SIDES, Side
from peers.turns import BROKERS, Lane, described, open_lanes, take_turns
from report import DOCS, as_markdown, as_text, machine_as_markdown, machine_as_text, write_between
from run_peers import LIBRARIES

DATA = DOCS / "benchmarks-table.json"
MINUTES = 23.0  # for the rounds; the rest is for starting servers
QUICK_MINUTES = 5.0
COMPARE_ROUNDS = 5
THIS = "this tree"

CONTENDERS: dict[str, Sequence[Side]] = {
    "Redis": [SIDES[0], *(side for side in SIDES if not side.ours)],
    "RabbitMQ + Redis": [RABBIT_SIDES[0], *(side for side in RABBIT_SIDES if not side.ours)],
    "SQLite": SQLITE_SIDES,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, one round: to see whether it works")
    parser.add_argument("--brokers", metavar="A,B", help=f"some of {', '.join(BROKERS)}, by the beginnings of their names")
    parser.add_argument("--compare", metavar="REV", help="measure this tree and this revision in turns, and no peers")
    parser.add_argument("--rounds", type=int, help="how many rounds at most")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the order of turns")
    parser.add_argument("--directory", help="where brokers keep their files; a file system on a real disk")
    parser.add_argument("--loaded", action="store_true", help="write the page although something else runs; it says so")
    parser.add_argument("--render", action="store_true", help="make the page from the stored figures")
    given = parser.parse_args()
    if given.render:
        write_page(json.loads(DATA.read_text()), DOCS / "benchmarks.md")
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # or workers and servers would be left behind
    effort = Effort.quick() if given.quick else Effort()
    if given.compare:
        effort = replace(effort, rounds=COMPARE_ROUNDS)
    if given.rounds:
        effort = replace(effort, rounds=given.rounds)
    sides = {broker: CONTENDERS[broker] for broker in chosen_brokers(given.brokers)}
    with ExitStack() as stack:
        if given.compare:
            home = stack.enter_context(open_revision(given.compare))
            sides = {broker: versions_of(contenders[0], given.compare, home) for broker, contenders in sides.items()}
        versions = {side.name: side.version for contenders in sides.values() for side in contenders}  # makes environments
        writes = not (given.quick or given.brokers or given.compare)
        if writes:
            wait_for_calm(loaded=given.loaded)
        place = stack.enter_context(open_place(given.directory))
        machine = {**describe_machine(place, LIBRARIES), "server": servers.version(), "reference": reference()}
        machine |= {"load before": load(), "seed": str(given.seed)}
        print(machine_as_text(machine), end="\n\n", flush=True)
        lanes = stack.enter_context(open_lanes(place, sides))
        data = measure(lanes, effort, given.seed, QUICK_MINUTES if given.quick else MINUTES, machine, versions)
    if given.compare:
        print(as_text(two_versions(data["brokers"], given.compare, THIS)), flush=True)
    else:
        for make in (everybody, against_the_best):
            print(as_text(make(data["brokers"])), flush=True)
    print(f"it took {data['machine']['time']}", flush=True)
    if writes:
        DATA.write_text(json.dumps(data, indent=1) + "\n")
        write_page(data, DOCS / "benchmarks.md")


def measure(
    lanes: Sequence[Lane], effort: Effort, seed: int, minutes: float, machine: dict[str, str], versions: dict[str, str]
) -> dict[str, Any]:
    """Take turns; returns what is stored."""
    began = time.monotonic()
    found, rounds = take_turns(lanes, effort, seed, minutes * 60)
    progress("")
    machine |= {"load after": load(), "rounds": str(rounds), "time": f"{(time.monotonic() - began) / 60:.1f} minutes"}
    brokers = {lane.broker: {"sides": described(lane.sides, versions), "found": found[lane.broker]} for lane in lanes}
    return {"machine": machine, "brokers": brokers}


def chosen_brokers(words: str | None) -> list[str]:
    """Return the brokers whose names begin with one of *words*; None: all."""
    wanted = tuple(word.strip().lower() for word in words.split(",")) if words else ("",)
    found = [broker for broker in BROKERS if broker.lower().startswith(wanted)]
    if not found:
        raise SystemExit(f"--brokers={words}: there are {', '.join(BROKERS)}")
    return found


def versions_of(side: Side, revision: str, home: Path) -> list[Side]:
    """Return ours twice: of this tree, and of the checkout in *home*."""
    return [replace(side, name=THIS), replace(side, name=revision, home=home)]


def write_page(data: dict[str, Any], page: Path) -> None:
    """Put the tables between the page's markers."""
    texts = {"table": as_markdown(against_the_best(data["brokers"])), "table-all": as_markdown(everybody(data["brokers"]))}
    write_between({**texts, "table-machine": machine_as_markdown(data["machine"])}, page)


if __name__ == "__main__":
    main()
