"""Which plain classes can never become a type, told from the type alone: what can be checked at a call without any work."""

from __future__ import annotations

from typing import Any, Final

from msgspec import inspect as kinds

Classes = frozenset[type[Any]]

_TEXT: Final[Classes] = frozenset({str})
_WHOLE: Final[Classes] = frozenset({int})
_NUMBER: Final[Classes] = frozenset({int, float})
_LISTS: Final[Classes] = frozenset({list, tuple, set, frozenset})
_OBJECT: Final[Classes] = frozenset({dict})
_ALL: Final[Classes] = _TEXT | _NUMBER | _LISTS | _OBJECT | {bool, type(None), bytes}

_TAKEN: Final[dict[type[kinds.Type], Classes]] = {  # what of these classes arrives as something that the type takes
    kinds.NoneType: frozenset({type(None)}),
    kinds.BoolType: frozenset({bool}),
    kinds.IntType: _WHOLE,
    kinds.FloatType: _NUMBER,
    kinds.StrType: _TEXT | {bytes},
    kinds.BytesType: _TEXT | {bytes},
    kinds.ListType: _LISTS,
    kinds.SetType: _LISTS,
    kinds.FrozenSetType: _LISTS,
    kinds.VarTupleType: _LISTS,
    kinds.TupleType: _LISTS,
    kinds.NamedTupleType: _LISTS,
    kinds.DictType: _OBJECT,
    kinds.TypedDictType: _OBJECT,
    kinds.DataclassType: _OBJECT,
}


def refused_classes(hint: Any) -> Classes:
    """Return the classes whose values cannot be converted to *hint*, as far as the class alone says so."""
    try:
        taken = _taken(kinds.type_info(hint))
    except Exception:  # names that are defined further down, and types that msgspec does not describe
        return frozenset()
    return _ALL - taken


def _taken(info: kinds.Type) -> Classes:
    if isinstance(info, kinds.UnionType):
        return frozenset(cls for each in info.types for cls in _taken(each))
    if isinstance(info, kinds.Metadata):
        return _taken(info.type)
    if isinstance(info, kinds.StructType):
        return _LISTS if info.array_like else _OBJECT
    return _TAKEN.get(type(info), _ALL)
