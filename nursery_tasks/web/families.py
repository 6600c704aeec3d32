"""All families of operations, put together."""

from __future__ import annotations

from . import health
from .api import bulk, events, jobs, openapi, pauses, queues, rpc, schedules, tasks, trees
from .operations import Operation
from .settings import DoorSettings


def operations_of(settings: DoorSettings) -> list[Operation]:
    """Return all that a door with these settings offers."""
    families = (health, tasks, bulk, jobs, trees, queues, pauses, schedules, events, *((rpc,) if settings.rpc else ()))
    operations = [operation for family in families for operation in family.OPERATIONS]
    return [*operations, openapi.operation_for(operations)]
