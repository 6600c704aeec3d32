"""The shape of a flow as a Mermaid flowchart. See https://mermaid.js.org/syntax/flowchart.html

Jobs are boxes, plain functions have round sides, groups are subgraphs; arrows show where a result goes. The outermost sequence
needs no frame. Arrows lead to a group as a whole: each of its branches gets the same value, and what follows gets one list.
"""

from __future__ import annotations

from typing import Final

from .leaf import CallNode, JobNode
from .node import Node
from .parallel import ParallelFlow
from .sequence import SequenceFlow

LABEL_LENGTH: Final = 60  # characters of a step's own arguments, and of its name
_ENTITIES: Final = {'"': "#quot;", "#": "#35;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;", "%": "#37;"}


def draw(flow: Node) -> str:
    """Return the text of a flowchart, which ends with a newline."""
    drawing = _Drawing()
    if isinstance(flow, SequenceFlow) and flow.parts:
        drawing.add_chain(flow.parts, 1)
    else:
        drawing.add(flow, 1)
    return "\n".join(["flowchart TD", *drawing.lines, *drawing.arrows]) + "\n"


class _Drawing:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.arrows: list[str] = []
        self._count = 0

    def add(self, node: Node, level: int) -> tuple[str, str]:
        """Draw one node; returns where arrows to it end, and where those from it begin."""
        if isinstance(node, ParallelFlow):
            return self._add_parallel(node, level)
        if isinstance(node, SequenceFlow):
            name = self._open(node.label, level)
            self.add_chain(node.parts, level + 1)
            self._close(level)
            return name, name
        name = self._name()
        if isinstance(node, JobNode):
            self._line(f'{name}["{_escaped(_call_of(node))}"]', level)
        else:
            assert isinstance(node, CallNode)
            self._line(f'{name}(["{_escaped(_shortened(node.label))}"])', level)
        return name, name

    def add_chain(self, nodes: tuple[Node, ...], level: int) -> None:
        """Draw steps that follow each other."""
        before: str | None = None
        for node in nodes:
            begin, end = self.add(node, level)
            if before is not None:
                self._arrow(before, begin)
            before = end
        if not nodes:
            self._add_nothing(level)

    def _add_parallel(self, node: ParallelFlow, level: int) -> tuple[str, str]:
        name = self._open(_title(node), level)
        for branch in node.branches:
            self.add(branch, level + 1)
        if not node.branches:
            self._add_nothing(level + 1)
        self._close(level)
        if node.then is None:
            return name, name
        begin, end = self.add(node.then, level)
        self._arrow(name, begin)
        return name, end

    def _add_nothing(self, level: int) -> None:
        self._line(f'{self._name()}["(nothing)"]', level)

    def _open(self, title: str, level: int) -> str:
        name = self._name()
        self._line(f'subgraph {name}["{_escaped(title)}"]', level)
        return name

    def _close(self, level: int) -> None:
        self._line("end", level)

    def _arrow(self, begin: str, end: str) -> None:
        self.arrows.append(f"    {begin} --> {end}")

    def _line(self, text: str, level: int) -> None:
        self.lines.append("    " * level + text)

    def _name(self) -> str:
        self._count += 1
        return f"s{self._count}"


def _title(node: ParallelFlow) -> str:
    title = "for each item" if node.over_items else "parallel"
    if node.policy != "fail_fast":
        title += f", {node.policy.replace('_', ' ')}"
    return title if node.limit is None else f"{title}, {node.limit} at once"


def _call_of(node: JobNode) -> str:
    own = [*map(repr, node.job.args), *(f"{name}={value!r}" for name, value in node.job.kwargs.items())]
    return _shortened(f"{node.label}({', '.join(own)})" if own else node.label)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LABEL_LENGTH else f"{line[: LABEL_LENGTH - 3]}..."


def _escaped(text: str) -> str:
    return "".join(_ENTITIES.get(letter, letter if letter.isprintable() else "?") for letter in text)
