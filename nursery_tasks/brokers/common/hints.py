"""What one call has to tell the world: collected while it runs, told after it has given its locks back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.delivery import Hint, Topic
from ...model.ended import Ended


class Hints:
    """Each name once per topic, in the order in which it came up.

    Attributes:
        ended: The jobs that the call has ended itself.
    """

    def __init__(self) -> None:
        self.ended: list[Ended] = []
        self._names: dict[Topic, dict[str, None]] = {}

    def add(self, topic: Topic, name: str) -> None:
        self._names.setdefault(topic, {})[name] = None

    def add_all(self, topic: Topic, names: Iterable[str]) -> None:
        found = dict.fromkeys(names)
        if found:
            self._names.setdefault(topic, {}).update(found)

    def end(self, job: Ended) -> None:
        """Note that the call has ended a job, of which no worker tells."""
        self.ended.append(job)
        self.add("outcome", job.id)

    def __bool__(self) -> bool:
        return bool(self._names)

    def __iter__(self) -> Iterator[Hint]:
        return (Hint(topic, tuple(names)) for topic, names in self._names.items())
