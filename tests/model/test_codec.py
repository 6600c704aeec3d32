"""The wire format: what travels, what comes back, and what is refused."""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from nursery_tasks import Retry
from nursery_tasks.errors import InvalidOptions, NotSerializable
from nursery_tasks.model.codec import Codec, CustomType, Format, Undecodable, pack_outcome, sniff, unpack_outcome
from nursery_tasks.model.message import Message
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.model.states import JobState

FORMS: list[Format] = ["json", "msgpack"]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Format:
    form: Format = request.param
    return form


@pytest.fixture
def codec(form: Format) -> Codec:
    return Codec(form)


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]


class User(BaseModel):
    name: str
    born: datetime


class Colour(Enum):
    RED = "red"


@dataclass
class Data:
    x: int


class Struct(msgspec.Struct):
    data: bytes
    tags: frozenset[str]


def make_point(value: list[int]) -> Point:
    return Point(*value)


POINT = CustomType(Point, lambda point: [point.x, point.y], make_point)

plain_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


# --- messages ----------------------------------------------------------------------------------------------------------------


@given(plain_data, st.sampled_from(FORMS))
def test_plain_data_arrives_as_it_left(value: Any, form: Format) -> None:
    codec = Codec(form)
    message = Message(task="t", args=[value], kwargs={"k": value})
    assert codec.decode_message(codec.encode("it", message)) == message


def test_the_smallest_message_is_one_that_any_language_can_write(codec: Codec) -> None:
    assert codec.decode_message(b'{"task": "add", "args": [1, 2]}') == Message(task="add", args=[1, 2])
    assert codec.decode_message(b' \n{"task": "add"}').task == "add"


def test_both_formats_are_read_whatever_is_written(codec: Codec) -> None:
    message = Message(task="t", args=[1], retry=Retry(2, wait=[1]).to_rule(), tags=("a",), timeout=3.0)
    assert {codec.decode_message(Codec(form).encode("it", message)) == message for form in FORMS} == {True}


def test_the_first_byte_tells_the_format(form: Format) -> None:
    assert sniff(Codec(form).encode("it", Message(task="t"))) == form
    assert sniff(pack_outcome(Outcome(state=JobState.DEAD), form)) == form


def test_fields_of_a_newer_minor_version_are_no_obstacle(codec: Codec) -> None:
    assert codec.decode_message(b'{"v": 1, "task": "add", "colour": {"of": "money"}}').task == "add"


@pytest.mark.parametrize(
    "newer", [{"v": 2, "task": "t"}, {"v": 3, "task": {"name": "t"}, "args": "none"}], ids=["same", "other"]
)
def test_a_message_of_a_newer_version_is_refused_with_both_numbers(codec: Codec, newer: dict[str, Any], form: Format) -> None:
    body = msgspec.json.encode(newer) if form == "json" else msgspec.msgpack.encode(newer)
    with pytest.raises(Undecodable, match=rf"^message version {newer['v']}, this worker understands 1$"):
        codec.decode_message(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"garbage-no-pipe",
        b"[]",
        b"{}",
        b'{"task": 3}',
        b'{"task": "t", "args": {}}',
        b'{"task": "t", "retry": {"waits": []}}',
        b'{"task": "\xff"}',
        b'{"task": "\\ud800"}',
        b'{"task": "t", "args": [NaN]}',
        b'{"task": "t", "args": [1e999]}',
        b"\x81",
        b"\xc1" * 10,
        b"\x81\xc0\xc0",
        b'{"task": "t", "args": ' + b"[" * 100_000,
        b"\x82\xa4task\xa1t\xa4args" + b"\x91" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_message_is_refused_with_the_reason(codec: Codec, body: bytes) -> None:
    with pytest.raises(Undecodable, match=r"^not a message: ."):
        codec.decode_message(body)


@given(st.binary(max_size=64))
def test_no_bytes_whatsoever_do_more_than_being_refused(body: bytes) -> None:
    with contextlib.suppress(Undecodable):
        Codec().decode_message(body)


def test_an_unknown_format_is_a_mistake() -> None:
    with pytest.raises(InvalidOptions, match="expected one of json, msgpack"):
        Codec("pickle")  # type: ignore[arg-type]


# --- values ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), datetime),
        (UUID(int=7), UUID),
        (Decimal("1.10"), Decimal),
        (b"\x00\xff", bytes),
        (Colour.RED, Colour),
        ({3, 1}, set[int]),
        ((1, "a"), tuple[int, str]),
        ({1: 2}, dict[int, int]),
        (Struct(b"x", frozenset({"a"})), Struct),
        ([User(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC))], list[User]),
        ({"at": Point(1, 2)}, dict[str, Point]),
        (None, None),
        ([1, {"a": None}], list[object]),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:20].replace(" ", "_"),
)
def test_a_value_comes_back_as_the_type_that_is_wanted(form: Format, value: object, wanted: Any) -> None:
    codec = Codec(form, (POINT,))
    assert codec.decode_value(codec.encode("it", value), form, wanted) == value


def test_an_argument_of_one_format_is_converted_as_one_of_the_other(form: Format) -> None:
    codec = Codec(form)
    arrived = codec.decode_message(codec.encode("it", Message(task="t", args=[b"\x00", datetime(2030, 1, 1, tzinfo=UTC)])))
    assert codec.convert(arrived.args[0], bytes) == b"\x00"
    assert codec.convert(arrived.args[1], datetime) == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [object(), lambda: 0, "\ud800", {"a": {"b": object()}}], ids=["object", "function", "surrogate", "deep"]
)
def test_what_cannot_travel_is_named(codec: Codec, value: object) -> None:
    with pytest.raises(NotSerializable, match=r"^the result of t cannot be encoded: ."):
        codec.encode("the result of t", value)


def test_a_value_that_holds_itself_cannot_travel(codec: Codec) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotSerializable, match="cannot be encoded"):
        codec.encode("it", endless)


def test_an_encoder_of_the_users_may_raise_anything(form: Format) -> None:
    def encode(point: Point) -> Any:
        raise LookupError("no such point")

    with pytest.raises(NotSerializable, match="no such point"):
        Codec(form, (CustomType(Point, encode, make_point),)).encode("it", Point(1, 2))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("around", ["alone", "in a list", "in a struct", "beside a number for JSON alone", "in a message"])
def test_json_refuses_numbers_that_it_would_turn_into_nothing(number: float, around: str) -> None:
    value: object = {
        "alone": number,
        "in a list": [None, {"x": (number,)}],
        "in a struct": Outcome(state=JobState.DEAD, started_at=number),
        "beside a number for JSON alone": [2**70, number],
        "in a message": Message(task="t", args=[number]),
    }[around]
    with pytest.raises(NotSerializable, match="NaN and infinity would arrive as null"):
        Codec().encode("it", value)


def test_text_that_looks_like_such_a_number_is_no_obstacle() -> None:
    assert Codec().encode("it", [None, "\x7f\xf8", b"\xcb\x7f\xf8\x00"])


def test_msgpack_carries_infinity() -> None:
    codec = Codec("msgpack")
    assert codec.decode_value(codec.encode("it", float("inf")), "msgpack", float) == float("inf")


def test_a_class_that_nobody_registered_is_not_made_from_data(codec: Codec) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"no decoding for Point; register it with App.register_type"):
        codec.convert([1, 2], Point)


# --- outcomes ----------------------------------------------------------------------------------------------------------------


def test_an_outcome_holds_its_value_in_the_same_format(form: Format) -> None:
    value = msgspec.Raw(Codec(form).encode("it", {"a": [1]}))
    stored = pack_outcome(Outcome(state=JobState.SUCCEEDED, value=value, attempt=2, worker="w", ended_at=1.5), form)
    outcome = unpack_outcome(stored)
    assert (outcome.state, outcome.attempt, outcome.worker, outcome.ended_at) == (JobState.SUCCEEDED, 2, "w", 1.5)
    assert Codec().decode_value(outcome.value, sniff(stored)) == {"a": [1]}


def test_plain_data_can_be_encoded_again_without_any_hook(form: Format) -> None:
    codec = Codec(form, (POINT,))
    plain = codec.plain([Point(1, 2), User(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC)), b"\x00", (1,), {1: 2}])
    assert plain == [[1, 2], {"name": "Ada", "born": "1815-12-10T00:00:00Z"}, "AA==", [1], {"1": 2}]
    assert msgspec.json.decode(msgspec.json.encode(plain)) == plain


class Base:
    def __init__(self, text: str) -> None:
        self.text = text


class Sub(Base):
    pass


def test_what_is_registered_for_a_class_goes_for_its_subclasses(form: Format) -> None:
    codec = Codec(form, (CustomType(Base, lambda base: base.text, Base), CustomType(Path, str, Path)))
    assert codec.plain([Sub("x"), Path("y")]) == ["x", "y"]
    assert codec.convert("y", type(Path())) == Path("y")
    assert type(codec.convert("x", Base)) is Base
    with pytest.raises(msgspec.ValidationError, match="Expected `Sub`, got `Base`"):
        codec.convert("x", Sub)


@pytest.mark.parametrize(
    "cls", [int, str, datetime, UUID, Decimal, Colour, Struct, dict, type("MyList", (list,), {}), Data, None]
)
def test_a_class_that_travels_anyway_cannot_be_registered(cls: Any) -> None:
    with pytest.raises(InvalidOptions, match=r"^type="):
        Codec("json", (CustomType(cls, str, str),))


@pytest.mark.parametrize("cls", [type("MyInt", (int,), {}), Point, complex, User])
def test_any_other_class_can(cls: Any) -> None:
    assert Codec("json", (CustomType(cls, lambda _: "x", cls),)).form == "json"
