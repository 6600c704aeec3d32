"""What one job of a batch task takes and gives, read from a function that takes and gives lists of it."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any, Final

from ..errors import InvalidOptions

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_UNIONS: Final = (typing.Union, types.UnionType)
_NONE: Final = type(None)


def of_one_item(task: str, signature: inspect.Signature, hints: dict[str, Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """Return the signature and the hints that a job of a batch task has.

    The annotations say `one of list[Doc]`: they are shown to people, and tell the task from one that takes the whole list.

    Raises:
        InvalidOptions: The function does not take one list, or does not return one.
    """
    parameters = list(signature.parameters.values())
    if len(parameters) != 1 or parameters[0].kind not in _BY_POSITION or parameters[0].default is not inspect.Parameter.empty:
        raise InvalidOptions(
            "batch", f"{task}{signature}", "a function with exactly one parameter, a list of the jobs' arguments"
        )
    [parameter] = parameters
    items: dict[str, Any] = {}
    if parameter.name in hints:
        items[parameter.name] = _item_of_list(task, f"parameter {parameter.name!r}", hints[parameter.name])
    if "return" in hints:
        items["return"] = _item_of_result(task, hints["return"])
    annotation, returns = signature.return_annotation, hints.get("return", _NONE)
    shown = signature.replace(
        parameters=[parameter.replace(annotation=_one_of(parameter.annotation))],
        return_annotation=annotation if returns is _NONE else _one_of(annotation),
    )
    return shown, items


def _item_of_list(task: str, what: str, hint: Any) -> Any:
    if hint in (Any, list):
        return Any
    if typing.get_origin(hint) in (list, Sequence):
        return typing.get_args(hint)[0]
    raise InvalidOptions("batch", hint, f"a list for {what} of {task}, as in list[int]: one item for each job")


def _item_of_result(task: str, hint: Any) -> Any:
    """Return what a result may be; an exception in the list is no result."""
    if hint in (None, _NONE):
        return _NONE
    if typing.get_origin(hint) in _UNIONS:
        lists = [each for each in typing.get_args(hint) if each is not _NONE]
        if len(lists) == 1 and len(lists) < len(typing.get_args(hint)):
            item = _item_of_result(task, lists[0])
            return item if item is Any else item | None
    item = _item_of_list(task, "the result", hint)
    if typing.get_origin(item) not in _UNIONS:
        return Any if _is_exception(item) else item
    kinds = tuple(each for each in typing.get_args(item) if not _is_exception(each))
    return typing.Union[kinds] if kinds else Any  # noqa: UP007 - made of a tuple


def _is_exception(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseException)


def _one_of(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "one of list"
    return f"one of {annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)}"
