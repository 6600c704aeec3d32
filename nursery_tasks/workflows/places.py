"""Where the jobs of a flow run: on workers, or in this program."""

from __future__ import annotations

import os
import random
from typing import Any, Final

from anyio import CapacityLimiter, sleep

from ..client import Job
from ..model.again import decide_retry
from ..model.retry import Retry, told_by
from ..registry import TaskSpec
from ..task import Bound
from .node import Place, Why


class OnWorkers:
    """Jobs are submitted, owned, and waited for."""

    async def run(self, job: Job[Any], why: Why) -> Any:
        """Run one job; a cancel ends it, and waits until it is gone."""
        return await job.app.connection.run(job, None, why)


class Here:
    """Jobs are calls in this program. Make one for each run of a flow, inside its loop."""

    def __init__(self) -> None:
        self._processes = CapacityLimiter(os.cpu_count() or 1)  # each call makes a process of its own

    async def run(self, job: Job[Any], why: Why) -> Any:
        """Run one job, with its retries and what travelling does to its arguments and its result.

        Raises:
            UnknownTask: It is not registered here.
        """
        spec = job.app.registry.find(job.task)
        value = await self._attempts(job, spec)
        codec = job.app.registry.codec
        wanted = Any if job.returns in (None, type(None)) else job.returns
        return codec.decode_value(codec.encode(f"the result of {job.task}", value), codec.form, wanted)

    async def _attempts(self, job: Job[Any], spec: TaskSpec) -> Any:
        task: Bound[..., Any] = Bound(job.app, spec, job.options)
        attempt = 1
        while True:
            try:
                if spec.kind != "process":
                    return await task.attempt_local(job.args, job.kwargs, attempt)
                async with self._processes:
                    return await task.attempt_local(job.args, job.kwargs, attempt)
            except Exception as error:
                again = decide_retry(error, attempt, job.options.retry, random.random())
                if again is None and isinstance(
                    error, Retry
                ):  # asked for one attempt too many: what it was raised from says more
                    raise told_by(error) from None
                if again is None:
                    raise
            await sleep(again.wait_seconds)
            attempt += 1


ON_WORKERS: Final[Place] = OnWorkers()
