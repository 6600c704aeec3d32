"""An option in the wrong place, or with another library's name: the error says the right one, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from nursery_tasks import App, TaskClass
from nursery_tasks.errors import InvalidOptions

AT = datetime(2030, 1, 1, tzinfo=UTC)


async def nothing() -> None: ...


class WithId(TaskClass):
    id = "x"

    async def run(self) -> None: ...


class WithMoment(TaskClass):
    at = AT

    async def run(self) -> None: ...


class Plain(TaskClass):
    rate, attempts, lock = 5, 3, "red"  # attributes of the user's own

    async def run(self) -> int:
        return self.rate


DECLARED: list[tuple[Callable[[App], object], str]] = [
    (lambda app: app.task(id="x")(nothing), "id='x': expected it at a call, or all calls would be one job"),  # type: ignore[arg-type]
    (lambda app: app.task(at=AT)(nothing), "expected it at a call, or all calls would wait for the same moment"),  # type: ignore[arg-type]
    (lambda app: app.workflow(id="x")(nothing), "id='x': expected it at a call"),  # type: ignore[arg-type]
    (lambda app: app.workflow(at=AT, durable=True)(nothing), "expected it at a call"),  # type: ignore[arg-type]
    (lambda app: app.task(WithId), "id='x': expected it at a call"),
    (lambda app: app.task(WithMoment), "expected it at a call"),
    (lambda app: app.task(durable=True)(nothing), "durable=True: expected it on a workflow: @app.workflow(durable=...)"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("declare", "words"), DECLARED, ids=range(len(DECLARED)))
def test_what_belongs_to_one_call_is_refused_on_a_task(declare: Callable[[App], object], words: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        declare(App("memory:"))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"kill_after": 5}, "kill_after=5: expected it where the task is declared: @app.task(kill_after=...)"),
        ({"name": "x"}, "where the task is declared"),
        ({"run_in": "process"}, "where the task is declared"),
        ({"raw": True}, "where the task is declared"),
        ({"reply_to": "answers"}, "where the task is declared"),
        ({"durable": True}, "where the workflow is declared: @app.workflow(durable=...)"),
        ({"undo_timeout": 5}, "where the workflow is declared"),
    ],
)
def test_what_belongs_to_a_task_is_refused_at_a_call(option: Any, words: str) -> None:
    task = App("memory:").task(nothing)
    for call in (task.options, task.job().with_options):
        with pytest.raises(InvalidOptions) as caught:
            call(**option)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"timout": 3}, "expected timeout=...; the options are"),
        ({"retries": 5}, "expected retry=Retry(...), or retry=5 for five attempts"),
        ({"max_retries": 5}, "expected retry=Retry(...)"),
        ({"prioritiy": 5}, "expected priority=..."),
        ({"time_limit": 5}, "expected timeout=<seconds>"),
        ({"countdown": 5}, "expected delay=<seconds>"),
        ({"rate_limit": "5/s"}, 'expected limits=[RateLimit("10/s")]'),
        ({"queue_name": "q"}, "expected queue=<name>"),
        ({"colour": "red"}, "expected one of the options"),
    ],
)
def test_a_mistyped_option_says_what_was_meant(option: Any, words: str) -> None:
    app = App("memory:")
    for call in (app.task, app.workflow, app.task(nothing).options):
        with pytest.raises(InvalidOptions) as caught:
            call(**option)
        assert words in str(caught.value)
        assert "kill_after" in str(caught.value) or call != app.task
        assert "durable" in str(caught.value) or call != app.workflow


async def test_a_class_may_have_attributes_with_other_libraries_words() -> None:
    assert await App("memory:").task(Plain).run_local() == 5
