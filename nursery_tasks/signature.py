"""A task's parameters: checked where the job is made, converted where it runs.

At the call the shape is checked, and of each argument whether its own class can become what the parameter is annotated with
(a list where a number is wanted): that is one look into a set, and catches most slips. What is inside of an argument is for the
worker, which converts each one, since JSON knows no dataclasses, dates or bytes.
"""

from __future__ import annotations

import hashlib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from .errors import InvalidArguments, InvalidOptions, NotSerializable
from .model.batch_items import of_one_item
from .model.codec import Codec
from .model.kinds import refused_classes
from .model.unions import Unworkable, workable

_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_AS_IS = (Any, inspect.Parameter.empty, object)


class TaskSignature:
    """The signature of one task.

    Args:
        name: The task's name, for errors.
        function: What runs.
        answers: Its result goes to other programs, who get a text or bytes as they are; so it may be either.
        batch: The function takes and gives lists, and each job has one item of them.

    Raises:
        InvalidOptions: An annotation names a type that cannot be found, or to which nothing can be converted.
    """

    def __init__(self, name: str, function: Callable[..., Any], *, answers: bool = False, batch: bool = False) -> None:
        self.name = name
        self.signature, hints = inspect.signature(function), _type_hints(name, function)
        if batch:
            self.signature, hints = of_one_item(name, self.signature, hints)
        self._text = _text(self.signature)
        self._injected: Collection[str] = getattr(function, "__resources__", ())  # see resources.py
        returns = hints.get("return", Any)
        self.returns: Any = returns if answers else _judged(name, "return", returns)
        self._wanted = {each: _judged(name, each, hints.get(each, Any)) for each in self.signature.parameters}
        self._refused = {  # of *args and **kwargs, each item would have to be looked at
            each.name: frozenset[type[Any]]() if each.kind in _MANY else refused_classes(self._wanted[each.name])
            for each in self.signature.parameters.values()
        }
        plain = [p for p in self.signature.parameters.values() if p.kind in _PLAIN]
        self._plain_only = len(plain) == len(self.signature.parameters)
        self._least = sum(p.default is p.empty for p in plain)
        self._most = len(plain)
        self._plain_wanted = [self._wanted[p.name] for p in plain]
        self._plain_refused = [self._refused[p.name] for p in plain]

    def __str__(self) -> str:
        return self._text

    @cached_property
    def fingerprint(self) -> str:
        """A short text that two versions of a function share if they take the same arguments, whatever the process.

        Names, kinds and annotations of the parameters go in, and which of them have a default: its value says nothing of what
        can be sent. Resources are not sent.
        """
        given = [self.signature.parameters[name] for name in self.parameters]
        facts = [f"{int(p.kind)} {p.name} {p.default is not p.empty} {_annotation(p.annotation)}" for p in given]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]

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

    def check_call(self, args: Sequence[Any], kwargs: Mapping[str, Any], codec: Codec) -> None:
        """Check that the function can be called like this, and that arguments are of classes that can become what is wanted.

        Raises:
            InvalidArguments: The worker would refuse them; the error is the worker's.
        """
        if not kwargs and self._plain_only and self._least <= len(args) <= self._most:
            for position, (value, refused) in enumerate(zip(args, self._plain_refused, strict=False)):
                if type(value) in refused:
                    self._convert_as_received(position, value, self._plain_wanted[position], codec)
            return
        for name, value in self._bind(args, kwargs).arguments.items():
            if type(value) in self._refused[name]:
                self._convert_as_received(name, value, self._wanted[name], codec)

    def _convert_as_received(self, which: str | int, value: Any, wanted: Any, codec: Codec) -> None:
        """Do what the worker will do; a float may be a whole number, and a class of the user's may know more than we do."""
        try:
            received = codec.plain(value)
        except NotSerializable:
            return  # the encoder says it better
        self._convert(which, received, wanted, codec)

    def wanted(self, name: str) -> Any:
        """Return the type that an argument is converted to."""
        return self._wanted[name]

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

    def takes(self, name: str) -> bool:
        """Say whether an argument of this name can be sent."""
        kinds = [each.kind for each in self.signature.parameters.values()]
        return name in self.parameters or inspect.Parameter.VAR_KEYWORD in kinds

    def convert(self, args: list[Any], kwargs: dict[str, Any], codec: Codec) -> tuple[Sequence[Any], dict[str, Any]]:
        """Convert decoded arguments to the annotated types; returns the arguments to call with.

        Raises:
            InvalidArguments: They do not fit the signature or the types.
        """
        if not kwargs and self._plain_only and self._least <= len(args) <= self._most:
            if not args:
                return args, kwargs
            return [
                value if type(value) is wanted or wanted in _AS_IS else self._convert(position, value, wanted, codec)
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
        if typing.get_origin(wanted) is typing.Unpack:  # **options: Unpack[Options]
            return self._convert(name, value, typing.get_args(wanted)[0], codec)
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


def _judged(task: str, name: str, hint: Any) -> Any:
    """Return an annotation as values can be converted to it.

    Raises:
        InvalidOptions: None can.
    """
    if hint in _AS_IS:
        return hint
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Unpack else hint
    if typing.get_origin(inner) is tuple and inner is not hint:  # *args: *tuple[int, ...]
        return Any
    try:
        made = workable(inner)
    except Unworkable as error:
        which = "the result" if name == "return" else f"parameter {name!r}"
        raise InvalidOptions(
            "annotation", _shown(hint), f"a type that JSON can become, for {which} of {task}: {error}"
        ) from None
    return hint if inner is not hint else made


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


class _Written(str):
    """An annotation as it stands in the source; without the quotes that `from __future__ import annotations` brings."""

    __slots__ = ()
    __repr__ = str.__str__


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


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
