"""Errors as data, and back.

An exception travels as its type's name, text, arguments, attributes, notes, traceback, cause and members. It comes back as
the same class where that class is known to the receiver (built-in exceptions, and those that the app has registered), and
as `RemoteError` otherwise. Names are looked up in a table, never imported: data cannot choose code to run. A class is
rebuilt without calling its `__init__`, because a constructor that wants keywords, or does work, must not hide the error.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable, Mapping
from types import WrapperDescriptorType
from typing import Any, Final, cast

import msgspec

from ..errors import RemoteError
from .retry import RetryRule, members_of, qualified_name

MAX_TRACEBACK: Final = 20_000  # characters; the end, which names the error, is kept
MAX_TEXT: Final = 10_000
MAX_VALUE: Final = 10_000  # characters of what an argument or attribute would look like; what is longer stays behind
MAX_DEPTH: Final = 8  # causes of causes, groups in groups
MAX_MEMBERS: Final = 100

ErrorClasses = Mapping[str, type[BaseException]]
Plain = Callable[[Any], Any]  # makes plain data of a value, or raises


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One exception.

    Attributes:
        type: The class's qualified name; only `Name` for a built-in one.
        text: `str(error)`, or a group's message.
        args: `error.args` as plain data, when that is possible.
        state: The instance's attributes as plain data, those with which that is possible.
        notes: What `add_note` added.
        traceback: As Python prints it, at most 20 000 characters.
        cause: The exception that this one was raised from, or while handling.
        members: A group's exceptions.
    """

    type: str
    text: str = ""
    args: list[Any] | None = None
    state: dict[str, Any] = {}
    notes: list[str] = []
    traceback: str = ""
    cause: Failure | None = None
    members: list[Failure] = []


class ForeignError(Exception):
    """An error that a handler raised in a process or interpreter of its own, where it was described.

    Attributes:
        failure: The description.
        last: The description to store when no attempt follows; another one where the error was a `Retry`.
        matches: Whether the job's retry policy names it.
        asked: The policy in a `Retry` that the handler raised.
        wait_given: Whether that `Retry` gave a wait of its own.
        final: Trying again would give the same, whatever the policy says.
        matched: Of a batch: whether the policy of each of its jobs names it.
    """

    def __init__(
        self,
        failure: Failure,
        *,
        last: Failure | None = None,
        matches: bool = False,
        asked: RetryRule | None = None,
        wait_given: bool = False,
        final: bool = False,
        matched: tuple[bool, ...] = (),
    ) -> None:
        super().__init__(f"{failure.type}: {failure.text}" if failure.text else failure.type)
        self.failure, self.last = failure, last or failure
        self.matches, self.asked, self.wait_given, self.final = matches, asked, wait_given, final
        self.matched = matched

    def of_share(self, place: int) -> ForeignError:
        """Return it as the error of one job of a batch."""
        return ForeignError(
            self.failure,
            last=self.last,
            matches=self.matched[place],
            asked=self.asked,
            wait_given=self.wait_given,
            final=self.final,
        )


BUILTIN_ERRORS: Final[dict[str, type[BaseException]]] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, BaseExceptionGroup)
}


def describe_error(error: BaseException, plain: Plain, *, depth: int = 0, with_traceback: bool = True) -> Failure:
    """Turn an exception into data.

    Args:
        plain: Makes data of arguments and attributes that any format can hold; what it refuses is left out.
        depth: How many causes and groups lie above this one; past `MAX_DEPTH` no more are followed.
        with_traceback: Members of a group leave theirs out, because the group's text holds them all.
    """
    if isinstance(error, ForeignError):
        return error.failure
    members = members_of(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    deeper = depth < MAX_DEPTH
    args = _kept(_arguments(error), plain)
    attributes = {name: _kept(value, plain) for name, value in vars(error).items() if name != "__notes__"}
    return Failure(
        type=qualified_name(type(error)),
        text=_encodable(str(getattr(error, "message", "")) if members else _text(error)),
        args=None if members or args is _NOTHING else args,
        state={_encodable(name): value for name, value in attributes.items() if value is not _NOTHING},
        notes=[_encodable(str(note)) for note in getattr(error, "__notes__", ())],
        traceback=_encodable("".join(traceback.format_exception(error))[-MAX_TRACEBACK:], MAX_TRACEBACK)
        if with_traceback
        else "",
        cause=describe_error(cause, plain, depth=depth + 1, with_traceback=False) if cause and deeper else None,
        members=[
            describe_error(member, plain, depth=depth + 1, with_traceback=False)
            for member in (members[:MAX_MEMBERS] if deeper else ())
        ],
    )


def describe_safely(error: BaseException, plain: Plain) -> Failure:
    """Do the same with an exception class of the user's, which can break anything; its job still ends."""
    try:
        return describe_error(error, plain)
    except Exception as broken:
        return Failure(type(error).__name__, f"(cannot be described: {type(broken).__name__})")


def rebuild_error(failure: Failure, classes: ErrorClasses) -> BaseException:
    """Turn data back into an exception; the remote traceback becomes its last note."""
    error = _rebuild(failure, classes)
    error.__cause__ = rebuild_error(failure.cause, classes) if failure.cause else None
    for note in failure.notes:
        error.add_note(note)
    if failure.traceback:
        error.add_note(f"Where it was raised, in the worker:\n{failure.traceback.rstrip()}")
    return error


def _rebuild(failure: Failure, classes: ErrorClasses) -> BaseException:
    if failure.members:
        members = [rebuild_error(member, classes) for member in failure.members]
        # A BaseExceptionGroup with only Exceptions inside makes itself an ExceptionGroup.
        return BaseExceptionGroup(failure.text, members)
    cls = classes.get(failure.type) or BUILTIN_ERRORS.get(failure.type)
    if cls is None or failure.args is None:
        return RemoteError(failure.type, failure.text, failure.traceback)
    return _revive(cls, failure)


def _revive(cls: type[BaseException], failure: Failure) -> BaseException:
    args = failure.args or ()
    try:
        if isinstance(cls.__init__, WrapperDescriptorType):
            error = cls(*args)  # a constructor in C sets fields (errno, for one) and does nothing else
        else:
            error = cls.__new__(cls, *args)
            error.args = tuple(args)
        vars(error).update(failure.state)
    except Exception:  # its arguments do not fit the class as it is here
        return RemoteError(failure.type, failure.text, failure.traceback)
    return error


def _arguments(error: BaseException) -> list[Any]:
    """Return what the class was called with. An `OSError` takes its file names out of `args`, and wants them back there."""
    if not isinstance(error, OSError) or error.filename is None or len(error.args) != 2:
        return list(error.args)
    second = [] if error.filename2 is None else [None, error.filename2]
    return [*error.args, error.filename, *second]


_NOTHING: Final = object()


def _kept(value: object, plain: Plain) -> Any:
    """Return *value* as plain data; `_NOTHING` when it cannot be, or would be too much to keep with an error."""
    try:
        kept = plain(_shortened(value))
    except Exception:  # its own encoder may raise anything
        return _NOTHING
    return kept if len(repr(kept)) <= MAX_VALUE else _NOTHING


def _shortened(value: object) -> object:
    """Cut long texts, also in a list: most errors have one argument, and it is a text."""
    if isinstance(value, str):
        return _encodable(value, MAX_VALUE // 2)
    return [_shortened(item) for item in cast("list[object]", value)] if type(value) is list else value


def _encodable(text: str, limit: int = MAX_TEXT) -> str:
    """Cut a text, and write out what UTF-8 has no bytes for: file names may hold lone surrogates."""
    return text[:limit].encode("utf-8", "backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a broken __str__ must not hide the error
        return f"<{type(error).__name__} whose str() raised {type(broken).__name__}>"
