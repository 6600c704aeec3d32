"""The job that runs a whole flow on a worker: a task that every app has, and that no listing of its tasks shows."""

from __future__ import annotations

from typing import Any

from ..client import Job
from ..client.ports import Connected
from ..errors import InvalidOptions
from ..model.options import JobOptions
from ..registry import make_spec
from .data import FLOW, CallData, JobData, NodeData, ParallelData, SequenceData, options_from_data
from .leaf import PLAIN, CallNode, JobNode
from .node import Node
from .parallel import ParallelFlow
from .sequence import SequenceFlow


def register_flows(app: Connected) -> None:
    """Let the workers of *app* run flows that were enqueued."""

    async def flow(tree: SequenceData | ParallelData, *given: Any) -> object:
        """Run a flow; its jobs belong to this one."""
        node: Any = from_data(tree, app)
        return await node.run(*given)

    app.registry.own[FLOW] = make_spec(flow, FLOW, None, JobOptions())


def from_data(data: NodeData, app: Connected) -> Node:
    """Make a flow again of its data.

    Raises:
        InvalidArguments: A step cannot take what it will get.
        InvalidOptions: It calls a function that is not on the list.
    """
    match data:
        case JobData(task, args, kwargs, options, fingerprint):
            spec = app.registry.tasks.get(task)
            given = options_from_data(options, None if spec is None else spec.options)
            return JobNode(Job(app, task, args, kwargs, given, Any if spec is None else spec.signature.returns, fingerprint))
        case CallData(name):
            if name not in PLAIN:
                raise InvalidOptions("call", name, f"one of {', '.join(PLAIN)}")
            return CallNode(PLAIN[name])
        case SequenceData(steps):
            return SequenceFlow([from_data(step, app) for step in steps])
        case ParallelData(branches, then, policy, limit, over_items):
            nodes = [from_data(branch, app) for branch in branches]
            end = None if then is None else from_data(then, app)
            return ParallelFlow(nodes, end, policy, limit, over_items=over_items)
