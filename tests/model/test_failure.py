"""Errors as data, and back: each exception here makes the whole journey, through bytes."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from nursery_tasks import Retry, errors
from nursery_tasks.errors import RemoteError
from nursery_tasks.model.codec import Codec, CustomType, Format, pack_outcome, unpack_outcome
from nursery_tasks.model.failure import MAX_DEPTH, MAX_MEMBERS, MAX_TEXT, Failure, describe_error, rebuild_error
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.model.retry import qualified_name
from nursery_tasks.model.states import JobState
from nursery_tasks.registry import OWN_ERRORS


class Plain(Exception):
    pass


class KeywordOnly(Exception):
    def __init__(self, *, code: int, unit: str) -> None:
        self.code, self.unit = code, unit
        super().__init__(f"{code} {unit}")


class TwoIntoOne(Exception):
    def __init__(self, first: str, second: str) -> None:
        self.first, self.second = first, second
        super().__init__(f"{first} and {second}")


class Costly(Exception):
    made = 0

    def __init__(self) -> None:
        Costly.made += 1
        super().__init__()


class BrokenText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text today")


class OddDisk(OSError):
    pass


class Point:
    pass


class User(BaseModel):
    name: str


KNOWN = {qualified_name(cls): cls for cls in (*OWN_ERRORS, Plain, KeywordOnly, TwoIntoOne, Costly, BrokenText, OddDisk)}


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def describe(error: BaseException, codec: Codec | None = None) -> Failure:
    return describe_error(error, (codec or Codec()).plain)


def travel(error: BaseException, codec: Codec | None = None) -> BaseException:
    """Through bytes and back, as between worker and caller."""
    outcome = Outcome(state=JobState.FAILED, error=describe(error, codec))
    arrived = unpack_outcome(pack_outcome(outcome)).error
    assert arrived is not None
    return rebuild_error(arrived, KNOWN)


# --- classes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 3),
        KeyError("k"),
        ZeroDivisionError(),
        Plain("a", 1, None),
        OddDisk(errno.ENOSPC, "full", "/dev/sda"),
        KeywordOnly(code=7, unit="m"),
        TwoIntoOne("a", "b"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_itself(error: Exception) -> None:
    arrived = travel(raised(error))
    assert (type(arrived), arrived.args, str(arrived)) == (type(error), error.args, str(error))
    assert {**vars(arrived), "__notes__": None} == {**vars(error), "__notes__": None}


def test_an_operating_system_error_keeps_its_numbers() -> None:
    arrived = travel(raised(FileNotFoundError(errno.ENOENT, "No such file", "/tmp/x", None, "/tmp/y")))
    assert isinstance(arrived, FileNotFoundError)
    assert (arrived.errno, arrived.strerror, arrived.filename) == (errno.ENOENT, "No such file", "/tmp/x")


def test_a_constructor_is_not_called_again() -> None:
    error = raised(Costly())
    before = Costly.made
    assert type(travel(error)) is Costly
    assert Costly.made == before


def test_a_class_that_is_not_known_here_becomes_a_remote_error() -> None:
    class Stranger(Exception):
        pass

    arrived = travel(raised(Stranger("who?")))
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name.endswith(".Stranger")
    assert arrived.text == "who?"
    assert str(arrived).endswith(".Stranger: who?")
    assert "Stranger: who?" in arrived.remote_traceback


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "eval", "type", "ExceptionGroup", "SystemExit", "KeyboardInterrupt"]
)
def test_data_cannot_choose_what_is_made(name: str) -> None:
    arrived = rebuild_error(Failure(name, "boo", args=["true"]), KNOWN)
    assert type(arrived) is RemoteError


def test_arguments_that_do_not_fit_the_class_here_cost_only_the_class() -> None:
    arrived = rebuild_error(Failure("UnicodeDecodeError", "bad byte", args=["one"]), KNOWN)
    assert isinstance(arrived, RemoteError)
    assert arrived.text == "bad byte"


def _own_errors() -> list[errors.NurseryTasksError]:
    return [
        errors.InvalidOptions("slots", 0, "1 or more"),
        errors.InvalidArguments("add", "missing a required argument: 'b'", "(a, b)"),
        errors.NotSerializable("it", "no encoding for set"),
        errors.PayloadTooLarge("it", 2000, 1000),
        errors.UnknownTask("ad", ["add"]),
        errors.AppNotOpen("this call"),
        errors.UnknownJob("1"),
        errors.WaitTimedOut("1", "add", 3.0, "ready", 0),
        errors.NoWorkers("default"),
        errors.BrokerUnavailable("redis", "no answer", "look at it"),
        errors.BrokerClosed("memory:"),
        errors.JobTimedOut("1", "add", 3.0),
        errors.JobCancelled("1", "add", "not needed"),
        errors.JobExpired("1", "add"),
        errors.JobDead("1", "add", "unknown task"),
        errors.RemoteError("their.Error", "no", "Traceback: ..."),
    ]


@pytest.mark.parametrize("error", _own_errors(), ids=lambda error: type(error).__name__)
def test_our_own_errors_come_back_with_their_facts(error: errors.NurseryTasksError) -> None:
    facts = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(error).items()}
    arrived = travel(raised(error))
    assert (type(arrived), str(arrived)) == (type(error), str(error))
    assert {name: value for name, value in vars(arrived).items() if name != "__notes__"} == facts


# --- what goes along ---------------------------------------------------------------------------------------------------------


def test_the_traceback_becomes_the_last_note() -> None:
    error = raised(ValueError("no"))
    error.add_note("first")
    notes = travel(error).__notes__
    assert notes[0] == "first"
    assert notes[1].startswith("Where it was raised, in the worker:\nTraceback (most recent call last):")
    assert "in raised" in notes[1]


def test_a_cause_is_kept_and_so_is_what_was_being_handled() -> None:
    def fail() -> None:
        try:
            try:
                raise KeyError("deep")
            except KeyError as error:
                raise Plain("middle") from error
        except Plain:
            raise ValueError("top")  # noqa: B904 - the context is the subject

    with pytest.raises(ValueError, match="top") as caught:
        fail()
    arrived = travel(caught.value)
    assert isinstance(arrived.__cause__, Plain)
    assert isinstance(arrived.__cause__.__cause__, KeyError)


def test_from_none_hides_the_cause_on_the_other_side_too() -> None:
    def fail() -> None:
        try:
            raise KeyError("secret")
        except KeyError:
            raise ValueError("top") from None

    with pytest.raises(ValueError, match="top") as caught:
        fail()
    assert travel(caught.value).__cause__ is None


def test_groups_arrive_as_groups() -> None:
    inner = ExceptionGroup("inner", [KeyError("k"), raised(Plain("p"))])  # type: ignore[type-var]
    arrived = travel(raised(ExceptionGroup("outer", [ValueError("v"), inner])))
    assert isinstance(arrived, ExceptionGroup)
    assert arrived.message == "outer"
    found: list[type[BaseException]] = []
    try:
        raise arrived
    except* ValueError as group:
        found += [type(error) for error in group.exceptions]
    except* Plain as group:
        found += [type(error) for error in group.exceptions[0].exceptions]  # type: ignore[union-attr]
    except* KeyError:
        found.append(KeyError)
    assert found == [ValueError, Plain, KeyError]


def test_a_group_with_an_exit_in_it_arrives_without_ending_the_caller() -> None:
    arrived = travel(BaseExceptionGroup("", [SystemExit(3), KeyboardInterrupt(), ValueError("v")]))
    assert isinstance(arrived, ExceptionGroup)
    assert [type(error) for error in arrived.exceptions] == [RemoteError, RemoteError, ValueError]


def test_an_exit_arrives_as_a_remote_error() -> None:
    arrived = travel(raised(SystemExit(3)))
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name == "SystemExit"


def test_asking_for_a_retry_once_too_often_is_told_in_words() -> None:
    assert str(travel(raised(Retry(2)))) == "nursery_tasks.model.retry.Retry: retry up to 2 attempts"


# --- arguments that make trouble ---------------------------------------------------------------------------------------------


def test_an_argument_that_cannot_travel_costs_the_class_and_not_the_error() -> None:
    arrived = travel(raised(ValueError("bad", object())))
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name == "ValueError"
    assert arrived.text.startswith("('bad', <object object at")


def test_an_attribute_that_cannot_travel_stays_behind_alone() -> None:
    error = Plain("p")
    error.lock, error.code = object(), 3  # type: ignore[attr-defined]
    arrived = travel(raised(error))
    assert isinstance(arrived, Plain)
    assert vars(arrived)["code"] == 3
    assert "lock" not in vars(arrived)


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_arguments_that_need_an_encoder_arrive_as_plain_data(form: Format) -> None:
    codec = Codec(form, (CustomType(Point, lambda point: "a point", lambda data: Point()),))
    arrived = travel(raised(Plain(Point(), User(name="Ada"), {(1, 2): 3} and {1: 2}, b"\x00")), codec)
    assert type(arrived) is Plain
    assert arrived.args == ("a point", {"name": "Ada"}, {"1": 2}, "AA==")


def test_keys_that_only_msgpack_could_hold_do_not_break_the_outcome() -> None:
    assert isinstance(travel(raised(ValueError({(1, 2): 3})), Codec("msgpack")), RemoteError)


def test_an_encoder_that_fails_costs_the_class_and_not_the_error() -> None:
    def encode(point: Point) -> Any:
        raise LookupError("no")

    arrived = travel(raised(Plain(Point())), Codec(types=(CustomType(Point, encode, encode),)))
    assert isinstance(arrived, RemoteError)


def test_a_broken_text_does_not_hide_the_error() -> None:
    arrived = travel(raised(BrokenText("x")))
    assert type(arrived) is BrokenText
    assert describe(BrokenText()).text == "<BrokenText whose str() raised RuntimeError>"


def test_lone_surrogates_are_written_out() -> None:
    error = Plain("file \udcff")
    error.add_note("note \udcff")
    error.path = "/tmp/\udcff"  # type: ignore[attr-defined]
    arrived = travel(raised(error))
    assert type(arrived) is Plain
    assert str(arrived) == "file \\udcff"
    assert arrived.__notes__[0] == "note \\udcff"
    assert vars(arrived)["path"] == "/tmp/\\udcff"


def test_numbers_that_json_lacks_do_not_break_the_outcome() -> None:
    assert travel(raised(ValueError(float("nan")))).args == (None,)


# --- bounds ------------------------------------------------------------------------------------------------------------------


def test_a_long_text_is_cut_and_the_class_stays() -> None:
    arrived = travel(raised(ValueError("x" * 1_000_000)))
    assert type(arrived) is ValueError
    assert 1000 < len(str(arrived)) <= MAX_TEXT


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x" * 10_000_000),
        ValueError(list(range(1_000_000))),
        Plain({"k": "x" * 10_000_000}),
        ExceptionGroup("g" * 1_000_000, [ValueError("x" * 100_000) for _ in range(1000)]),
    ],
    ids=["text", "list", "dict", "group"],
)
def test_no_error_makes_a_large_outcome(error: Exception) -> None:
    assert len(pack_outcome(Outcome(state=JobState.FAILED, error=describe(raised(error))))) < 2_000_000


def test_members_and_depth_are_bounded() -> None:
    wide = describe(ExceptionGroup("", [ValueError(n) for n in range(MAX_MEMBERS + 50)]))
    assert len(wide.members) == MAX_MEMBERS
    deep: Exception = ValueError()
    for _ in range(100):
        deep = ExceptionGroup("", [deep])
    depth, level = 0, describe(deep)
    while level.members:
        depth, level = depth + 1, level.members[0]
    assert depth == MAX_DEPTH


def test_causes_that_go_round_in_a_circle_end() -> None:
    first, second = ValueError(1), ValueError(2)
    first.__cause__, second.__cause__ = second, first
    assert travel(first).__cause__ is not None


def _recursive(depth: int) -> None:
    _recursive(depth + 1)


def test_an_endless_recursion_can_be_told() -> None:
    with pytest.raises(RecursionError) as caught:
        _recursive(0)
    arrived = travel(caught.value)
    assert isinstance(arrived, RecursionError)
    assert len(arrived.__notes__[-1]) < 25_000


@pytest.mark.parametrize("print_it", [str, repr, lambda error: "".join(traceback.format_exception(error))])
def test_what_comes_back_can_be_printed(print_it: Callable[[BaseException], str]) -> None:
    assert "v" in print_it(travel(raised(ExceptionGroup("v", [ValueError("v")]))))
