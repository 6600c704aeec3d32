"""Who works, and the answers of all of them to one question."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import count
from threading import Condition
from typing import Final

SETTLE_SECONDS: Final = 0.3  # after a box was opened, until those who are there have said so; at most
ECHOES: Final = 3  # as many times as our own greeting took, and a moment more
ECHO_SECONDS: Final = 0.02
ANSWER_SECONDS: Final = 1.0


class Question:
    """Which jobs somebody holds, as it comes in."""

    def __init__(self, number: int, missing: Iterable[str]) -> None:
        self.number = number
        self.missing = set(missing)
        self.held: set[str] = set()


class Roster:
    """The workers that this process knows of, by their boxes. Any thread."""

    def __init__(self) -> None:
        self._news = Condition()
        self._boxes: set[str] = set()
        self._questions: dict[int, Question] = {}
        self._numbers = count(1)
        self.greeted()

    def greeted(self) -> None:
        """Hear that our box was opened and those who are there were asked to say so."""
        self._greeted_at = time.monotonic()
        self._settled_at = self._greeted_at + SETTLE_SECONDS

    def echoed(self) -> None:
        """Hear our own greeting: the answers to it are on their way for about as long."""
        now = time.monotonic()
        with self._news:
            self._settled_at = min(self._settled_at, now + ECHOES * (now - self._greeted_at) + ECHO_SECONDS)
            self._news.notify_all()

    def add(self, box: str) -> None:
        with self._news:
            self._boxes.add(box)

    def remove(self, box: str) -> None:
        with self._news:
            self._boxes.discard(box)
            for question in self._questions.values():
                question.missing.discard(box)
            self._news.notify_all()

    def settle(self) -> None:
        """Wait until those who are there have answered our greeting; bounded."""
        end = time.monotonic() + SETTLE_SECONDS
        with self._news:
            while (left := min(end, self._settled_at) - time.monotonic()) > 0:
                self._news.wait(left)

    def ask(self) -> Question:
        """Begin a question to all who are known; waits a moment when this process has just come."""
        self.settle()
        with self._news:
            question = Question(next(self._numbers), self._boxes)
            self._questions[question.number] = question
            return question

    def answer(self, box: str, number: int, ids: Iterable[str]) -> None:
        """Take an answer."""
        with self._news:
            self._boxes.add(box)
            question = self._questions.get(number)
            if question is not None:
                question.held.update(ids)
                question.missing.discard(box)
                self._news.notify_all()

    def close(self, question: Question, *, wait: bool = True) -> set[str]:
        """Wait for the answers, and return what is held. Whoever is silent is taken for dead until it speaks again."""
        with self._news:
            if wait:
                self._news.wait_for(lambda: not question.missing, ANSWER_SECONDS)
                self._boxes -= question.missing
            del self._questions[question.number]
            return set(question.held)
