"""What one worker of ours is before it has done anything: how long its start takes, and how much memory it has at rest.

    python benchmarks/footprint.py               a minute
    python benchmarks/footprint.py --rabbitmq    with a RabbitMQ node, too

On each broker, as it comes (asyncio) and with what may be added: uvloop, Trio, the HTTP door. *Start* is from the start of the
process to the moment at which it runs a job that waits for it, *memory* is what its own process has five
seconds later: without the processes that it keeps for tasks that run in one, of which the app here has some.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack

from measuring import Place, Table, in_turns, median, open_place, progress, resident_mib
from peers.servers import FilePlace, open_stage
from peers.sides import OURS, RABBIT_SIDES, SQLITE_SIDES, Side
from report import as_markdown, as_text

REST_SECONDS = 5.0
MORE: dict[str, tuple[str, ...]] = {
    "asyncio": (),
    "uvloop": ("--uvloop",),
    "trio": ("--backend=trio",),
    "asyncio, HTTP": ("--http=127.0.0.1:0", "--http-any-task"),
}
BROKERS: dict[str, Side] = {"SQLite": SQLITE_SIDES[0], "Redis": OURS[0], "RabbitMQ + Redis": RABBIT_SIDES[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rabbitmq", action="store_true", help="with a RabbitMQ node, too")
    parser.add_argument("--directory", help="where brokers keep their files; a file system on a real disk")
    parser.add_argument("--markdown", action="store_true", help="write the table for the documentation")
    given = parser.parse_args()
    with ExitStack() as stack:
        place = stack.enter_context(open_place(given.directory))
        places = {"SQLite": FilePlace(place.root), "Redis": place}
        if given.rabbitmq:
            from peers.rabbit import open_rabbit  # it needs what the tests need

            places["RabbitMQ + Redis"] = stack.enter_context(open_rabbit(place))
        names = [f"{broker}: {more}" for broker in places for more in MORE]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for name in in_turns(given.rounds, names):
            broker, _, more = name.partition(": ")
            found[name].append(start(BROKERS[broker], places[broker], MORE[more]))
    progress("")
    table = Table("A worker that has done nothing yet", ["worker", "start to first job", "memory"])
    for name, rows in found.items():
        ready, memory = (median(values) for values in zip(*rows, strict=True))
        table.rows.append([name, f"{ready:.0f} ms", f"{memory:.1f} MiB"])
    print(as_markdown(table) if given.markdown else as_text(table), flush=True)


def start(side: Side, place: Place, more: tuple[str, ...]) -> tuple[float, float]:
    """Return milliseconds from the start of a worker to its first job, and its MiB some seconds later."""
    with open_stage(place) as stage:
        side.client("enqueue-moment", stage)
        written, began = stage.directory / "jobs.moment", time.time()
        with side.worker(stage, more=more) as worker:
            if not worker.until(lambda: written.exists() and written.stat().st_size > 0):
                raise RuntimeError(f"{side.name} has not run its job in a minute")
            ready = (float(written.read_text().split()[0]) - began) * 1e3
            time.sleep(REST_SECONDS)
            return ready, resident_mib(worker.process.pid)


if __name__ == "__main__":
    main()
