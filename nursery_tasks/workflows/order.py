"""In which order a durable workflow has done things, as each run of its function sees it.

Branches go on in another order when their calls are answered from records. What does not change is when each call had ended:
that stands in its outcome. So the place of a line in the function is the latest moment of the calls of its own branch, and of
the branches that this one has started; before a branch has made a call, it is where those around it are.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from anyio import get_current_task


@dataclass(slots=True, eq=False)
class _Branch:
    """One child of the function's nurseries, or the function itself."""

    order: Order
    task_id: int
    above: _Branch | None
    own: float = 0.0  # when the latest of its own calls had ended
    below: float = 0.0  # the same of the branches that it has started

    @property
    def place(self) -> float:
        here = max(self.own, self.below)
        return here if self.own or self.above is None else max(here, self.above.place)


_here: ContextVar[_Branch | None] = ContextVar("nursery_tasks_workflow_branch", default=None)


class Order:
    """The order of one run."""

    def passed(self, ended_at: float | None) -> None:
        """Hear that a call which had ended at that moment has been answered here."""
        if ended_at is None:
            return
        branch = self._branch()
        branch.own = max(branch.own, ended_at)
        while branch.above is not None:
            branch = branch.above
            branch.below = max(branch.below, ended_at)

    def place(self) -> float:
        """Return the place of the line that runs now."""
        return self._branch().place

    def _branch(self) -> _Branch:
        found, task_id = _here.get(), get_current_task().id
        if found is not None and found.order is not self:  # the run was started by a job of another one, in this program
            found = None
        if found is None or found.task_id != task_id:
            found = _Branch(self, task_id, found)
            _here.set(found)
        return found
