"""`/jobs/<id>/tree`: a job with all that it has started."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from ...client.tree import read_tree
from ..call import Call
from ..operations import Operation
from ..outcomes import json_response
from .jobs import find_job


async def show_tree(call: Call) -> Response:
    """Show a job with all that it has started."""
    info = await find_job(call)
    top, left = await read_tree(call.app.jobs, info.id)
    return json_response(top.to_data() | {"more": bool(left)})


OPERATIONS: Final = (
    Operation("GET", "/jobs/{id}/tree", "read", "showTree", "Show a job with all that it has started", show_tree),
)
