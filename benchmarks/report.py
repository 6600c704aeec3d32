"""Plain tables: on the screen, in `docs/benchmarks.md`, and the figures behind them in `docs/benchmarks-data.json`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import Effort, Place, Table, open_place

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
DATA = DOCS / "benchmarks-data.json"

Scenario = Callable[[Place, Effort], Table]


def arguments(description: str | None) -> Any:
    """Read the command line that all scenarios have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="half a minute instead of some: fewer jobs, one round")
    parser.add_argument("--directory", help="where the databases are made; a file system on a real disk")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    parser.add_argument("--loaded", action="store_true", help="write the page although something else runs; it says so")
    return parser.parse_args()


def alone(measure: Scenario) -> None:
    """Run one scenario as a program."""
    given = arguments(measure.__globals__["__doc__"])
    with open_place(given.directory) as place:
        print(as_text(measure(place, Effort.quick() if given.quick else Effort())))


def as_text(table: Table) -> str:
    """Write a table for the screen."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    shown = [
        "  ".join(_justify(cell, width, column) for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    return "\n".join([table.title, "", shown[0], "  ".join("-" * width for width in widths), *shown[1:], ""])


def as_markdown(table: Table) -> str:
    """Write a table for the documentation."""
    rules = ["---"] + ["---" if table.words else "---:"] * (len(table.columns) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [table.columns, rules, *table.rows])


def machine_as_text(machine: dict[str, str]) -> str:
    return "\n".join(f"{what:12}  {value}" for what, value in machine.items())


def machine_as_markdown(machine: dict[str, str]) -> str:
    return "\n".join(f"- {what}: {value}" for what, value in machine.items())


def write_docs(machine: dict[str, str], tables: dict[str, Table]) -> None:
    """Store the figures, and put the tables between the page's markers."""
    data = {"machine": machine, "scenarios": {name: {"title": table.title, **table.raw} for name, table in tables.items()}}
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    write_between({"machine": machine_as_markdown(machine), **{name: as_markdown(t) for name, t in tables.items()}}, PAGE)


def write_between(texts: dict[str, str], path: Path) -> None:
    """Put texts between a page's markers, `<!-- name: ... -->` and `<!-- end -->`."""
    page = path.read_text()
    for name, text in texts.items():
        page = _between_markers(page, name, text)
    path.write_text(page)


def _between_markers(page: str, name: str, text: str) -> str:
    pattern = re.compile(rf"(<!-- {name}: .*?-->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise RuntimeError(f"the page has no markers for {name!r}")
    return pattern.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def _justify(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)
