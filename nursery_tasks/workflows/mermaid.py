"""The shape of a flow as a Mermaid flowchart. See https://mermaid.js.org/syntax/flowchart.html

Jobs are boxes, plain functions have round sides, groups are subgraphs; arrows show where a result goes. The outermost sequence
needs no frame. Arrows lead to a group as a whole: each of its branches gets the same value, and what follows gets one list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

LABEL_LENGTH: Final = 60  # characters of a step's own arguments, and of its name
_ENTITIES: Final = {'"': "#quot;", "#": "#35;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;", "%": "#37;"}


Ends = tuple[str, str]  # where arrows to a node end, and where those from it begin


class Drawn(Protocol):
    """What can be drawn: any part of a flow."""

    def draw(self, drawing: Drawing, level: int) -> Ends:
        """Draw it, so many groups deep."""
        ...


class Drawing:
    """A flowchart that is being drawn."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._arrows: list[str] = []
        self._count = 0

    def text(self) -> str:
        """Return its text, which ends with a newline."""
        return "\n".join(["flowchart TD", *self._lines, *self._arrows]) + "\n"

    def add_job(self, label: str, level: int) -> Ends:
        """Draw a step that is a job."""
        return self._add(f'["{_escaped(_shortened(label))}"]', level)

    def add_call(self, label: str, level: int) -> Ends:
        """Draw a step that is a plain function."""
        return self._add(f'(["{_escaped(_shortened(label))}"])', level)

    def add_chain(self, nodes: Sequence[Drawn], level: int) -> None:
        """Draw steps that follow each other."""
        before: str | None = None
        for node in nodes:
            begin, end = node.draw(self, level)
            if before is not None:
                self._arrow(before, begin)
            before = end
        if not nodes:
            self._add_nothing(level)

    def add_sequence(self, title: str, nodes: Sequence[Drawn], level: int) -> Ends:
        """Draw a group of steps that follow each other."""
        name = self._open(title, level)
        self.add_chain(nodes, level + 1)
        self._close(level)
        return name, name

    def add_parallel(self, title: str, branches: Sequence[Drawn], then: Drawn | None, level: int) -> Ends:
        """Draw a group of branches, and what their results go to."""
        name = self._open(title, level)
        for branch in branches:
            branch.draw(self, level + 1)
        if not branches:
            self._add_nothing(level + 1)
        self._close(level)
        if then is None:
            return name, name
        begin, end = then.draw(self, level)
        self._arrow(name, begin)
        return name, end

    def _add(self, shape: str, level: int) -> Ends:
        name = self._name()
        self._line(f"{name}{shape}", level)
        return name, name

    def _add_nothing(self, level: int) -> None:
        self._add('["(nothing)"]', level)

    def _open(self, title: str, level: int) -> str:
        name = self._name()
        self._line(f'subgraph {name}["{_escaped(title)}"]', level)
        return name

    def _close(self, level: int) -> None:
        self._line("end", level)

    def _arrow(self, begin: str, end: str) -> None:
        self._arrows.append(f"    {begin} --> {end}")

    def _line(self, text: str, level: int) -> None:
        self._lines.append("    " * level + text)

    def _name(self) -> str:
        self._count += 1
        return f"s{self._count}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LABEL_LENGTH else f"{line[: LABEL_LENGTH - 3]}..."


def _escaped(text: str) -> str:
    return "".join(_ENTITIES.get(letter, letter if letter.isprintable() else "?") for letter in text)
