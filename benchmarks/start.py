"""How long a program takes to be there: importing the package, and from the start of a worker to its first job."""

from __future__ import annotations

import subprocess
import sys
import time

from measuring import HERE, Effort, Place, Table, in_turns, median, until
from report import alone
from sides import FILE, SIDES, Side


def measure(place: Place, effort: Effort) -> Table:
    by_name = {side.name: side for side in SIDES}
    imports: dict[str, list[float]] = {name: [] for name in by_name}
    ready: dict[str, list[float]] = {name: [] for name in by_name}
    for name in in_turns(effort.starts, list(by_name)):
        imports[name].append(import_ms(by_name[name].package))
        ready[name].append(ready_ms(by_name[name], place))
    table = Table(
        "Starting", ["worker", "import", "start to first job"], raw={"import ms": imports, "start to first job ms": ready}
    )
    for name in by_name:
        table.rows.append([name, f"{median(imports[name]):.0f} ms", f"{median(ready[name]):.0f} ms"])
    return table


def import_ms(package: str) -> float:
    """Return how much longer a Python that imports *package* takes than one that does nothing."""
    return (_python_seconds(f"import {package}") - _python_seconds("pass")) * 1e3


def ready_ms(side: Side, place: Place) -> float:
    """Return how long after the start of its process a worker runs the job that waits for it; by the job's own clock."""
    with place.fresh() as directory:
        side.client("enqueue-moment", directory)
        written = directory / f"{FILE}.moment"
        began = time.time()
        with side.worker(directory) as worker:
            until(lambda: written.exists() and written.stat().st_size > 0, worker)
        return (float(written.read_text()) - began) * 1e3


def _python_seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE)
    return time.perf_counter() - began


if __name__ == "__main__":
    alone(measure)
