"""The scripts of a broker, ready to be run: by the server's clock or by a test's, on its link or on whatever carries a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ..common.ends import EndListeners
from .link import Link
from .records import to_ended
from .scripts import Script

MOST_ITEMS: Final = 1_000  # in a step that an event loop makes; more would hold it up

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Step(Generic[T_co]):
    """One call: what it asks the server, and how the answer is read. It knows no link, so any can carry it.

    Attributes:
        values: What the script gets; the first is the time.
        decode: Makes the call's answer of the script's; it may raise what the call raises.
    """

    script: Script
    values: tuple[Any, ...]
    decode: Callable[[Any], T_co]


Make = Callable[..., Step[Any] | None]
Makers = dict[Callable[..., Any], Make]  # by the methods of which they make the steps; None: that call is not one step


class Scripts:
    """Makes steps of scripts by their names, and carries them on the blocking link.

    Args:
        clock: Tells the time in epoch seconds; None: the server does.

    Attributes:
        ends: Those who hear of jobs that a script has ended.
    """

    def __init__(self, link: Link, scripts: Mapping[str, Script], clock: Callable[[], float] | None) -> None:
        self.link = link
        self._scripts = scripts
        self._clock = clock
        self.ends = EndListeners()

    def step(self, script: str, decode: Callable[[Any], T], *values: Any) -> Step[T]:
        """Make a step of a script."""
        known = self._scripts[script]
        return Step(known, (self._now(), *values), partial(self._hear, decode) if known.tells else decode)

    def take(self, step: Step[T]) -> T:
        """Take a step on the link, and return its answer. Raises as `Link.run` does, and what the answer says."""
        return step.decode(self.link.run(step.script, *step.values))

    def run(self, script: str, *values: Any) -> Any:
        """Run a script, none that tells what it has ended. See `Link.run`."""
        return self.link.run(self._scripts[script], self._now(), *values)

    def _hear(self, decode: Callable[[Any], T], answer: Any) -> T:
        """Read the answer of a script that tells what it has ended."""
        said, ended = answer
        if ended is not None:
            self.ends.tell(to_ended(ended))
        return decode(said)

    def _now(self) -> str:
        return "" if self._clock is None else repr(self._clock())


def some(make: Callable[..., Step[Any]], most: int = MOST_ITEMS) -> Make:
    """Return *make* for calls whose first argument has some items, and no more than *most*."""

    def made(items: Sequence[Any], *more: Any) -> Step[Any] | None:
        return make(items, *more) if 0 < len(items) <= most else None

    return made
