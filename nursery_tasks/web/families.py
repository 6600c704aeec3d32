"""All families of operations, put together."""

from __future__ import annotations

from . import health
from .api import bulk, jobs, queues, schedules, tasks, trees
from .operations import Operation


def all_operations() -> list[Operation]:
    """Return all that a door offers."""
    families = (health, tasks, bulk, jobs, trees, queues, schedules)
    return [operation for family in families for operation in family.OPERATIONS]
