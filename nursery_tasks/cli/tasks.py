"""`nursery-tasks tasks`: what an app can do."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from .. import Task
from ..model.options import AT_MOST_ONCE
from ..model.retry import RetryRule
from ..observability.logging import duration
from .loading import load_app
from .options import JsonOption, VerboseOption
from .output import write_json, write_table
from .trouble import OK


def tasks(
    app: Annotated[str, typer.Option("--app", metavar="MODULE:APP", help="The app.")],
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """List the tasks of an app, with what is set on them. No broker is opened."""
    found = load_app(app).app.tasks()
    if as_json:
        write_json([_data(task) for task in found])
        return OK
    rows = [
        [
            f"{task.name}{task.spec.signature}",
            task.spec.kind if not task.spec.workflow else "loop, durable" if task.spec.durable else "loop, workflow",
            task.spec.options.queue,
            _timeout(task.spec.options.timeout_seconds, asked=task.spec.kind == "thread"),
            _retry(task.spec.options.retry),
            ", ".join(_flow(task)) or "-",
            task.spec.doc,
        ]
        for task in found
    ]
    write_table(
        ["task", "runs in", "queue", "timeout", "retry", "flow", "what it does"],
        rows,
        fold=["task", "flow", "what it does"],
    )
    return OK


def _data(task: Task[Any, Any]) -> dict[str, Any]:
    spec = task.spec
    rule = spec.options.retry
    return {
        "name": spec.name,
        "doc": spec.doc,
        "kind": spec.kind,
        "workflow": spec.workflow,
        "durable": spec.durable,
        "queue": spec.options.queue,
        "place": spec.place,
        "parameters": [_parameter(parameter) for parameter in spec.signature.signature.parameters.values()],
        "timeout": spec.options.timeout_seconds,
        "retry": None if rule is None else {"attempts": rule.attempts, "on": rule.on, "never": rule.never},
        "priority": spec.options.priority,
        "limits": [repr(limit) for limit in spec.options.limits],
        "ordering_key": None if spec.options.ordering_key is None else repr(spec.options.ordering_key),
        "delivery": str(spec.options.delivery),
        "batch": None if spec.batch is None else {"size": spec.batch.size, "wait": spec.batch.wait_seconds},
        "debounce": None if spec.options.debounce is None else repr(spec.options.debounce),
        "throttle": None if spec.options.throttle is None else repr(spec.options.throttle),
    }


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    return {"name": parameter.name, "text": str(parameter), "required": parameter.default is parameter.empty}


def _flow(task: Task[Any, Any]) -> Iterator[str]:
    """Say what else decides when its jobs run, and how many of them are one call."""
    spec = task.spec
    if spec.batch is not None:
        yield f"Batch({spec.batch.size:,}, wait={spec.batch.wait_seconds:g})"
    yield from map(repr, spec.options.keyed)
    if spec.options.delivery == AT_MOST_ONCE:
        yield "at most once"


def _timeout(seconds: float | None, *, asked: bool) -> str:
    """Write a time limit; a thread is only asked to keep it."""
    return "-" if seconds is None else duration(seconds) + (" (asked)" if asked else "")


def _retry(rule: RetryRule | None) -> str:
    if rule is None:
        return "-"
    times = "for ever" if rule.attempts is None else f"{rule.attempts} attempts"
    on = f" on {', '.join(name.rpartition('.')[2] for name in rule.on)}" if rule.on else ""
    return times + on
