"""A job with all that it has started, level by level."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import UnknownJob
from .data import job_data
from .info import JobInfo
from .jobs import PAGE, Jobs

MOST: Final = 2_000  # jobs that are read


@dataclass(slots=True)
class Node:
    """One job and what it has submitted, in the order of submission."""

    record: JobInfo
    children: list[Node] = field(default_factory=list["Node"])

    def to_data(self) -> dict[str, Any]:
        """Return the tree as plain data."""
        return {**job_data(self.record), "children": [child.to_data() for child in self.children]}


async def read_tree(jobs: Jobs, job_id: str) -> tuple[Node, int]:
    """Read a job and what is below it; returns it, and 1 when there is more than is read.

    Raises:
        UnknownJob: There is no such job.
    """
    record = await jobs.get(job_id)
    if record is None:
        raise UnknownJob(job_id)
    top = Node(record)
    level, count = [top], 1
    while level:
        below: list[Node] = []
        for node in level:
            async for child in _children(jobs, node.record, MOST - count + 1):
                if count >= MOST:
                    return top, 1
                count += 1
                node.children.append(Node(child))
            below += [child for child in node.children if child.record.attempts]  # who never ran submits nothing
        level = below
    return top, 0


async def _children(jobs: Jobs, parent: JobInfo, limit: int) -> AsyncIterator[JobInfo]:
    after = parent.cursor  # what it submitted comes after it
    while limit > 0:
        page = await jobs.list(parent=parent.id, limit=min(limit, PAGE), after=after)
        for info in page:
            yield info
        if not page:
            return
        limit, after = limit - len(page), page[-1].cursor
