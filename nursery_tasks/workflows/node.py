"""What every part of a flow can do: check itself, run itself somewhere, and be written down as data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from ..client import Job
from ..errors import InvalidOptions
from .data import NodeData
from .mermaid import Drawing, Ends

MAX_DEPTH: Final = 100  # groups inside each other; each costs a few frames of Python's stack

Given = tuple[Any, ...]  # what a step gets: one value or nothing at all, which is not the same as None
Why = Callable[[], str | None]  # asked why a step is cancelled, when it is


class Place(Protocol):
    """Where the jobs of a flow run."""

    async def run(self, job: Job[Any], why: Why) -> Any:
        """Run one and return its result."""
        ...


class Node(ABC):
    """One part of a flow.

    Attributes:
        parts: The nodes below it.
        returns: The type of its result, as the codec takes it; Any where nothing is known.
        depth: How many groups are inside each other here.
    """

    def __init__(self, parts: Sequence[Node] = (), returns: Any = Any) -> None:
        self.parts = tuple(parts)
        self.returns: Any = returns
        self.depth: int = 1 + max((part.depth for part in parts), default=-1)
        if self.depth > MAX_DEPTH:
            raise InvalidOptions("depth", self.depth, f"at most {MAX_DEPTH} groups inside each other")

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is called in errors and diagrams."""

    @abstractmethod
    def check(self, given: int) -> None:
        """Check that it can begin with so many values, 0 or 1.

        Raises:
            InvalidArguments: It cannot.
        """

    @abstractmethod
    async def perform(self, place: Place, given: Given, why: Why) -> Any:
        """Run it and return its result. What it runs has ended when this returns or raises."""

    @abstractmethod
    def to_data(self) -> NodeData:
        """Write it down, to be run by a worker.

        Raises:
            NotAJob: A plain function is among its steps.
        """

    @abstractmethod
    def draw(self, drawing: Drawing, level: int) -> Ends:
        """Draw it into a flowchart."""

    @property
    def hands_on(self) -> bool:
        """Whether it is no step at all: its result is what it gets."""
        return False

    def jobs(self) -> Iterator[Job[Any]]:
        """Give all jobs in it, in the order of declaration."""
        for part in self.parts:
            yield from part.jobs()
