"""What is counted, or gathered, together: a name, and a key that is made of each job's arguments when it is submitted."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from string import Formatter
from typing import Any, Final, cast

from ..errors import InvalidOptions

Key = str | Callable[..., object]

MAX_KEY: Final = 200  # characters of a key once it is made

_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff]{1,200}")


class Keyed:
    """What a task declares with a name and a key.

    Args:
        name: What belongs together; None: the task's name.
        key: Jobs with different keys are apart: a template over the task's parameters, or a function of the job's arguments.

    Raises:
        InvalidOptions: One of them makes no sense.
    """

    __slots__ = ("key", "name")

    def __init__(self, name: str | None, key: Key | None) -> None:
        if name is not None and not (isinstance(cast("object", name), str) and _NAME.fullmatch(name)):
            raise InvalidOptions("name", name, "1 to 200 characters without spaces, or None for the task's own name")
        if isinstance(key, str):
            _fields_of(key)
        elif key is not None and not callable(cast("object", key)):
            raise InvalidOptions("key", key, "a text such as '{user}', a function of the job's arguments, or None")
        self.name, self.key = name, key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and type(self) is type(other) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[object, ...]:
        return self.name, self.key

    def _shown(self) -> str:
        facts = (("key", self.key), ("name", self.name))
        return "".join(f", {word}={value!r}" for word, value in facts if value is not None)

    def check_parameters(self, task: str, parameters: Collection[str]) -> None:
        """Check the key against the task's parameters.

        Raises:
            InvalidOptions: It names one that the task does not have.
        """
        if isinstance(self.key, str):
            for field in _fields_of(self.key):
                if field not in parameters:
                    listed = ", ".join(parameters) or "none"
                    raise InvalidOptions("key", self.key, f"names of parameters of {task} in the braces; it has {listed}")

    def full_name(
        self, task: str, kind: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> str:
        """Return the name of what a job belongs to, with its key; *bound* returns its arguments by name.

        Raises:
            InvalidOptions: The key cannot be made of these arguments.
        """
        name = f"{kind}:{self.name or task}"
        if self.key is None:
            return name
        return f"{name} {self._make_key(task, args, kwargs, bound)}"

    def _make_key(
        self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bound: Callable[[], Mapping[str, Any]]
    ) -> str:
        assert self.key is not None
        try:
            made = self.key.format_map(bound()) if isinstance(self.key, str) else self.key(*args, **kwargs)
        except Exception as error:
            problem = f"something that can be made of the arguments of {task}: {type(error).__name__}: {error}"
            raise InvalidOptions("key", self.key, problem) from error
        if isinstance(made, bool) or not isinstance(made, str | int):
            raise InvalidOptions("key", self.key, f"a text or a whole number for each job of {task}, and not {made!r}")
        text = str(made)
        if len(text) > MAX_KEY or not text.isprintable():
            expected = f"a key of at most {MAX_KEY} printable characters for each job of {task}, and not {text[:60]!r}"
            raise InvalidOptions("key", self.key, expected)
        return text


def _fields_of(template: str) -> list[str]:
    """Return the parameters that a template names.

    Raises:
        InvalidOptions: It is no template.
    """
    try:
        found = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InvalidOptions("key", template, f"a template such as '{{user}}' ({error})") from None
    names = [re.split(r"[.\[]", field, maxsplit=1)[0] for field in found]
    for name in names:
        if not name.isidentifier():
            raise InvalidOptions("key", template, "names of parameters in the braces, as in '{user}'")
    if not template:
        raise InvalidOptions("key", template, "a template such as '{user}', or None for all jobs together")
    return names
