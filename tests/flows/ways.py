"""The three ways to run a flow, as one function."""

from __future__ import annotations

from typing import Any

from nursery_tasks import Flow


async def result(flow: Flow[Any], how: str, *given: Any) -> Any:
    """Run a flow in one of the three ways, and return its result."""
    if how == "enqueue":
        return await (await flow.enqueue(*given))
    return await getattr(flow, how)(*given)
