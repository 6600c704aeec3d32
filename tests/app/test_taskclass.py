"""Tasks as classes."""

from __future__ import annotations

import abc
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

import pytest
from support import working

from nursery_tasks import App, Retry, TaskClass, resource
from nursery_tasks.declaring import TaskOptions
from nursery_tasks.errors import InvalidArguments, InvalidOptions, NotInJob
from nursery_tasks.testing import open_lab


@dataclass
class Point:
    x: int
    y: int


class Web(TaskClass):
    """A base: nothing registers it."""

    timeout = 60
    retry = Retry(3, wait=0)
    name = "web"


class Fetch(Web):
    """Fetch a page.

    And more.
    """

    queue = "pages"

    def __init__(self) -> None:
        self.calls = 0

    async def run(self, url: str, *, size: int = 10) -> list[Any]:
        self.calls += 1
        self.log.info("fetching")
        return [url[:size], self.job.task, self.job.attempt, self.calls, self.log.name]


class Move(TaskClass):
    def run(self, point: Point, by: int) -> Point:
        return Point(point.x + by, point.y + by)


async def test_a_class_is_a_task(app: App) -> None:
    fetch = app.task(Fetch)
    move = app.task(Move)
    async with working(app, queues=["pages", "default"]):
        assert await fetch.run("https://a", size=5) == ["https", "Fetch", 1, 1, "nursery_tasks.job.Fetch"]
        assert await move.run(Point(1, 2), by=3) == Point(4, 5)


def test_its_attributes_are_the_options_and_are_inherited(memory_app: App) -> None:
    spec = memory_app.task(Fetch).spec
    assert (spec.name, spec.kind, spec.doc) == ("Fetch", "loop", "Fetch a page.")
    assert (spec.options.queue, spec.options.timeout_seconds) == ("pages", 60)
    assert spec.options.retry is not None
    assert spec.options.retry.attempts == 3
    assert memory_app.task(Move).spec.kind == "thread"
    assert memory_app.task(Fetch, name="slow", timeout=600).spec.options.timeout_seconds == 600


def test_the_name_is_not_inherited(memory_app: App) -> None:
    class Named(Fetch):
        name = "mine"

    class Below(Named):
        timeout = 5

    assert memory_app.task(Named).name == "mine"
    below = memory_app.task(Below)
    assert (below.name, below.spec.options.timeout_seconds, below.spec.options.queue) == ("Below", 5, "pages")


def test_it_shows_the_parameters_of_run(memory_app: App) -> None:
    fetch = memory_app.task(Fetch)
    assert str(fetch.spec.signature) == "(url: str, *, size: int = 10) -> list[Any]"
    assert list(inspect.signature(fetch).parameters) == ["url", "size"]
    with pytest.raises(InvalidArguments, match=r"Fetch: too many positional arguments"):
        fetch.job("a", 10)  # type: ignore[call-overload]


async def test_each_attempt_has_an_instance_of_its_own(memory_app: App) -> None:
    made: list[object] = []

    class Flaky(TaskClass):
        retry = Retry(3, wait=0)

        def __init__(self) -> None:
            made.append(self)

        async def run(self) -> int:
            if self.job.attempt < 3:
                raise OSError
            return len(set(map(id, made)))

    flaky = memory_app.task(Flaky)
    async with open_lab(memory_app):
        assert await flaky.run() == 3


async def test_it_reaches_resources_both_ways(memory_app: App) -> None:
    @memory_app.lifespan
    async def base() -> AsyncIterator[str]:
        yield "http://a"

    class Get(TaskClass):
        def run(self, path: str, base: str = resource(base)) -> list[str]:
            return [f"{base}/{path}", self.job.state["base"]]

    get = memory_app.task(Get)
    async with working(memory_app):
        assert await get.run("x") == ["http://a/x", "http://a"]
    assert await get.run_local("y") == ["http://a/y", "http://a"]


def test_a_plain_call_makes_an_instance_and_calls_run(memory_app: App) -> None:
    assert memory_app.task(Move)(Point(1, 1), 1) == Point(2, 2)
    assert Move().run(Point(1, 1), by=2) == Point(3, 3)
    with pytest.raises(NotInJob):
        _ = Move().job


def test_it_can_be_a_decorator_at_run_time(memory_app: App) -> None:
    @memory_app.task(timeout=3)
    class Add(TaskClass):
        def run(self, a: int) -> int:
            return a + 1

    task: Any = Add
    assert (task.name, task.spec.options.timeout_seconds, task(1)) == ("Add", 3, 2)


def test_a_module_that_is_loaded_again_replaces_its_class(memory_app: App) -> None:
    memory_app.task(Move)
    assert memory_app.task(Move).name == "Move"


# --- refused at once ---------------------------------------------------------------------------------------------------------


class NoRun(TaskClass):
    pass


class NoBase:
    def run(self) -> None: ...


class Abstract(TaskClass, abc.ABC):
    @abc.abstractmethod
    def run(self) -> None: ...


class Static(TaskClass):
    @staticmethod
    def run() -> None: ...


class Yields(TaskClass):
    async def run(self) -> AsyncIterator[int]:
        yield 1


class Needs(TaskClass):
    def __init__(self, size: int) -> None: ...
    def run(self) -> None: ...


class Mistyped(TaskClass):
    timeot = 3

    def run(self) -> None: ...


class FromElsewhere(TaskClass):
    max_retries = 3

    def run(self) -> None: ...


class Marked(TaskClass):
    abstract = True

    def run(self) -> None: ...


class Wrong(TaskClass):
    priority = 12

    def run(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (NoRun, "class='NoRun': expected a method `run(self, ...)`"),
        (NoBase, "class='NoBase': expected a subclass of nursery_tasks.TaskClass, or a function"),
        (Abstract, "a class without abstract methods; it lacks run"),
        (Static, "a plain method of Static"),
        (Yields, "run='Yields.run': expected a method that returns its result; this one yields"),
        (Needs, "an __init__ that needs no arguments (missing a required argument: 'size')"),
        (Mistyped, "timeot=3: expected timeout=...; what is no option may begin with an underscore"),
        (FromElsewhere, "max_retries=3: expected retry=Retry(...)"),
        (Marked, "abstract=True: expected no such word: a base class is one that is not given to app.task()"),
        (Wrong, "priority=12: expected a whole number"),
    ],
)
def test_a_class_that_cannot_be_a_task_is_refused(memory_app: App, cls: type[Any], words: str) -> None:
    with pytest.raises(InvalidOptions) as caught:
        memory_app.task(cls)
    assert words in str(caught.value)
    assert not memory_app.registry.tasks


def test_other_attributes_are_the_classes_own_business(memory_app: App) -> None:
    class Busy(TaskClass):
        cache: ClassVar[dict[str, int]] = {}
        pages = 3
        _timeot = 1

        def retries(self) -> int:
            return 3

        def run(self) -> int:
            return self.retries() + self.pages

    assert memory_app.task(Busy)() == 6


def test_the_typed_attributes_are_options() -> None:
    assert get_type_hints(TaskClass).keys() <= TaskOptions.__annotations__.keys()
