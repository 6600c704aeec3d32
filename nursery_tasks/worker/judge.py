"""After an attempt: what became of the job. Pure rules; the clock and the scopes have been asked already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Returned:
    """The handler returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised; or its own time was over (`timed_out`), and the error is a `JobTimedOut`."""

    error: BaseException
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class WasCancelled:
    """Somebody cancelled it, and it has ended because of that; *error* is what its clean-up raised, if it did."""

    reason: str | None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker stopped it, or cannot keep its lease: not the job's fault, so not an attempt."""

    why: str


Ending = Returned | Raised | WasCancelled | Interrupted
