"""A flow as data: what travels in the job that runs it on a worker.

Jobs are named and plain functions chosen from a fixed list, so that no data can choose code to run. The worker makes a flow of
it again, checks it as if it had been written there, and runs it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ..errors import InvalidOptions
from ..model.options import DeliveryMode, JobOptions
from ..model.retry import RetryRule

FLOW: Final = "nursery_tasks.flow"  # what messages call the task that runs a flow
Policy = Literal["fail_fast", "wait_all", "first_success"]
POLICIES: Final[tuple[Policy, ...]] = ("fail_fast", "wait_all", "first_success")

_DEFAULTS: Final = JobOptions()


class OptionsData(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of `JobOptions`, where they are not as they come.

    Limits do not travel, nor does an ordering key, a debounce or a throttle: the worker's own task has them.
    """

    queue: str = _DEFAULTS.queue
    local: bool = _DEFAULTS.local
    priority: int = _DEFAULTS.priority
    timeout_seconds: float | None = None
    retry: RetryRule | None = None
    delay_seconds: float = _DEFAULTS.delay_seconds
    start_at: float | None = None
    expires_seconds: float | None = None
    result_ttl_seconds: float = _DEFAULTS.result_ttl_seconds
    key: str | None = None
    job_id: str | None = None
    tags: tuple[str, ...] = ()
    max_crashes: int = _DEFAULTS.max_crashes
    delivery: DeliveryMode = _DEFAULTS.delivery
    headers: dict[str, str] = {}
    changed: tuple[str, ...] = ()


class JobData(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="job"):
    """One job. The worker that runs the flow may have another version of the task than the one that the arguments are for."""

    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: OptionsData | None = None
    fingerprint: str | None = None


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


class Undo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task that takes something back, with its arguments."""

    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: OptionsData | None = None


def options_to_data(task: str, options: JobOptions, own: JobOptions | None) -> OptionsData | None:
    """Write options down.

    Args:
        own: Those of the task itself; None: it is not known here.

    Raises:
        InvalidOptions: There are limits, an ordering key, or a debounce or throttle, other than the task's own.
    """
    if _is_other("ordering_key", options, own):
        expected = f"that of {task} itself, or no flow that is enqueued: one that is given by options() cannot travel in it"
        raise InvalidOptions("ordering_key", options.ordering_key, expected)
    if _is_other("limits", options, own):
        expected = f"those of {task} itself, or no flow that is enqueued: limits given by options() cannot travel in it"
        raise InvalidOptions("limits", options.limits, expected)
    in_time, of_task = options.keyed_in_time, None if own is None else own.keyed_in_time
    kept = in_time or of_task
    if kept is not None and in_time != of_task:
        expected = f"that of {task} itself, or no flow that is enqueued: one given by options() cannot travel in it"
        raise InvalidOptions(kept.kind, in_time, expected)
    given: dict[str, Any] = {name: getattr(options, name) for name in OptionsData.__struct_fields__}
    given["changed"], given["headers"] = tuple(sorted(options.changed)), dict(options.headers)
    data = OptionsData(**given)
    return None if data == OptionsData() else data


def _is_other(name: str, options: JobOptions, own: JobOptions | None) -> bool:
    """Say whether an option was given, also as nothing, and is another than the task's own."""
    value = getattr(options, name)
    return bool(name in options.changed or value) and (own is None or value != getattr(own, name))


def options_from_data(data: OptionsData | None, own: JobOptions | None) -> JobOptions:
    """Do the reverse.

    Raises:
        InvalidOptions: What was given does not go with what the task has here: it is of another version.
    """
    data = data or OptionsData()
    given: dict[str, Any] = {name: getattr(data, name) for name in OptionsData.__struct_fields__}
    given["changed"] = frozenset(data.changed)
    if own is None:
        return JobOptions(**given)
    return JobOptions(**given, limits=own.limits, ordering_key=own.ordering_key, debounce=own.debounce, throttle=own.throttle)
