"""What the client asks where the function of a durable workflow submits: the `Recorder` of its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..client import Connection
from ..client.ports import Recorder, Unsent
from ..model.delivery import Receipt
from .calls import run_recorded
from .enqueues import enqueue_recorded
from .recording import Recording


class WorkflowRecorder(Recorder):
    """Lets the jobs of one run of a function go through its recording. See `client.ports.Recorder`."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    @property
    def connection(self) -> Connection:
        """Whose calls it records."""
        return self.recording.connection

    def name_call(self, job: Unsent) -> str:
        """Return the id of a job that the function is about to run."""
        return self.recording.names.of_job(job)

    def call_of(self, job_id: str) -> int | None:
        """Return the number of the call that *job_id* was named for."""
        return self.recording.names.call_of(job_id)

    async def enqueue(self, jobs: Sequence[Unsent]) -> list[Receipt]:
        """Submit jobs, detached, once."""
        return await enqueue_recorded(self.recording, jobs)

    async def run(self, job: Unsent, job_id: str | None, reason: Callable[[], str | None]) -> Any:
        """Submit one job, or find it, and wait for its result."""
        return await run_recorded(self.recording, job, job_id, reason)
