"""What one call has to tell the world: collected while it runs, told after it has given its locks back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.delivery import Hint, Topic


class Hints:
    """Each name once per topic, in the order in which it came up."""

    def __init__(self) -> None:
        self._names: dict[Topic, dict[str, None]] = {}

    def add(self, topic: Topic, name: str) -> None:
        self._names.setdefault(topic, {})[name] = None

    def add_all(self, topic: Topic, names: Iterable[str]) -> None:
        found = dict.fromkeys(names)
        if found:
            self._names.setdefault(topic, {}).update(found)

    def __bool__(self) -> bool:
        return bool(self._names)

    def __iter__(self) -> Iterator[Hint]:
        return (Hint(topic, tuple(names)) for topic, names in self._names.items())
