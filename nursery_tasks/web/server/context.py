"""What hypercorn's protocol asks about the server that it runs in."""

from __future__ import annotations


class Flag:
    """An event that is only looked at.

    Attributes:
        happened: Set by the listener, read by the protocol after each answer.
    """

    def __init__(self) -> None:
        self.happened = False

    def is_set(self) -> bool:
        """Say whether it has happened."""
        return self.happened


class Context:
    """Hypercorn's context of a worker: `terminated` closes each connection after its answer."""

    def __init__(self) -> None:
        self.terminated = Flag()

    event_class = Flag

    async def mark_request(self) -> None:
        """Count a request: hypercorn calls it, and its count is not used here."""
