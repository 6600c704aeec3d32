"""How brokers that store a job's state as a number count them. Files and servers hold these numbers: their order is fixed."""

from __future__ import annotations

from typing import Final

from ...model.states import JobState

STATES: Final = tuple(JobState)  # number -> state
NUMBERS: Final = {state: number for number, state in enumerate(STATES)}


def to_state(number: int) -> JobState:
    """Return the state that is stored as *number*."""
    return STATES[number]
