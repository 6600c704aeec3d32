"""Measure nursery-tasks on Redis or RabbitMQ beside its peers; write `docs/benchmarks.md`, its plots, and figures beside it.

    python benchmarks/run_peers.py                            some twenty minutes
    python benchmarks/run_peers.py --quick                    two minutes; leaves the documentation as it is
    python benchmarks/run_peers.py --only idle --sides saq    a part of it, likewise
    python benchmarks/run_peers.py --only idle --keep         put this part's new figures among those that are stored
    python benchmarks/run_peers.py --rabbitmq                 the same on RabbitMQ, a quarter of an hour
    python benchmarks/run_peers.py --render                   the page from the stored figures, without measuring

The first run makes a virtual environment for each peer, in `.bench/peers/`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measuring import Place, describe_machine, load, open_place, progress, reference, wait_for_calm
from peers import crash, growth, idle, legs, raw, rounds, servers, steps
from peers.effort import Effort
from peers.sides import AS_THEY_COME, RABBIT_SIDES, SIDES, Side, chosen
from peers.tables import make_tables
from peers.turns import described
from report import DOCS, as_markdown, as_text, machine_as_markdown, machine_as_text, write_between

DATA = DOCS / "benchmarks-redis.json"
RABBIT_DATA = DOCS / "benchmarks-rabbitmq.json"
RABBIT_ROUNDS = 3
LIBRARIES = ("nursery-tasks", "anyio", "trio", "uvloop", "msgspec", "redis", "hiredis")

Scenario = Callable[[Place, Effort, list[Side]], dict[str, Any]]

SCENARIOS: dict[str, Scenario] = {
    "crash": crash.measure,
    "rounds": lambda place, effort, sides: rounds.measure(place, effort, _with_pollers(place, sides)),
    "idle": lambda place, effort, sides: idle.measure(place, effort, _with_pollers(place, sides)),
    "raw": lambda place, effort, _: raw.measure(place, effort),
    "steps": lambda place, effort, _: steps.measure(place, effort),
    "legs": lambda place, effort, _: legs.measure(place, effort),
    "growth": lambda place, effort, _: growth.measure(place, effort),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few jobs, one round: to see whether it works")
    parser.add_argument("--only", metavar="A,B", help=f"some of {', '.join(SCENARIOS)}")
    parser.add_argument("--sides", metavar="A,B", help="some of the contenders, by the beginnings of their names")
    parser.add_argument("--directory", help="where the servers keep their files; a file system on a real disk")
    parser.add_argument("--keep", action="store_true", help="with --only: replace these parts in the stored figures")
    parser.add_argument("--rabbitmq", action="store_true", help="on RabbitMQ: crash and rounds only")
    parser.add_argument("--loaded", action="store_true", help="write the page although something else runs; it says so")
    parser.add_argument("--render", action="store_true", help="make the page from the stored figures")
    given = parser.parse_args()
    path = RABBIT_DATA if given.rabbitmq else DATA
    if given.render:
        write_page(json.loads(path.read_text()))
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # or workers and servers would be left behind
    names = given.only.split(",") if given.only else ["crash", "rounds"] if given.rabbitmq else list(SCENARIOS)
    whole = not (given.quick or given.only or given.sides)
    effort = Effort.quick() if given.quick else Effort(rounds=RABBIT_ROUNDS) if given.rabbitmq else Effort()
    sides = chosen(RABBIT_SIDES if given.rabbitmq else SIDES, given.sides)
    with ExitStack() as stack:
        place = stack.enter_context(open_place(given.directory))
        if given.rabbitmq:
            from peers.rabbit import open_rabbit  # it needs what the tests need

            place = stack.enter_context(open_rabbit(place))
        for side in sides:
            side.version  # noqa: B018 - it makes the environment, which is not at rest
        if whole or given.keep:
            wait_for_calm(loaded=given.loaded)
        data = measure(place, effort, names, sides)
    if given.keep and not given.sides:
        stored = json.loads(path.read_text())
        data = {**stored, "scenarios": {**stored["scenarios"], **data["scenarios"]}}
    for table in make_tables(data).values():
        print(as_text(table), flush=True)
    if whole or given.keep:
        path.write_text(json.dumps(data, indent=1) + "\n")
        write_page(data)


def measure(place: Place, effort: Effort, names: list[str], sides: list[Side]) -> dict[str, Any]:
    """Run scenarios; returns what is stored."""
    versions = {side.name: side.version for side in sides}
    machine = {
        **describe_machine(place, LIBRARIES),
        **({"broker": place.version()} if isinstance(place, servers.ServedPlace) else {}),
        "server": servers.version(),
        "reference": reference(),
        "load before": load(),
    }
    print(machine_as_text(machine), end="\n\n", flush=True)
    scenarios: dict[str, Any] = {}
    for name in names:
        before, began = load(), time.monotonic()
        figures = SCENARIOS[name](place, effort, sides)
        progress("")
        scenarios[name] = {
            "load before and after": [before, load()],
            "seconds": round(time.monotonic() - began),
            "figures": figures,
        }
        print(f"{name}: {scenarios[name]['seconds']} s, load {before} -> {load()}", flush=True)
    who = described(sides, versions)
    broker = "RabbitMQ" if isinstance(place, servers.ServedPlace) else "Redis"
    return {"broker": broker, "machine": machine, "sides": who, "scenarios": scenarios}


def write_page(data: dict[str, Any]) -> None:
    """Put tables and plots into the page."""
    write_tables(data, DOCS / "benchmarks.md")
    if not _is_rabbit(data):
        from peers.plots import draw  # its library takes a second to import

        draw(data, DOCS)


def write_tables(data: dict[str, Any], page: Path) -> None:
    """Put the tables between the page's markers."""
    loads = {name: " to ".join(each["load before and after"]) for name, each in data["scenarios"].items()}
    machine = {**data["machine"], "load average": ", ".join(f"{name} {text}" for name, text in loads.items())}
    texts = {name: as_markdown(table) for name, table in make_tables(data).items()}
    texts["peers-machine"] = machine_as_markdown(machine)
    if _is_rabbit(data):
        texts = {name.replace("peers-", "rabbit-"): text for name, text in texts.items()}
    write_between(texts, page)


def _is_rabbit(data: dict[str, Any]) -> bool:
    return data.get("broker") == "RabbitMQ"


def _with_pollers(place: Place, sides: list[Side]) -> list[Side]:
    if isinstance(place, servers.ServedPlace):  # whose broker pushes
        return sides
    names = {side.environment for side in sides}
    return sides + [side for side in AS_THEY_COME if side.environment in names]


if __name__ == "__main__":
    main()
