"""The missed-message check: when a queue's jobs are looked for in the store although no message has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final

LOOK_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 4.0  # messages wait at the server, and none has come for so long


class MissedMessageCheck:
    """What is known of messages that may be missing, by queue. Any thread.

    A job is in the store before its message is at the server, and a message may be in another worker's hands; so one empty look
    says nothing. Two of them, with no message between, say that the store is worth a claim. That claim is never wrong, because
    the store leases each job once; it would only be a waste to make it each time.

    A server that has messages is given longer. It may be about to deliver them, or may not deliver at all: a quorum queue whose
    node was killed can leave a consumer without an answer for minutes.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._next: dict[str, float] = {}  # when the queue is looked at next
        self._came: dict[str, float] = {}  # when the last message came; where none has, when that was first noticed
        self._empty: set[str] = set()  # queues whose last look found nothing
        self._missing: set[str] = set()  # queues that are known to lack messages

    def message_came(self, queue: str) -> None:
        """Hear that a message has come."""
        with self._lock:
            self._empty.discard(queue)
            self._came[queue] = time.monotonic()

    def note_missing(self, queues: Iterable[str]) -> None:
        """Hear that messages could not be published."""
        with self._lock:
            self._missing.update(queues)

    def note_claim(self, queue: str, full: bool) -> None:
        """Hear what a claim without messages brought: all it wanted, so that the next one is worth it at once, or less."""
        with self._lock:
            if full:
                self._missing.add(queue)
            else:
                self._missing.discard(queue)

    def should_claim(self, queue: str, depth: Callable[[], int]) -> bool:
        """Say whether to claim from the store now. *depth* asks the server how many messages wait."""
        now = time.monotonic()
        with self._lock:
            if queue in self._missing:
                return True
            if now < self._next.setdefault(queue, now + LOOK_SECONDS):
                return False
            self._next[queue] = now + LOOK_SECONDS
            came = self._came.setdefault(queue, now)
        if depth():
            with self._lock:
                self._empty.discard(queue)
            return now - came >= SILENT_SECONDS
        with self._lock:
            if queue not in self._empty:
                self._empty.add(queue)
                return False
            return True
