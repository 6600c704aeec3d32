"""What is parked in the server, and what a worker knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .layout import encode
from .running import Scripts


class RedisParking:
    """The calls of `Parking`."""

    def __init__(self, scripts: Scripts) -> None:
        self._run = scripts.run
        self._names: Collection[str] = ()
        self._packed = b""

    def is_parked(self, queues: Sequence[str], names: Collection[str]) -> bool:
        return bool(names) and bool(self._run("parked", self.pack(names), *queues))

    def pack(self, names: Collection[str]) -> bytes:
        """Pack what a worker knows, which is the same in all of its claims."""
        if names is not self._names:
            self._names, self._packed = names, encode(list(names)) if names else b""
        return self._packed
