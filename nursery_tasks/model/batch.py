"""Tasks that get many jobs' arguments in one call: what a task declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from ..errors import InvalidOptions
from .duration import Duration, to_seconds

MAX_SIZE: Final = 10_000  # jobs of one call: all of them are held in memory, and their results, too
WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Call a task's function with many jobs' arguments at once.

        @app.task(batch=Batch(100, wait=0.5))
        async def index(docs: list[Doc]) -> list[int]: ...

        number = await index.run(doc)  # each job has one item, its own outcome, cancel and retry

    Args:
        size: The most jobs of one call, 1 to 10,000.
        wait: How long after its first job a batch begins at the latest, full or not, in seconds or as a timedelta.

    Raises:
        InvalidOptions: A value makes no sense.
    """

    size: int
    wait: Duration = WAIT_SECONDS

    def __post_init__(self) -> None:
        size = cast("object", self.size)
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
            raise InvalidOptions("size", self.size, f"a whole number from 1 to {MAX_SIZE:,}")
        to_seconds("wait", self.wait)

    @property
    def wait_seconds(self) -> float:
        """The wait in seconds."""
        return to_seconds("wait", self.wait)
