"""Values go out and come back as what they are, whichever way they travel; what cannot is refused before anything runs."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn, TypedDict, Unpack
from uuid import UUID

import pytest
from support import working

from nursery_tasks import App, parallel, sequence
from nursery_tasks.errors import InvalidArguments, InvalidOptions, NotSerializable


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Nested:
    names: dict[int, str]
    weights: dict[float, dict[Level, int]] = field(default_factory=dict[float, dict[Level, int]])


class Text(str): ...


class Number(int): ...


class Real(float):
    def __float__(self) -> float:
        raise AssertionError("the value itself travels, not what a method makes of it")


class Moment(datetime): ...


class Money(Decimal): ...


class Key(UUID): ...


ONE = UUID(int=1)
NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)


@pytest.fixture
def memory_app() -> App:
    return App("memory:")


AT_HOME: list[tuple[Any, Any]] = [  # annotation, value: it comes as the same
    (dict[int, str], {1: "a", -2: "b"}),
    (dict[float, int], {1.5: 1}),
    (dict[Level, int], {Level.LOW: 1}),
    (dict[UUID, int], {ONE: 1}),
    (dict[date, list[int]], {date(2026, 2, 1): [1]}),
    (dict[int, dict[int, str]], {1: {2: "a"}}),
    (list[dict[int, str]], [{1: "a"}]),
    (dict[Literal[1, 2], int], {1: 1}),
    (Nested, Nested({1: "a"}, {0.5: {Level.LOW: 2}})),
    (UUID | str, ONE),
    (UUID | str, "no uuid"),
    (str | UUID, ONE),
    (date | datetime, date(2026, 2, 1)),
    (date | datetime, NOON),
    (datetime | date | None, date(2026, 2, 1)),
    (datetime | date | None, None),
    (list[UUID | str], [ONE, "x"]),
    (dict[str, date | datetime], {"a": NOON}),
    (list[int] | tuple[int, ...], [1]),
    (set[int] | list[int], [1, 1]),
    (Nested | dict[str, int], Nested({1: "a"})),
    (Nested | dict[str, int], {"a": 1}),
    (Level | str, Level.LOW),
    (Level | str, "x"),
    (Text, Text("a")),
    (Number, Number(7)),
    (Real, Real(1.5)),
    (Moment, Moment(2026, 2, 1, 12, tzinfo=UTC)),
    (Money, Money("1.50")),
    (Key, Key(int=7)),
    (list[Text], [Text("a")]),
    (Text | None, Text("a")),
    (dict[Text, Number], {Text("a"): Number(1)}),
]


@pytest.mark.parametrize(("annotation", "value"), AT_HOME, ids=range(len(AT_HOME)))
@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_a_value_comes_as_what_it_is(annotation: Any, value: object, form: Literal["json", "msgpack"]) -> None:
    app = App("memory:", codec=form)
    got: list[object] = []

    async def echo(value: Any) -> Any:
        got.append(value)
        return value

    echo.__annotations__ |= {"value": annotation, "return": annotation}
    task = app.task(echo)
    async with working(app):
        came = await task.run(value)
        through_a_flow = await sequence(task.job(value), task.job()).run()
    assert await task.run_local(value) == value
    for each in (*got, came, through_a_flow):
        assert (each, type(each)) == (value, type(value))


def test_keys_that_json_would_make_one_are_refused_before_anything_is_sent(memory_app: App) -> None:
    for value in ({1: 1, "1": 2}, [{"a": {1: 1, "1": 2}}], {"deep": Nested({1: "a", "1": "b"})}):  # type: ignore[dict-item]
        with pytest.raises(NotSerializable, match="in JSON all keys are texts, and the keys 1 and '1' of one dict"):
            memory_app.registry.codec.encode("an argument", value)
    memory_app.registry.codec.encode("an argument", [{1: 1, 2: 2}, {"1": 2, "a": [1]}])
    App("memory:", codec="msgpack").registry.codec.encode("an argument", {1: 1, "1": 2})


@dataclass
class Unclear:
    which: UUID | str


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bytes | str, "in JSON, bytes are a text: a union of both does not say which"),
        (list[bytes | str], "a union of both does not say which"),
        (Unclear, "may not contain more than one str-like type"),
    ],
)
def test_an_annotation_that_nothing_can_become_is_refused_at_the_decorator(annotation: Any, words: str) -> None:
    async def take(value: Any) -> None: ...
    async def give() -> Any: ...

    take.__annotations__["value"] = annotation
    give.__annotations__["return"] = annotation
    with pytest.raises(InvalidOptions, match=f"for parameter 'value' of take: .*{words}"):
        App("memory:").task(take)
    with pytest.raises(InvalidOptions, match=f"for the result of give: .*{words}"):
        App("memory:").task(give)


class Options(TypedDict, total=False):
    when: date


async def test_annotations_that_say_nothing_of_values_are_no_obstacle(memory_app: App) -> None:
    @memory_app.task
    async def never() -> NoReturn:
        raise ValueError("as it says")

    @memory_app.task
    async def take(*numbers: int, **options: Unpack[Options]) -> str:
        return f"{numbers} {options}"

    async with working(memory_app):
        with pytest.raises(ValueError, match="as it says"):
            await never.run()
        assert await take.run(1, when=date(2026, 2, 1)) == "(1,) {'when': datetime.date(2026, 2, 1)}"


WRONG: list[tuple[Any, Any, str]] = [
    (int, "x", "Expected `int`, got `str`"),
    (int, [], "Expected `int`, got `array`"),
    (int, 1.5, "Expected `int`, got `float`"),
    (int, None, "Expected `int`, got `null`"),
    (str, 5, "Expected `str`, got `int`"),
    (str | None, 5, "Expected `str | null`, got `int`"),
    (list[int], "abc", "Expected `array`, got `str`"),
    (dict[str, int], [], "Expected `object`, got `array`"),
    (Nested, 5, "Expected `object`, got `int`"),
    (bool, 1, "Expected `bool`, got `int`"),
]
RIGHT: list[tuple[Any, Any]] = [
    (str, ONE),
    (str, NOON),
    (list[int], (1, 2)),
    (tuple[int, ...], [1]),
    (float, 1),
    (Nested, {"names": {1: "a"}}),
    (bytes, b"x"),
    (UUID, str(ONE)),
    (UUID | int, "x"),  # for the worker to say: a text may be one
    (list[int], ["x"]),  # likewise, what is inside
    (Any, object),
]


@pytest.mark.parametrize(("annotation", "value", "words"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_class_is_told_at_the_call(annotation: Any, value: object, words: str) -> None:
    app = App("memory:")

    async def take(before: int, value: Any, *, more: Any = 0) -> None: ...

    take.__annotations__ |= {"value": annotation, "more": annotation}
    task: Any = app.task(take)
    for call in (lambda: task.job(1, value), lambda: app.job("take", 1, value), lambda: task.job(1, value, more=0)):
        with pytest.raises(InvalidArguments) as caught:
            call()
        assert str(caught.value).startswith(f"take: argument 'value': {words}")
    with pytest.raises(InvalidArguments, match="argument 'value'"):
        asyncio.run(task.run(1, value))


@pytest.mark.parametrize(("annotation", "value"), RIGHT, ids=range(len(RIGHT)))
def test_what_may_fit_is_not_refused_at_the_call(annotation: Any, value: object) -> None:
    async def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    App("memory:").task(take).job(value)


async def test_a_job_may_still_lack_its_first_argument(memory_app: App) -> None:
    @memory_app.task
    async def first() -> list[int]:
        return [1, 2]

    @memory_app.task
    async def scaled(values: list[int], by: int = 1) -> list[int]:
        return [by * value for value in values]

    async with working(memory_app):
        assert await sequence(first.job(), scaled.job(3)).run() == [3, 6]
        assert await sequence(first.job(), parallel(scaled.job(2), scaled.job())).run() == [[2, 4], [1, 2]]
    with pytest.raises(InvalidArguments, match="argument 'values'"):
        scaled.job("x")  # type: ignore[arg-type]


async def test_numbers_of_numpy_travel_as_numbers(memory_app: App) -> None:
    numpy = pytest.importorskip("numpy")

    @memory_app.task
    async def echo(value: Any) -> Any:
        return value

    async with working(memory_app):
        for value in (numpy.float64(1.5), numpy.float32(0.5), numpy.int64(7), numpy.bool_(True), numpy.str_("a")):
            assert await echo.run(value) == value.item()


class Scalar:
    """What numpy's scalars look like, where numpy is not installed."""

    ndim = 0

    def item(self) -> int:
        return 7


Scalar.__module__ = "numpy"


async def test_subclasses_are_no_reason_to_fail_after_the_work(memory_app: App) -> None:
    @memory_app.task
    async def give(which: int) -> Any:
        given = [Text("a"), Number(7), Real(1.5), {Text("k"): Number(1), Number(2): 2}, timedelta(seconds=1), Scalar(), Path]
        return given[which]

    async with working(memory_app):
        assert [await give.run(which) for which in (0, 1, 2, 3)] == ["a", 7, 1.5, {"k": 1, "2": 2}]
        assert await give.run(5) == 7
        with pytest.raises(NotSerializable):
            await give.run(6)
