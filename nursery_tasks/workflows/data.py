"""A flow as data: what travels in the job that runs it on a worker.

Jobs are named and plain functions chosen from a fixed list, so that no data can choose code to run. The worker makes a flow of
it again, checks it as if it had been written there, and runs it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final, Literal

import msgspec

from ..model.options import JobOptions

FLOW: Final = "nursery_tasks.flow"  # what messages call the task that runs a flow
Policy = Literal["fail_fast", "wait_all", "first_success"]
POLICIES: Final[tuple[Policy, ...]] = ("fail_fast", "wait_all", "first_success")

_DEFAULTS: Final = JobOptions()


class JobData(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="job"):
    """One job. *options* holds the fields of `JobOptions` that are not as they come."""

    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}


class CallData(msgspec.Struct, frozen=True, tag_field="kind", tag="call"):
    """One of Python's own functions, by its name."""

    name: str


class SequenceData(msgspec.Struct, frozen=True, tag_field="kind", tag="sequence"):
    """Steps, one after the other."""

    steps: list[NodeData]


class ParallelData(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="parallel"):
    """Branches, side by side; or, with *over_items*, the only branch once for each item of what comes in."""

    branches: list[NodeData]
    then: NodeData | None = None
    policy: Policy = "fail_fast"
    limit: int | None = None
    over_items: bool = False


NodeData = JobData | CallData | SequenceData | ParallelData


def options_to_data(options: JobOptions) -> dict[str, Any]:
    """Return what differs from the defaults."""
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return {name: value for name, value in given.items() if value != getattr(_DEFAULTS, name)}


def options_from_data(given: dict[str, Any]) -> JobOptions:
    """Do the reverse; options that this version does not know are left out."""
    return msgspec.convert(given, JobOptions)
