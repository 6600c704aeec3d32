"""The plots of the page, from the stored figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import median

OURS_COLOUR, PEER_COLOUR, GREY = "#3f51b5", "#b0bec5", "#607d8b"

mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "nursery-tasks", "font.family": "sans-serif", "font.size": 9})


def draw(data: dict[str, Any], folder: Path) -> None:
    """Draw what there are figures for."""
    scenarios = data["scenarios"]
    if "rounds" in scenarios:
        _save(_bars(data), folder / "benchmarks-redis-peers.svg")
    if "growth" in scenarios:
        _save(_curves(scenarios["growth"]["figures"]), folder / "benchmarks-redis-growth.svg")


def _bars(data: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    rates, costs = figure.subplots(1, 2, sharey=True)
    work = data["scenarios"]["rounds"]["figures"]["found"]
    names = [name for name in reversed(work) if "one" in work[name]]
    colours = [OURS_COLOUR if data["sides"][name]["ours"] else PEER_COLOUR for name in names]
    for axes, place, title in ((rates, 0, "no-op jobs per second, one worker"), (costs, 1, "CPU per job, µs")):
        values = [median([row[place] for row in work[name]["one"]]) for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [f"{value:,.0f}".replace(",", " ") for value in values], padding=3, fontsize=8)
        axes.set_title(title, fontsize=9)
        axes.margins(x=0.18)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _curves(curves: dict[str, dict[str, list[float]]]) -> Figure:
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    depths, slots, payloads = figure.subplots(1, 3)
    _line(depths, curves["depths"], "jobs submitted at once", "jobs/s")
    _line(slots, curves["slots"], "slots", "", label="jobs that do nothing")
    _line(slots, curves["pauses"], "slots", "", label="jobs of 10 ms", colour=GREY)
    ideal = [int(number) for number in curves["pauses"]]
    slots.plot(ideal, [100.0 * number for number in ideal], ":", color=GREY, linewidth=1, label="100 per slot")
    slots.legend(fontsize=7, frameon=False)
    _line(payloads, curves["payloads"], "bytes per message", "")
    return figure


def _line(
    axes: Axes, points: dict[str, Sequence[float]], xlabel: str, ylabel: str, label: str = "", colour: str = OURS_COLOUR
) -> None:
    numbers = [int(number) for number in points]
    axes.plot(numbers, [median(points[str(number)]) for number in numbers], "o-", color=colour, markersize=3.5, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(visible=True, color="#eceff1")
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
