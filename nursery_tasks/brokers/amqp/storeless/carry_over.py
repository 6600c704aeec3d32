"""What this process knew of its jobs when a broker was closed: whoever opens one of the same URL here goes on with it.

So a handle lives as long as its program, also when `async with app` is left and entered again. Outcomes that come meanwhile
wait in the reply queue, which the server keeps for some minutes without a reader; after that, only what had ended is still
known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock
from typing import Final

from ....forks import at_fork
from .cancel_log import CancelLog
from .known_jobs import KnownJobs
from .reply_queue import LIVES_MS
from .topology import StorelessAddress

REPLY_QUEUE_SECONDS: Final = LIVES_MS / 1000 - 30.0  # for how long one without a reader is surely there


@dataclass(frozen=True, slots=True)
class CarryOver:
    """What one broker has left behind.

    Attributes:
        reply_queue: The name of its reply queue; None: it waits for nothing that could come there.
        at: When that was, on the clock of `time.monotonic`.
    """

    jobs: KnownJobs
    cancels: CancelLog
    reply_queue: str | None
    at: float


_lock = Lock()
_kept: dict[str, CarryOver] = {}  # by URL, with the prefix and the options


def leave(address: StorelessAddress, jobs: KnownJobs, cancels: CancelLog, reply_queue: str | None) -> None:
    """Keep what the next broker of this address may need."""
    with _lock:
        _kept[_key(address)] = CarryOver(jobs, cancels, reply_queue, time.monotonic())


def put_back(address: StorelessAddress, kept: CarryOver) -> None:
    """Keep what was taken over for the next try: the server was away."""
    with _lock:
        _kept.setdefault(_key(address), kept)


def take_over(address: StorelessAddress) -> CarryOver | None:
    """Take what the one before has left, once; without its reply queue, when that may be gone."""
    with _lock:
        kept = _kept.pop(_key(address), None)
    if kept is None or kept.reply_queue is None or time.monotonic() - kept.at <= REPLY_QUEUE_SECONDS:
        return kept
    kept.jobs.forget_unended()
    return CarryOver(kept.jobs, kept.cancels, None, kept.at)


def _key(address: StorelessAddress) -> str:
    return repr((address.url, address.prefix, sorted(address.options.items())))


def _after_fork_in_child() -> None:
    _kept.clear()  # its parent may go on with it; two that read one reply queue would get half of it each


at_fork(in_child=_after_fork_in_child)
