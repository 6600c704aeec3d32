"""What is paused: all jobs of a task, or those with one value of an argument. Brokers keep it, and workers heed it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

PAUSED: Final = "paused "  # what the names begin with under which such jobs are parked; no task has a space in its name
MAX_PAUSES: Final = 1_000  # of one broker: each worker knows all of them, and each sweep looks at those that jobs wait for
MAX_VALUE: Final = 1_000  # characters of a value
MAX_NOTE: Final = 1_000


class PauseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One pause.

    Attributes:
        where: Values of arguments, as texts, that a job must have; empty: all jobs of the task.
        note: Why, for those who list pauses.
        by: Who has said so.
        paused_at: When, on the broker's clock.
        waiting: How many jobs workers have put aside for it; no worker has met the others yet.
    """

    task: str
    where: dict[str, str] = {}
    note: str = ""
    by: str = ""
    paused_at: float = 0.0
    waiting: int = 0

    @property
    def name(self) -> str:
        """What tells it apart, and under which its jobs are parked."""
        return name_of_pause(self.task, self.where)


class PauseList(msgspec.Struct, frozen=True):
    """All pauses, by name.

    Attributes:
        version: Another number after each change.
    """

    version: int
    records: Sequence[PauseRecord] = ()


def name_of_pause(task: str, where: Mapping[str, str]) -> str:
    """Return the name of a pause, which fits where the names of tasks do, whatever the values are."""
    if not where:
        return PAUSED + task
    return f"{PAUSED}{task} {hashlib.sha256(msgspec.json.encode(sorted(where.items()))).hexdigest()[:16]}"


def value_text(value: Any) -> str:
    """Write plain data as the text by which pauses compare it: so a person need not say whether 7 is a number."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.json.encode(value, order="sorted").decode()
