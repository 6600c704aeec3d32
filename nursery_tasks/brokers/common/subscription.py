"""Subscriptions to hints: what `listen` gives, and one for brokers whose listeners are called from more than one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Lock, RLock
from typing import Protocol

from ...model.delivery import Hint, Topic

Emit = Callable[[Hint], None]


class Listener(Protocol):
    """A subscription to hints."""

    def close(self) -> None:
        """End it: when this returns, `emit` is not called any more."""
        ...


class Subscription:
    """One `listen`. Its lock is held while `emit` runs, so that `close` can promise that no call follows it.

    Args:
        leave: Called with this subscription when it is closed.
    """

    def __init__(self, leave: Callable[[Subscription], None], topics: Sequence[Topic], emit: Emit) -> None:
        self.topics = frozenset(topics)
        self._leave, self._emit = leave, emit
        self._telling = RLock()  # re-entrant: `emit` may close its own subscription
        self._closed = False

    def tell(self, hint: Hint) -> None:
        """Pass a hint on, if it is about one of the topics."""
        if hint.topic not in self.topics:
            return
        with self._telling:
            if not self._closed:
                self._emit(hint)

    def close(self) -> None:
        """End it: when this returns, `emit` is not called any more."""
        with self._telling:
            self._closed = True
        self._leave(self)


class Audience:
    """All who listen to one broker."""

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
