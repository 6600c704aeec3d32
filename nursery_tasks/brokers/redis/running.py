"""The scripts of a broker, ready to be run on its link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .link import Link
from .scripts import Script


class Scripts:
    """Runs a script by its name, by the server's clock or by a test's.

    Args:
        clock: Tells the time in epoch seconds; None: the server does.
    """

    def __init__(self, link: Link, scripts: Mapping[str, Script], clock: Callable[[], float] | None) -> None:
        self.link = link
        self._scripts = scripts
        self._clock = clock

    def run(self, script: str, *values: Any) -> Any:
        """Run a script. See `Link.run`."""
        now = "" if self._clock is None else repr(self._clock())
        return self.link.run(self._scripts[script], now, *values)
