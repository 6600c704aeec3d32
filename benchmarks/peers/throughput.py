"""How many jobs that do nothing workers get done, and what each costs.

All jobs are queued before the workers start. From outside the server is asked every few milliseconds how many have ended, with
their results stored; measured is from a tenth of them to the last, so starting up is not in it. The CPU time is that of all the
workers' processes between the same moments, plus a quarter of a second, in which they tidy up; the memory is theirs after that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from measuring import family_mib, family_seconds

from .sides import Side, Worker

TIDY_SECONDS = 0.25
SHARE_BEFORE = 0.1


def work_off(side: Side, ended: Callable[[], int], workers: Sequence[Worker], jobs: int, most_seconds: float) -> list[float]:
    """Return jobs per second, CPU microseconds per job, and MiB of all workers together.

    Args:
        ended: Says how many jobs have ended.
        most_seconds: Then it is over, with what has been done.
    """
    pids = [worker.process.pid for worker in workers]
    first, began, cpu_began = 0, time.perf_counter(), family_seconds(pids)
    if not workers[0].until(lambda: ended() >= jobs * SHARE_BEFORE):
        raise RuntimeError(f"{side.name} has ended {ended()} of {jobs} jobs in a minute")
    if (so_far := ended()) < jobs:  # else there were so few that all had ended before anybody looked
        first, began, cpu_began = so_far, time.perf_counter(), family_seconds(pids)
    all_done = workers[0].until(lambda: ended() >= jobs, most=most_seconds)
    last, seconds = ended(), time.perf_counter() - began
    if all_done:
        time.sleep(TIDY_SECONDS)
    cpu = family_seconds(pids) - cpu_began
    return [(last - first) / seconds, cpu / (last - first) * 1e6, family_mib(pids)]
