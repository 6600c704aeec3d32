"""`raise Reject(...)`: a handler puts its job aside."""

from __future__ import annotations

from .failure import ForeignError
from .retry import members_of, qualified_name


class Reject(Exception):
    """Put the job aside as *dead*, for a person to look at: no retry policy is asked.

    A handler raises it when the job should never have come: `raise Reject("no such customer")`. Its caller gets `JobDead` with
    the reason, and `nursery-tasks retry` runs it again.

    Args:
        reason: One line, for the person.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reject_reason(error: BaseException) -> str | None:
    """Return the reason of a `Reject` that a handler raised, itself or alone in a group; None: it is none."""
    while len(members := members_of(error)) == 1:
        error = members[0]
    if isinstance(error, ForeignError):
        return error.failure.text if error.failure.type == qualified_name(Reject) else None
    return error.reason if isinstance(error, Reject) else None
