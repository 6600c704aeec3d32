"""Who hears of the jobs that a broker's calls have ended."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.ended import Ended, OnEnded
from .subscription import Listener


class EndListeners:
    """Those who have joined. Each end is told once: to the one who joined last."""

    def __init__(self) -> None:
        self._members: tuple[_Member, ...] = ()  # replaced, never changed: any thread tells

    def hear(self, on_ended: OnEnded) -> Listener:
        member = _Member(self, on_ended)
        self._members = (*self._members, member)
        return member

    def leave(self, gone: _Member) -> None:
        self._members = tuple(member for member in self._members if member is not gone)

    def tell(self, ended: Sequence[Ended]) -> None:
        """Tell of what a call has ended, in its thread. The caller holds no lock."""
        members = self._members
        if ended and members:
            members[-1].on_ended(ended)


class _Member:
    def __init__(self, listeners: EndListeners, on_ended: OnEnded) -> None:
        self._listeners, self.on_ended = listeners, on_ended

    def close(self) -> None:
        self._listeners.leave(self)
