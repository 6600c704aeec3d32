"""Submissions that belong together in time: what a task declares, and the data that goes to brokers.

A *window* is a time in which one job stands for all submissions of one name. A `Debounce` keeps its window open for as long as
submissions come, and the last one is the job; a `Throttle` opens it once, and the first one is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ..errors import InvalidOptions
from .duration import Duration, to_seconds
from .keys import Key, Keyed

LEAST_SECONDS: Final = 0.001


class Window(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The window of one submission, as brokers get it.

    Attributes:
        name: What belongs together, whatever the job, task or queue.
        seconds: Of a throttle, how long it is open after the submission that is stored. 0: it is a debounce, which is open
            until its job is due.
        most_seconds: Of a debounce, how long after its first submission its job is due at the latest; None: never too late.
    """

    name: str
    seconds: float = 0.0
    most_seconds: float | None = None

    @property
    def is_debounce(self) -> bool:
        return not self.seconds

    def open_until(self, now: float, due_at: float) -> float:
        """Return until when it is open, from a submission that was stored *now*."""
        return due_at if self.is_debounce else now + self.seconds

    def due_again(self, created_at: float, due_at: float, now: float) -> float:
        """Of a debounce, return when its job is due after one more submission that would be due at *due_at*."""
        return due_at if self.most_seconds is None else max(now, min(due_at, created_at + self.most_seconds))


class Debounce(Keyed):
    """Let a submission wait until nobody has submitted the same for *seconds*; then the last one runs.

        @app.task(debounce=Debounce(2))
        @app.task(debounce=Debounce(2, key="{document}", most=30))     # for each document, and no later than after 30 s

    While a job waits like that, the next submission takes its place: arguments, options and message are those of the last, the
    id is that of the first, and each handle is on that id. Once the job may start, was cancelled or has ended, the next
    submission begins a new one.

    Args:
        seconds: How long it has to be quiet, in seconds or as a timedelta.
        key: Jobs with different keys are apart: a template over the task's parameters, such as `"{user}"`, or a function
            that is called with the job's arguments. It is made when the job is submitted.
        name: What belongs together; default: the task's name.
        most: How long after the first submission the job may start at the latest; None: it waits for as long as others come.

    Raises:
        InvalidOptions: A value makes no sense.
    """

    __slots__ = ("most_seconds", "seconds")

    def __init__(
        self, seconds: Duration, key: Key | None = None, name: str | None = None, most: Duration | None = None
    ) -> None:
        super().__init__(name, key)
        self.seconds = to_seconds("seconds", seconds, at_least=LEAST_SECONDS)
        self.most_seconds = None if most is None else to_seconds("most", most)
        if self.most_seconds is not None and self.most_seconds < self.seconds:
            raise InvalidOptions("most", most, f"{self.seconds:g} seconds or more: so long the first one waits anyway")

    def __repr__(self) -> str:
        most = "" if self.most_seconds is None else f", most={self.most_seconds:g}"
        return f"Debounce({self.seconds:g}{self._shown()}{most})"

    def _facts(self) -> tuple[object, ...]:
        return self.seconds, self.most_seconds, *super()._facts()

    @property
    def kind(self) -> str:
        """The option that it is given as."""
        return "debounce"

    def for_job(
        self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> Window:
        """Make the window of one job; *bound* returns its arguments by name.

        Raises:
            InvalidOptions: The key cannot be made of these arguments.
        """
        return Window(self.full_name(task, self.kind, args, kwargs, bound), most_seconds=self.most_seconds)


class Throttle(Keyed):
    """Let the first submission run, and store no other of the same within *seconds* of it.

        @app.task(throttle=Throttle(60))
        @app.task(throttle=Throttle(60, key="{user}"))     # for each user

    The handle of a submission that is not stored is on the job that was, also when that has ended. When the broker does not
    keep that job any more, because its outcome was kept for less than *seconds* or somebody purged it, the handle says
    `UnknownJob`, as that of any job that is gone; it does not run again for that.

    Args:
        seconds: From one submission that is stored to the next, in seconds or as a timedelta.
        key, name: As for `Debounce`.

    Raises:
        InvalidOptions: A value makes no sense.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: Duration, key: Key | None = None, name: str | None = None) -> None:
        super().__init__(name, key)
        self.seconds = to_seconds("seconds", seconds, at_least=LEAST_SECONDS)

    def __repr__(self) -> str:
        return f"Throttle({self.seconds:g}{self._shown()})"

    def _facts(self) -> tuple[object, ...]:
        return self.seconds, *super()._facts()

    @property
    def kind(self) -> str:
        """The option that it is given as."""
        return "throttle"

    def for_job(
        self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> Window:
        """Make the window of one job. See `Debounce.for_job`."""
        return Window(self.full_name(task, self.kind, args, kwargs, bound), seconds=self.seconds)


def check_debounce(option: str, value: object) -> Debounce | None:
    """Check `debounce=`.

    Raises:
        InvalidOptions: It is something else.
    """
    if value is not None and not isinstance(value, Debounce):
        raise InvalidOptions(option, value, "Debounce(<seconds>), such as Debounce(2, key='{document}'), or None")
    return value


def check_throttle(option: str, value: object) -> Throttle | None:
    """Check `throttle=`.

    Raises:
        InvalidOptions: It is something else.
    """
    if value is not None and not isinstance(value, Throttle):
        raise InvalidOptions(option, value, "Throttle(<seconds>), such as Throttle(60, key='{user}'), or None")
    return value
