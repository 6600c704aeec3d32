"""A task's parameters: checked where the job is made, converted where it runs.

At the call only the shape is checked, because that is cheap and catches most slips; in the worker each argument is converted
to the type that its parameter is annotated with, since JSON knows no dataclasses, dates or bytes.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .errors import InvalidArguments, InvalidOptions
from .model.codec import Codec

_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_AS_IS = (Any, inspect.Parameter.empty, object)


class TaskSignature:
    """The signature of one task.

    Args:
        name: The task's name, for errors.
        function: What runs.

    Raises:
        InvalidOptions: An annotation names a type that cannot be found.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.signature = inspect.signature(function)
        self._text = _text(self.signature)
        self._injected: Collection[str] = getattr(function, "__resources__", ())  # see resources.py
        hints = _type_hints(name, function)
        self.returns: Any = hints.get("return", Any)
        self._wanted = {name: hints.get(name, Any) for name in self.signature.parameters}
        plain = [p for p in self.signature.parameters.values() if p.kind in _PLAIN]
        self._plain_only = len(plain) == len(self.signature.parameters)
        self._least = sum(p.default is p.empty for p in plain)
        self._most = len(plain)
        self._plain_wanted = [self._wanted[p.name] for p in plain]

    def __str__(self) -> str:
        return self._text

    def wants_of_one(self) -> Any:
        """Return the type of the parameter that gets the argument where there is only one.

        Raises:
            InvalidOptions: The task cannot be called with one argument, or nothing says of which type.
        """
        try:
            name, *_ = self.signature.bind(None).arguments
        except (TypeError, ValueError):
            expected = f"a task that can be called with one argument, the body; this is {self.name}{self._text}"
            raise InvalidOptions("raw", True, expected) from None
        if self.signature.parameters[name].annotation is inspect.Parameter.empty:
            expected = f"an annotation of {name!r}: bytes, str, or what the JSON is to become; this is {self.name}{self._text}"
            raise InvalidOptions("raw", True, expected)
        wanted = self._wanted[name]
        return typing.get_args(wanted)[0] if typing.get_origin(wanted) is typing.Annotated else wanted

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Check that the function can be called like this.

        Raises:
            InvalidArguments: It cannot; the message names the argument and shows the signature.
        """
        if not kwargs and self._plain_only and self._least <= len(args) <= self._most:
            return  # the common case, at a tenth of the price of bind()
        self._bind(args, kwargs)

    def takes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Say whether the function can be called like this."""
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments of a call by the names of their parameters, defaults included.

        Raises:
            InvalidArguments: The function cannot be called like this.
        """
        bound = self._bind(args, kwargs)
        bound.apply_defaults()
        return bound.arguments

    @property
    def parameters(self) -> list[str]:
        """The names of what can be sent; resources are not."""
        return [name for name in self.signature.parameters if name not in self._injected]

    def convert(self, args: list[Any], kwargs: dict[str, Any], codec: Codec) -> tuple[Sequence[Any], dict[str, Any]]:
        """Convert decoded arguments to the annotated types; returns the arguments to call with.

        Raises:
            InvalidArguments: They do not fit the signature or the types.
        """
        if not kwargs and self._plain_only and self._least <= len(args) <= self._most:
            if not args:
                return args, kwargs
            return [
                value if wanted in _AS_IS else self._convert(position, value, wanted, codec)
                for position, (value, wanted) in enumerate(zip(args, self._plain_wanted, strict=False))
            ], kwargs
        bound = self._bind(args, kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = self._convert_bound(name, value, codec)
        return bound.args, bound.kwargs

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            given = [name for name in self._injected if name in kwargs]
            problem = f"{given[0]!r} is a resource of the worker's, and cannot be sent" if given else str(error)
            raise InvalidArguments(self.name, problem, self._text) from None

    def _convert_bound(self, name: str, value: Any, codec: Codec) -> Any:
        wanted = self._wanted[name]
        if wanted in _AS_IS:
            return value
        kind = self.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(self._convert(name, item, wanted, codec) for item in value)
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {key: self._convert(key, item, wanted, codec) for key, item in value.items()}
        return self._convert(name, value, wanted, codec)

    def _convert(self, which: str | int, value: Any, wanted: Any, codec: Codec) -> Any:
        if type(value) is wanted:  # int, str, ...: nothing to convert
            return value
        try:
            return codec.convert(value, wanted)
        except Exception as error:  # a custom type's decoder is user code and may raise anything
            name = list(self.signature.parameters)[which] if isinstance(which, int) else which
            raise InvalidArguments(self.name, f"argument {name!r}: {error}", self._text) from None


class _Written(str):
    """An annotation as it stands in the source; without the quotes that `from __future__ import annotations` brings."""

    __slots__ = ()
    __repr__ = str.__str__


def _text(signature: inspect.Signature) -> str:
    def written(annotation: Any) -> Any:
        return _Written(annotation) if isinstance(annotation, str) else annotation

    parameters = [one.replace(annotation=written(one.annotation)) for one in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=written(signature.return_annotation)))


def _type_hints(task: str, function: Callable[..., Any]) -> dict[str, Any]:
    target = function if inspect.isfunction(function) else getattr(function, "__call__", function)  # noqa: B004 - the hints
    names = _names_where_it_is_defined(inspect.unwrap(target))
    try:
        return typing.get_type_hints(target, localns=names, include_extras=True)
    except Exception:  # a hint may be any expression, and it is evaluated here
        hints = getattr(target, "__annotations__", {})
        return {name: _hint(task, target, name, hint, names) for name, hint in hints.items()}


def _hint(task: str, function: Any, name: str, hint: Any, names: dict[str, Any]) -> Any:
    alone = types.SimpleNamespace(__annotations__={"hint": hint})
    try:
        return typing.get_type_hints(alone, getattr(function, "__globals__", {}), names, include_extras=True)["hint"]
    except NameError as error:
        # Silence would hand the handler plain dicts, and the error would show far from its cause.
        which = "its result" if name == "return" else f"parameter {name!r}"
        expected = f"a type that can be found at run time for {which} of {task} ({error}); import it outside of TYPE_CHECKING"
        raise InvalidOptions("annotation", str(hint), expected) from None
    except Exception:
        return Any


def _names_where_it_is_defined(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the local names at the decorator's place, for a task and its types that are defined inside a function.

    Only names of the function's own module count: where another module registers it, a name may mean something else.
    """
    home = getattr(function, "__globals__", None)
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals is not home:
        frame = frame.f_back
    return dict(frame.f_locals) if frame is not None else {}
