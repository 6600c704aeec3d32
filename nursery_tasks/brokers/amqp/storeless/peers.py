"""The other processes: their answers to one question, and a moment to hear of those who are there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import count
from threading import Condition
from typing import Final

GREETING_SECONDS: Final = 0.3  # after a reply queue was opened, until those who are there have said what we missed; at most
ECHOES: Final = 3  # as many times as our own greeting took, and a moment more
ECHO_SECONDS: Final = 0.02
ANSWER_SECONDS: Final = 1.0


class Question:
    """Which jobs somebody holds, as it comes in.

    Attributes:
        workers: How many answers there will be, as far as the server knows.
        answered: The reply queues of those from whom one has come, or whose worker has left meanwhile.
    """

    def __init__(self, number: int, workers: int) -> None:
        self.number, self.workers = number, workers
        self.answered: set[str] = set()
        self.held: set[str] = set()

    @property
    def is_over(self) -> bool:
        return len(self.answered) >= self.workers


class Peers:
    """The questions of this process. Any thread."""

    def __init__(self) -> None:
        self._news = Condition()
        self._questions: dict[int, Question] = {}
        self._numbers = count(1)
        self.greeted()

    def greeted(self) -> None:
        """Hear that our reply queue was opened and those who are there were asked to say so."""
        self._greeted_at = time.monotonic()
        self._greeting_over_at = self._greeted_at + GREETING_SECONDS

    def echoed(self) -> None:
        """Hear our own greeting: the answers to it are on their way for about as long."""
        now = time.monotonic()
        with self._news:
            self._greeting_over_at = min(self._greeting_over_at, now + ECHOES * (now - self._greeted_at) + ECHO_SECONDS)
            self._news.notify_all()

    def left(self, reply_queue: str) -> None:
        """Hear that a worker has left: it will not answer any more."""
        with self._news:
            for question in self._questions.values():
                question.answered.add(reply_queue)
            self._news.notify_all()

    def wait_greeted(self) -> None:
        """Wait until those who are there have answered our greeting; bounded."""
        end = time.monotonic() + GREETING_SECONDS
        with self._news:
            while (left := min(end, self._greeting_over_at) - time.monotonic()) > 0:
                self._news.wait(left)

    def ask(self, workers: int) -> Question:
        """Begin a question to so many workers."""
        with self._news:
            question = Question(next(self._numbers), workers)
            self._questions[question.number] = question
            return question

    def answer(self, reply_queue: str, number: int, ids: Iterable[str]) -> None:
        """Take an answer."""
        with self._news:
            question = self._questions.get(number)
            if question is not None:
                question.held.update(ids)
                question.answered.add(reply_queue)
                self._news.notify_all()

    def close(self, question: Question, *, wait: bool = True) -> set[str]:
        """Wait for the answers, and return what is held. Whoever is silent is not waited for any longer."""
        with self._news:
            if wait:
                self._news.wait_for(lambda: question.is_over, ANSWER_SECONDS)
            del self._questions[question.number]
            return set(question.held)
