"""A flow: steps in sequences and parallel groups, as a value: to be run here, on workers, or to be sent to them as a whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import Any, Generic, NoReturn, TypeVar

from ..client import Job, JobHandle
from ..errors import InvalidArguments, NotAJob
from ..model.options import JobOptions
from .data import FLOW
from .mermaid import Drawing
from .node import Node
from .places import ON_WORKERS, Here
from .results import decodable

R = TypeVar("R", covariant=True)


class Flow(Node, Generic[R]):
    """What `sequence`, `parallel` and `parallel_map` return: steps, ready to be run as often as you like.

    A flow holds nothing open and runs nothing by itself. It can be a step of another one, to any depth.
    """

    def __repr__(self) -> str:
        return f"<{self.label} of {', '.join(part.label for part in self.parts) or 'nothing'}>"

    def __await__(self) -> Generator[Any, Any, NoReturn]:
        """Refuse: a flow can run in three ways."""
        raise TypeError(
            f"{self!r} does not run by itself: `await flow.run(x)` runs its steps on workers, `await flow.run_local(x)` in "
            "this program, `await flow.enqueue(x)` lets workers do all of it"
        )

    async def run(self, *given: Any) -> R:
        """Run it from here, with its jobs on workers. They are owned: they end with the scope around this `await`.

        Args:
            given: What the first step gets as its first argument; nothing when it needs none.

        Returns:
            What the last step returned.

        Raises:
            InvalidArguments: The first step cannot begin with this; nothing was sent.
            ExceptionGroup: Branches of a `parallel` failed.
            Exception: What a step ended with, see `Task.run`.

        Cancellation:
            Cancels what runs, and waits until it is gone. Steps that have not begun never do.
        """
        result: R = await self.perform(ON_WORKERS, self._checked(given), _no_reason)
        return result

    async def run_local(self, *given: Any) -> R:
        """Run it in this program, without a broker: its jobs on the loop, in threads or in processes, as their tasks say.

        Retries and timeouts hold; queues, priorities and delays mean nothing. Otherwise as `run`.
        """
        result: R = await self.perform(Here(), self._checked(given), _no_reason)
        return result

    def job(self, *given: Any) -> Job[R]:
        """Return the unsent job that runs all of it on workers; it goes to the queue of the first job in it.

        Use it for options (`flow.job(x).with_options(timeout=60)`), or in programs without a loop
        (`app.sync.run(flow.job(x))`). The job lends its slot to others while it waits for the steps.

        Raises:
            InvalidArguments: The first step cannot begin with this.
            NotAJob: There is a plain function among the steps, no job at all, or jobs of different apps.
        """
        given = self._checked(given)
        data = self.to_data()
        jobs = list(self.jobs())
        if not jobs:
            raise NotAJob("a flow that is to run on workers", "no job at all", "at least one task")
        app = jobs[0].app
        if any(job.app is not app for job in jobs):
            raise NotAJob("a flow that is to run on workers", "jobs of several apps", "jobs of one app, or use run()")
        options = JobOptions(queue=jobs[0].options.queue, local=jobs[0].options.local)
        return Job(app, FLOW, (data, *given), {}, options, decodable(self.returns, app.registry))

    async def enqueue(self, *given: Any) -> JobHandle[R]:
        """Send all of it to the workers, detached: one of them runs it, its jobs run anywhere. See `Task.enqueue`.

        When the worker that runs it dies, its jobs are cancelled, and it begins again from the start. Raises as `job` does.
        """
        return await self.job(*given).enqueue()

    def to_mermaid(self) -> str:
        """Draw it, as the text of a Mermaid flowchart."""
        drawing = Drawing()
        self.draw_whole(drawing)
        return drawing.text()

    def draw_whole(self, drawing: Drawing) -> None:
        """Draw it as the outermost one."""
        self.draw(drawing, 1)

    def _checked(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(given) > 1:
            problem = f"it takes one value or none, and got {len(given)}"
            raise InvalidArguments(self.label, problem, "(value)", "flow")
        self.check(len(given))
        return given

    @property
    @abstractmethod
    def label(self) -> str: ...


def _no_reason() -> None:
    return None
