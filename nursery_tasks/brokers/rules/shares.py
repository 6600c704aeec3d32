"""Whose turn it is in a fair queue: *start-time fair queueing*.

P. Goyal, H. M. Vin and H. Cheng, "Start-time Fair Queueing: A Scheduling Algorithm for Integrated Services Packet Switching
Networks", SIGCOMM 1996; https://doi.org/10.1145/248156.248171.

The jobs of a queue and of one priority are a *line* with a virtual time. A job that is submitted gets a *rank*: the virtual
time, or the *finish* of the job before it in its share, whichever is later. Its own finish is one `SHARE_STEP`, divided by the
share's weight, after that. A claim of a job moves the virtual time up to the job's rank.

So shares that have something to do get jobs through in proportion to their weights, however many each has submitted; one that
was idle saves nothing up; and nothing has to be looked for, because a rank is a number that a job has from the beginning.

A finish that the virtual time has reached says nothing any more, and is forgotten.
"""

from __future__ import annotations

from ...model.delivery import Submission
from ..protocol import SHARE_STEP
from .job import Job

Line = tuple[str, int]  # queue, priority


class Shares:
    """The lines of a broker."""

    def __init__(self) -> None:
        self.time: dict[Line, float] = {}  # virtual time
        self.finish: dict[Line, dict[str, float]] = {}  # line -> share -> the finish of its last job

    def take(self, job: Submission) -> int | None:
        """Take a rank for a new job; None: it has no share."""
        if job.share is None or job.ended is not None:
            return None
        line = job.queue, job.priority
        finish = self.finish.setdefault(line, {})
        start = max(self.time.get(line, 0.0), finish.get(job.share, 0.0))
        finish[job.share] = start + SHARE_STEP / job.weight
        return int(start)

    def reach(self, job: Job) -> None:
        """Hear that a worker takes a job."""
        if job.rank is not None:
            line = job.submitted.queue, job.submitted.priority
            self.time[line] = max(self.time.get(line, 0.0), job.rank)

    def forget(self) -> None:
        """Forget shares that are as good as new."""
        for line, finish in list(self.finish.items()):
            time = self.time.get(line, 0.0)
            self.finish[line] = {share: at for share, at in finish.items() if at > time}
