"""Steps one after the other."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from .data import NodeData, SequenceData
from .flow import Flow
from .leaf import Runnable, Step, to_node
from .mermaid import Drawing, Ends
from .node import Given, Node, Place, Why

R = TypeVar("R")


class SequenceFlow(Flow[Any]):
    """What `sequence` returns."""

    def __init__(self, steps: list[Node]) -> None:
        real = [step for step in steps if not step.hands_on]
        super().__init__(steps, real[-1].returns if real else Any)
        for step in steps[1:]:
            step.check(1)

    @property
    def label(self) -> str:
        return "sequence"

    @property
    def hands_on(self) -> bool:
        return all(step.hands_on for step in self.parts)

    def check(self, given: int) -> None:
        if self.parts:
            self.parts[0].check(given)

    async def perform(self, place: Place, given: Given, why: Why) -> Any:
        for step in self.parts:
            given = (await step.perform(place, given, why),)
        return given[0] if given else None

    def to_data(self) -> NodeData:
        return SequenceData([step.to_data() for step in self.parts])

    def draw(self, drawing: Drawing, level: int) -> Ends:
        return drawing.add_sequence(self.label, self.parts, level)

    def draw_whole(self, drawing: Drawing) -> None:
        if self.parts:  # the outermost sequence needs no frame
            drawing.add_chain(self.parts, 1)
        else:
            super().draw_whole(drawing)


@overload
def sequence(last: Runnable[R], /) -> Flow[R]: ...
@overload
def sequence(one: Step, last: Runnable[R], /) -> Flow[R]: ...
@overload
def sequence(one: Step, two: Step, last: Runnable[R], /) -> Flow[R]: ...
@overload
def sequence(one: Step, two: Step, three: Step, last: Runnable[R], /) -> Flow[R]: ...
@overload
def sequence(one: Step, two: Step, three: Step, four: Step, last: Runnable[R], /) -> Flow[R]: ...
@overload
def sequence(one: Step, two: Step, three: Step, four: Step, five: Step, last: Runnable[R], /) -> Flow[R]: ...
@overload
def sequence(*steps: Step) -> Flow[Any]: ...
def sequence(*steps: Any) -> Flow[Any]:
    """Put steps one after the other: each gets what the one before returned as its first argument, also 0, "" and None.

        flow = sequence(fetch.job("https://a"), parse, parallel(count, index.job(lang="en")), report)
        print(await flow.run())

    A step is a task, a job (whose own arguments come after the first), a `parallel`, another sequence, or a plain function.
    What fails ends it: no later step begins, and the error comes out as it is. An empty sequence returns what it gets.

    Raises:
        NotAJob: A step is none of these.
        InvalidArguments: A step cannot take the one argument that it will get.
    """
    return SequenceFlow([to_node("sequence(...)", step) for step in steps])
