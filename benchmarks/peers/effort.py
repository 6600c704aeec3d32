"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """The quick one shows whether something has gone wrong, not how fast it is.

    Attributes:
        share: Of each contender's `jobs`.
        most_seconds: A measurement of throughput ends then, with what has been done.
        depths, slots, payloads: The points of the curves; jobs, slots, bytes.
    """

    rounds: int = 5
    share: float = 0.4
    most_seconds: float = 5.0
    singles: int = 300
    trips: int = 100
    callers: int = 8
    idle_seconds: float = 8.0
    curve_rounds: int = 2
    depths: tuple[int, ...] = (1, 10, 100, 1_000, 10_000, 100_000)
    slots: tuple[int, ...] = (1, 3, 10, 32, 100, 316, 1_000)
    payloads: tuple[int, ...] = (100, 1_000, 10_000, 100_000)

    @classmethod
    def quick(cls) -> Effort:
        return cls(
            rounds=1,
            share=0.2,
            most_seconds=4.0,
            singles=100,
            trips=50,
            idle_seconds=3.0,
            curve_rounds=1,
            depths=(1, 100, 1_000),
            slots=(1, 32, 100),
            payloads=(100, 10_000),
        )
