"""`/jobs/<id>/tree`: a job with all that it has started."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from ...client.tree import Node, read_tree
from ..call import Call
from ..operations import Operation
from ..outcomes import json_response
from .jobs import find_job


async def show_tree(call: Call) -> Response:
    """Show a job with all that it has started, as far as the caller may see it."""
    info = await find_job(call)
    top, left = await read_tree(call.app.jobs, info.id)
    _leave_out(call, top)
    return json_response(top.to_data() | {"more": bool(left)})


def _leave_out(call: Call, node: Node) -> None:
    """Leave out jobs in queues that the caller may not see, with all below them."""
    node.children = [child for child in node.children if call.caller.may_use(child.record.queue)]
    for child in node.children:
        _leave_out(call, child)


OPERATIONS: Final = (
    Operation("GET", "/jobs/{id:path}/tree", "read", "showTree", "Show a job with all that it has started", show_tree),
)
