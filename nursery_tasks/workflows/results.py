"""The types of what flows return: a handle on a flow that runs on workers decodes with them what a local run would return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..registry import Registry


@dataclass(frozen=True, slots=True)
class Row:
    """A list whose items have a type each."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Many:
    """A list of any length, with items of one type."""

    item: Any


def list_of(types: Sequence[Any]) -> Row | Many:
    """Return the type of a list with items of these types, in this order."""
    if types and any(one != types[0] for one in types):
        return Row(tuple(types))
    return Many(types[0] if types else Any)


def decodable(returns: Any, registry: Registry) -> Any:
    """Return what the codec takes: a type as Python writes it, or a class that the codec asks to read a list."""
    if isinstance(returns, Many):
        return list[decodable(returns.item, registry)]  # type: ignore[misc]  # a type that is made at run time
    if isinstance(returns, Row):
        return _row_class([decodable(item, registry) for item in returns.items], registry)
    return Any if returns in (None, type(None)) else returns  # `-> None`: whatever came is taken


class _AnyList(type):
    """The class of classes that every list is an instance of: the codec looks at what a class has read."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, list)


def _row_class(types: list[Any], registry: Registry) -> Any:
    class Results(metaclass=_AnyList):
        @staticmethod
        def model_validate(value: list[Any]) -> list[Any]:
            """Read plain data; the codec knows this name from pydantic's models."""
            codec = registry.codec
            return [codec.convert(item, wanted) for item, wanted in zip(value, types, strict=True)]

    return Results
