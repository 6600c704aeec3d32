"""Hints inside one process: collected while the lock is held, told after it was given back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from threading import Lock

from ...model.delivery import Hint, Topic
from ..protocol import Emit
from ..subscription import Subscription


class Hints:
    """What one call has to tell: each name once per topic, in the order in which it came up."""

    def __init__(self) -> None:
        self._names: dict[Topic, dict[str, None]] = {}

    def add(self, topic: Topic, name: str) -> None:
        self._names.setdefault(topic, {})[name] = None

    def __iter__(self) -> Iterator[Hint]:
        return (Hint(topic, tuple(names)) for topic, names in self._names.items())


class Audience:
    """All who listen."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._members: tuple[Subscription, ...] = ()  # replaced, never changed: `tell` reads it without the lock

    def join(self, topics: Sequence[Topic], emit: Emit) -> Subscription:
        member = Subscription(self.leave, topics, emit)
        with self._lock:
            self._members = (*self._members, member)
        return member

    def leave(self, gone: Subscription) -> None:
        with self._lock:
            self._members = tuple(member for member in self._members if member is not gone)

    def tell(self, hints: Iterable[Hint]) -> None:
        members = self._members
        if not members:
            return
        for hint in hints:
            for member in members:
                member.tell(hint)

    def close(self) -> None:
        for member in self._members:
            member.close()
