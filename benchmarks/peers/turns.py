"""All contenders of all brokers in turns: a round is one visit to each of them (`rounds`), in an order that is drawn anew.

What disturbs the machine for a while so disturbs others each time. Rounds end when there are enough, or when another one would
not end in time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from measuring import Place, progress

from .effort import Effort
from .rounds import visit
from .servers import FilePlace
from .sides import Side

BROKERS = ("Redis", "RabbitMQ + Redis", "SQLite")

Figures = dict[str, dict[str, dict[str, list[list[float]]]]]  # broker -> contender -> key of `rounds.LEGEND` -> rounds


@dataclass(frozen=True)
class Lane:
    """A broker, and who is measured on it."""

    broker: str
    place: Place
    sides: Sequence[Side]


@contextmanager
def open_lanes(place: Place, sides: dict[str, Sequence[Side]]) -> Generator[list[Lane], None, None]:
    """Start what the brokers need; *sides* are those of each broker, by its name in `BROKERS`."""
    with ExitStack() as stack:
        lanes: list[Lane] = []
        for broker, contenders in sides.items():
            where = place
            if broker.startswith("RabbitMQ"):
                from .rabbit import open_rabbit  # it needs what the tests need

                where = stack.enter_context(open_rabbit(place))
            elif broker == "SQLite":
                where = FilePlace(place.root)
            lanes.append(Lane(broker, where, contenders))
        yield lanes


def take_turns(lanes: Sequence[Lane], effort: Effort, seed: int, most_seconds: float) -> tuple[Figures, int]:
    """Return the figures, and how many rounds there were: one at least, else as many as end within *most_seconds*."""
    order, began = random.Random(seed), time.monotonic()
    found: Figures = {lane.broker: {side.name: {} for side in lane.sides} for lane in lanes}
    visits = [(lane, side) for lane in lanes for side in lane.sides]
    for number in range(effort.rounds):
        order.shuffle(visits)
        for done, (lane, side) in enumerate(visits):
            progress(f"round {number + 1} of {effort.rounds}, visit {done + 1} of {len(visits)}: {side.name} on {lane.broker}")
            for key, figures in visit(side, lane.place, effort).items():
                found[lane.broker][side.name].setdefault(key, []).append(figures)
        rounds = number + 1
        if (time.monotonic() - began) / rounds * (rounds + 1) > most_seconds:
            break
    return found, rounds


def described(sides: Sequence[Side], versions: dict[str, str]) -> dict[str, Any]:
    """Say who the contenders are, for the data file."""
    return {
        side.name: {
            "version": versions[side.name],
            "delivery": side.delivery,
            "known_from": side.known_from,
            "settings": side.settings,
            "ours": side.ours,
        }
        for side in sides
    }
