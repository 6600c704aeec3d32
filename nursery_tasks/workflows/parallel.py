"""Branches side by side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar, overload

from ..client.group import check_limit
from ..errors import InvalidArguments, InvalidOptions
from .branches import run_branches
from .data import POLICIES, NodeData, ParallelData, Policy
from .flow import Flow
from .leaf import Runnable, Step, to_node
from .mermaid import Drawing, Ends
from .node import Given, Node, Place, Why
from .results import Many, list_of

R = TypeVar("R")
S = TypeVar("S")

_All = Literal["fail_fast", "wait_all"]


class ParallelFlow(Flow[Any]):
    """What `parallel` and `parallel_map` return.

    Attributes:
        branches: What runs at the same time.
        then: What makes one value of their results.
        over_items: There is one branch, and it runs once for each item of what comes in.
    """

    def __init__(
        self, branches: list[Node], then: Node | None, policy: Policy, limit: int | None, *, over_items: bool = False
    ) -> None:
        self.branches, self.then = branches, then
        self.policy: Policy = _check_policy(policy)
        check_limit(limit)
        self.limit = limit
        self.over_items = over_items
        if policy == "first_success" and not branches:
            raise InvalidOptions("policy", policy, "at least one branch, or another policy: none of no branches can succeed")
        if over_items:
            branches[0].check(1)
        if then is not None:
            then.check(1)
        parts = branches if then is None else [*branches, then]
        super().__init__(parts, self._returns() if then is None or then.hands_on else then.returns)

    @property
    def label(self) -> str:
        return "parallel_map" if self.over_items else "parallel"

    def check(self, given: int) -> None:
        if self.over_items:
            if not given:
                raise InvalidArguments(self.label, "nothing was given to it", "(items)", "flow")
            return
        for branch in self.branches:
            branch.check(given)

    async def perform(self, place: Place, given: Given, why: Why) -> Any:
        inputs = [(item,) for item in _items(*given)] if self.over_items else [given] * len(self.branches)
        branches = self.branches * len(inputs) if self.over_items else self.branches

        async def run(number: int, why: Why) -> Any:
            return await branches[number].perform(place, inputs[number], why)

        results = await run_branches(run, len(inputs), self.policy, self.limit, why)
        return results if self.then is None else await self.then.perform(place, (results,), why)

    def to_data(self) -> NodeData:
        then = None if self.then is None else self.then.to_data()
        return ParallelData([branch.to_data() for branch in self.branches], then, self.policy, self.limit, self.over_items)

    def draw(self, drawing: Drawing, level: int) -> Ends:
        title = "for each item" if self.over_items else "parallel"
        if self.policy != "fail_fast":
            title += f", {self.policy.replace('_', ' ')}"
        title = title if self.limit is None else f"{title}, {self.limit} at once"
        return drawing.add_parallel(title, self.branches, self.then, level)

    def _returns(self) -> Any:
        types = [branch.returns for branch in self.branches]
        if self.policy == "first_success":
            return types[0] if all(one == types[0] for one in types) else Any
        return Many(types[0]) if self.over_items else list_of(types)


@overload
def parallel(
    *branches: Runnable[R], then: None = None, policy: Literal["first_success"], limit: int | None = None
) -> Flow[R]: ...
@overload
def parallel(
    *branches: Runnable[R], then: None = None, policy: _All = "fail_fast", limit: int | None = None
) -> Flow[list[R]]: ...
@overload
def parallel(*branches: Step, then: Runnable[S], policy: Policy = "fail_fast", limit: int | None = None) -> Flow[S]: ...
@overload
def parallel(
    *branches: Step, then: Callable[..., Awaitable[S]], policy: Policy = "fail_fast", limit: int | None = None
) -> Flow[S]: ...
@overload
def parallel(*branches: Step, then: Callable[..., S], policy: Policy = "fail_fast", limit: int | None = None) -> Flow[S]: ...
@overload
def parallel(*branches: Step, then: None = None, policy: Policy = "fail_fast", limit: int | None = None) -> Flow[Any]: ...
def parallel(*branches: Any, then: Any = None, policy: Policy = "fail_fast", limit: int | None = None) -> Flow[Any]:
    """Put branches side by side: each gets the same first argument, and all run at the same time.

    The result is the list of their results, in the order in which they stand here; `[]` where there are none.

    Args:
        branches: Steps, as in `sequence`. Each is a child of one nursery.
        then: A step that gets the list and makes one result of it.
        policy: `fail_fast`: the first that fails, after its retries, cancels the others. `wait_all`: all run to their end.
            `first_success`: the first that succeeds cancels the others, and its result is the result. Whatever failed comes
            out in one `ExceptionGroup`, when all have ended.
        limit: How many branches may run at the same time, at most; None: 1 000.

    Raises:
        NotAJob: A branch, or *then*, cannot run.
        InvalidOptions: There is no such policy; or it is `first_success`, of no branches.
    """
    nodes = [to_node("parallel(...)", branch) for branch in branches]
    return ParallelFlow(nodes, None if then is None else to_node("parallel(then=...)", then), policy, limit)


@overload
def parallel_map(
    step: Runnable[R], /, *, then: None = None, policy: Literal["first_success"], limit: int | None = None
) -> Flow[R]: ...
@overload
def parallel_map(
    step: Runnable[R], /, *, then: None = None, policy: _All = "fail_fast", limit: int | None = None
) -> Flow[list[R]]: ...
@overload
def parallel_map(step: Step, /, *, then: Runnable[S], policy: Policy = "fail_fast", limit: int | None = None) -> Flow[S]: ...
@overload
def parallel_map(
    step: Step, /, *, then: Callable[..., Awaitable[S]], policy: Policy = "fail_fast", limit: int | None = None
) -> Flow[S]: ...
@overload
def parallel_map(
    step: Step, /, *, then: Callable[..., S], policy: Policy = "fail_fast", limit: int | None = None
) -> Flow[S]: ...
@overload
def parallel_map(step: Step, /, *, then: None = None, policy: Policy = "fail_fast", limit: int | None = None) -> Flow[Any]: ...
def parallel_map(step: Any, /, *, then: Any = None, policy: Policy = "fail_fast", limit: int | None = None) -> Flow[Any]:
    """Run *step* once for each item of what comes in, at the same time: a `parallel` whose width is known when it runs.

        flow = sequence(list_images, parallel_map(resize.job(width=200), then=report))

    What comes in must be a list (or another iterable, but no text and no dict). The rest is as in `parallel`, and the results
    are in the order of the items.

    Raises:
        NotAJob: *step*, or *then*, cannot run.
        InvalidArguments: *step* cannot take an item as its first argument.
    """
    node = to_node("parallel_map(...)", step)
    end = None if then is None else to_node("parallel_map(then=...)", then)
    return ParallelFlow([node], end, policy, limit, over_items=True)


def _items(given: Any) -> list[Any]:
    value: object = given  # type checkers narrow this name only
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise InvalidArguments("parallel_map", f"it takes a list, and got {_shown(given)}", "(items)", "flow")
    return list(given)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:60] + '...'}"


def _check_policy(policy: object) -> Policy:
    for known in POLICIES:
        if policy == known:
            return known
    raise InvalidOptions("policy", policy, f"one of {', '.join(POLICIES)}")
