"""What commands write: tables and facts for people, JSON for programs.

Everything that a command writes goes through here, for much of it came from jobs, messages and other programs: what a terminal
would obey, and line breaks that would make lines that look like ours, are escaped (`nursery_tasks.shown`). Whoever adds colours
escapes the parts with `visible` first, and writes with `write_line(..., painted=True)`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO

from ..observability.logging import duration
from ..shown import visible as visible
from ..shown import visible_json, visible_lines
from .streams import abandon

_WIDE: Final = 10_000  # columns where no terminal cuts a line: what a program reads must be whole

DIM, BOLD, RED, GREEN, YELLOW, RESET = "\x1b[2m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"


def has_colour(out: TextIO) -> bool:
    """Say whether *out* is a terminal that wants colour; see https://no-color.org."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    document = json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=str)
    print(visible_json(document))


def write_json_line(document: str) -> None:
    """Write one JSON document that is made already to stdout, as one line, at once."""
    print(visible_json(document.rstrip("\n")), flush=True)


def write_line(text: str = "", *, painted: bool = False) -> None:
    """Write one line to stdout, at once.

    Args:
        painted: The text has colours, and what came from elsewhere is escaped in it already.
    """
    print(text if painted else visible(text), flush=True)


def write_text(text: str) -> None:
    """Write whole lines to stdout, for a program to read: their breaks are meant."""
    print(visible_lines(text, indent=""), end="")


def note(text: str) -> None:
    """Tell a person something beside the output, which a program may read. Further lines stand below the first."""
    try:
        print(visible_lines(text), file=sys.stderr, flush=True)
    except OSError:  # a terminal that was closed
        abandon(sys.stderr)


def ask_person(question: str) -> str:
    """Ask the person at the terminal, and return the answer."""
    return input(visible(question))


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = (), fold: Iterable[str] = ()
) -> None:
    """Write a table to stdout. See `format_table`."""
    print(format_table(columns, rows, right=right, fold=fold), end="")


def format_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = (), fold: Iterable[str] = ()
) -> str:
    """Lay out a table for stdout, its cells escaped; on a terminal folded to fit, elsewhere every row is one line.

    Args:
        right: The columns with numbers.
        fold: The columns whose cells are folded where the terminal is narrow.
    """
    numbers, foldable = set(right), set(fold)
    rows = [[visible(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        return _format_plain(columns, rows, numbers)
    from rich.console import Console  # late: half of the commands need no table, and a pipe none that folds
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column, justify="right" if column in numbers else "left", overflow="fold", no_wrap=column not in foldable
        )
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _format_plain(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: set[str]) -> str:
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    right = [column in numbers for column in columns]
    return "".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def write_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Write names and values to stdout. See `format_facts`."""
    print(format_facts(facts), end="")


def format_facts(facts: Iterable[tuple[str, str]]) -> str:
    """Lay out names and values, escaped, one pair per line; further lines of a value stand below its first."""
    pairs = [(visible(name), visible_lines(value, indent="")) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    lines: list[str] = []
    for name, value in pairs:
        first, *rest = value.split("\n")
        lines.append(f"{name:<{width}}  {first}".rstrip())
        lines += [f"{'':<{width}}  {line}".rstrip() for line in rest]
    return "".join(f"{line}\n" for line in lines)


def shown_width() -> int:
    """Return how many columns there are to write to."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE


def clock_time(at: float) -> str:
    """Write a moment as the time of the day here."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def moment(at: float | None, now: float) -> str:
    """Write a moment with its distance."""
    if at is None:
        return "-"
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return f"{stamp} ({ago(at, now)})"


def ago(at: float, now: float) -> str:
    """Write the distance of a moment."""
    return f"{duration(now - at)} ago" if at <= now else f"in {duration(at - now)}"


def plural(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
