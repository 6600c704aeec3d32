"""What a program declares of a queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..errors import InvalidOptions
from .keys import Keyed
from .options import check_queue

MAX_LENGTH: Final = 1_000_000  # it is counted
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0


class FairBy(Keyed):
    """Among whose jobs a queue takes turns."""

    def share_of(
        self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> str:
        """Make the share of one job.

        Raises:
            InvalidOptions: It cannot be made of these arguments.
        """
        try:
            return self._make_key(task, args, kwargs, bound)
        except InvalidOptions as error:
            raise InvalidOptions("fair_by", self.key, error.expected) from error

    def __repr__(self) -> str:
        return repr(self.key)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that `app.queue(...)` has declared.

    Attributes:
        name: Its name.
        max_length: How many jobs may wait there; None: any number.
        fair_by: Among whose jobs it takes turns; None: the older job goes first.
        weights: How many turns a share gets, where it is not one.
    """

    name: str
    max_length: int | None = None
    fair_by: FairBy | None = None
    weights: Mapping[str, float] = field(default_factory=dict[str, float])


def declare_queue(name: object, max_length: object, fair_by: object, weights: object) -> Queue:
    """Check what is said of a queue.

    Raises:
        InvalidOptions: A value makes no sense.
    """
    if max_length is not None and (
        isinstance(max_length, bool) or not isinstance(max_length, int) or not 1 <= max_length <= MAX_LENGTH
    ):
        expected = f"a whole number from 1 to {MAX_LENGTH:,}: how many jobs may wait; or None for any number"
        raise InvalidOptions("max_length", max_length, expected)
    by = None
    if fair_by is not None:
        if not isinstance(fair_by, str) and not callable(fair_by):
            expected = "a text such as '{tenant}', a function of the job's arguments, or None"
            raise InvalidOptions("fair_by", fair_by, expected)
        by = FairBy(None, fair_by)
    return Queue(check_queue("name", name), max_length, by, _check_weights(weights, by))


def _check_weights(given: object, by: FairBy | None) -> dict[str, float]:
    if given is None:
        return {}
    if by is None:
        raise InvalidOptions("weights", given, "fair_by= beside it, which says what the weights are of")
    if not isinstance(given, Mapping):
        raise InvalidOptions("weights", given, "a dict such as {'big': 2}: how many turns a share gets, where it is not one")
    weights: dict[str, float] = {}
    for share, weight in cast("Mapping[object, object]", given).items():
        if not isinstance(share, str | int) or isinstance(share, bool):
            raise InvalidOptions("weights", share, "a text or a whole number, as fair_by makes it")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
            raise InvalidOptions("weights", weight, f"a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g} for {share!r}")
        weights[str(share)] = float(weight)
    return weights
