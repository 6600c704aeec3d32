"""Run many things at the same time, as children of one nursery, under one of three policies.

All of them have ended when `run_branches` returns or raises, however that comes about. A limited number runs at once, and each
child takes one branch after the other: what is kept of the rest is only the results.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from anyio import CancelScope, create_task_group, current_effective_deadline

from ..client.group import AT_ONCE
from ..errors import JobStillRunning
from .data import Policy
from .node import Why

Branch = Callable[[int, Why], Awaitable[Any]]


async def run_branches(branch: Branch, count: int, policy: Policy, limit: int | None, why: Why) -> Any:
    """Call *branch* with 0 to *count* - 1.

    Args:
        limit: How many may run at once; None: 1 000.
        why: Asked why they are cancelled, when the caller is.

    Returns:
        The results in the order of the numbers; with `first_success` the one of the first that succeeded.

    Raises:
        ExceptionGroup: What went wrong, in the same order. With `fail_fast` the first error has cancelled the others.

    Cancellation:
        Cancels all that run, and waits for their end.
    """
    run = _Run(branch, count, policy, why)
    try:
        async with create_task_group() as nursery:
            for number in range(min(count, limit or AT_ONCE)):
                nursery.start_soon(run.serve, nursery.cancel_scope, name=f"branch {number}")
    except ExceptionGroup as group:
        if all(any(error is known for known in run.errors.values()) for error in group.exceptions):
            raise run.failure() from None
        raise
    if run.winner:
        return run.winner[0]
    if run.errors or policy == "first_success":
        raise run.failure()
    return run.results


class _Run:
    """What the children of one group share: each takes the next number when its branch has ended."""

    def __init__(self, branch: Branch, count: int, policy: Policy, why: Why) -> None:
        self.results: list[Any] = [None] * (0 if policy == "first_success" else count)
        self.errors: dict[int, Exception] = {}
        self.winner: list[Any] = []
        self._branch = branch
        self._count = count
        self._policy = policy
        self._why = why
        self._reason: str | None = None
        self._numbers: Iterator[int] = iter(range(count))

    async def serve(self, scope: CancelScope) -> None:
        for number in self._numbers:
            try:
                result = await self._branch(number, lambda: self._reason or self._why())
            except Exception as error:
                if self._is_fatal(number, error):
                    raise
                continue
            if self._policy != "first_success":
                self.results[number] = result
            elif not self.winner:
                self.winner.append(result)
                self._reason = "another branch was first"
                scope.cancel()

    def _is_fatal(self, number: int, error: Exception) -> bool:
        """Say whether an error ends the group; keep it."""
        if self.winner and not isinstance(error, JobStillRunning):  # nobody asks any more what became of the others
            return False
        self.errors[number] = error
        if self._policy == "fail_fast":
            self._reason = self._reason or f"a branch beside it ended with {type(error).__name__}"
            return True
        return current_effective_deadline() == -math.inf  # cancelled from above, or by a winner: it must not get lost

    def failure(self) -> ExceptionGroup[Exception]:
        """Make one error of all."""
        errors = [self.errors[number] for number in sorted(self.errors)]
        if not errors:
            errors = [ValueError("there was no branch that could have succeeded")]
        if self._policy == "first_success" and not self.winner:
            return ExceptionGroup(f"none of {self._count} branches succeeded", errors)
        return ExceptionGroup(f"{len(errors)} of {self._count} branches failed", errors)
