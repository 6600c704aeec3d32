"""From the figures of `turns` to tables: medians over the rounds, and how far ours is ahead. Nothing is measured here."""

from __future__ import annotations

from typing import Any

from measuring import Table, median, number

# column -> key of `rounds.LEGEND`, place in its figures, unit, whether less is better
COLUMNS: dict[str, tuple[str, int, str, bool]] = {
    "no-op, 1 worker": ("one", 0, "/s", False),
    "2 workers": ("two", 0, "/s", False),
    "CPU per job": ("one", 1, "us", True),
    "bulk": ("bulk", 0, "/s", False),
    "one by one": ("singles", 0, "/s", False),
    "round trip at rest": ("rest", 0, "ms", True),
    "its p99": ("rest", 1, "ms", True),
    "8 callers": ("load", 2, "/s", False),
}

Rounds = dict[str, list[list[float]]]  # key of `rounds.LEGEND` -> rounds


def against_the_best(brokers: dict[str, Any]) -> Table:
    """Make the table of ours and, column by column, the best peer of each broker; above 1: ours is ahead."""
    table = Table("Ours and the best peer, column by column", ["broker", "", *COLUMNS])
    for broker, each in brokers.items():
        [ours, *_] = [name for name, side in each["sides"].items() if side["ours"]]
        peers = [name for name, side in each["sides"].items() if not side["ours"]]
        found: dict[str, Rounds] = each["found"]
        mine, best, ahead = list[str](), list[str](), list[str]()
        for column in COLUMNS:
            value = _middle(found[ours], column)
            theirs = {name: _middle(found[name], column) for name in peers}
            name = (min if COLUMNS[column][3] else max)(theirs, key=lambda peer: theirs[peer])
            mine.append(_show(value, column))
            best.append(f"{_show(theirs[name], column)} ({name})")
            ahead.append(f"{_ahead(value, theirs[name], column):.2f} x")
        table.rows += [[broker, "nursery-tasks", *mine], ["", "best peer", *best], ["", "ratio", *ahead]]
    return table


def everybody(brokers: dict[str, Any]) -> Table:
    """Make the table of all contenders."""
    table = Table("Everybody", ["broker", "contender", *COLUMNS])
    for broker, each in brokers.items():
        for name, found in each["found"].items():
            table.rows.append([broker, name, *(_show(_middle(found, column), column) for column in COLUMNS)])
    return table


def two_versions(brokers: dict[str, Any], old: str, new: str) -> Table:
    """Make the table of two versions of ours; above 1: the new one is ahead."""
    table = Table(f"{new} beside {old}", ["broker", "what", old, new, "ratio", "least", "most"])
    for broker, each in brokers.items():
        before, after = each["found"][old], each["found"][new]
        for column, (key, place, _, _) in COLUMNS.items():
            pairs = zip(before[key], after[key], strict=True)
            ratios = [_ahead(late[place], early[place], column) for early, late in pairs]
            middles = _middle(before, column), _middle(after, column)
            ratio = _ahead(middles[1], middles[0], column)
            shown = [f"{value:.2f} x" for value in (ratio, min(ratios), max(ratios))]
            table.rows.append([broker, column, *(_show(value, column) for value in middles), *shown])
    return table


def _middle(found: Rounds, column: str) -> float:
    key, place, _, _ = COLUMNS[column]
    return median([figures[place] for figures in found[key]])


def _ahead(mine: float, theirs: float, column: str) -> float:
    return theirs / mine if COLUMNS[column][3] else mine / theirs


def _show(value: float, column: str) -> str:
    unit = COLUMNS[column][2]
    return f"{value:.2f} ms" if unit == "ms" else f"{number(value)} us" if unit == "us" else f"{number(value)}/s"
