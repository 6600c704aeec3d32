"""What travels: one map per job, versioned, in JSON or msgpack.

The smallest message that any language can write is `{"task": "add", "args": [1, 2]}`. Brokers keep a message's bytes as they
came, so fields that this version does not know survive every retry, and newer workers still see them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from .retry import RetryRule

VERSION: Final = 1


class Message(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One job, as data.

    Attributes:
        v: The major version of this format; a worker puts messages of a newer one aside, untouched.
        task: The task's name.
        args: Positional arguments.
        kwargs: Keyword arguments.
        parent: The id of the job whose handler submitted this one.
        timeout: Seconds that one attempt may run, where the submitter changed it; 0 means no limit.
        retry: The retry policy, where the submitter changed it.
        remaining: Seconds that the caller who awaits the job had left when it was sent. They are counted from its submission
            on the broker's clock, so no other clock has a say. None: no deadline, or nobody awaits it.
        deadline: The same as a moment, in epoch seconds on the caller's clock; for display only.
        tags: Words to find the job by.
        call: Of a job that a durable workflow has submitted: the number of this call among those that its function itself
            makes, from 1; 0 when a child of the function's own nursery made it.
        fingerprint: Which version of the task's parameters the arguments were made for, where the submitter has the function.
        slot: Of a run of a schedule: the moment that the schedule has named.
        sent_at: When it was made, in epoch seconds on the submitter's clock; for display only.
        id: The job's id as another program gave it; brokers heed it, and an answer repeats it.
        reply_to: Where another program waits for the answer.
        once: Whether its handler is started at most once, where the submitter changed it.
        headers: What travels beside the arguments, and with the jobs that its handler submits.
    """

    v: int = VERSION
    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    parent: str | None = None
    timeout: float | None = None
    retry: RetryRule | None = None
    remaining: float | None = None
    deadline: float | None = None
    tags: tuple[str, ...] | None = ()
    call: int | None = None
    fingerprint: str | None = None
    slot: datetime | None = None
    sent_at: float | None = None
    id: str | int | None = None
    reply_to: str | None = None
    once: bool | None = None
    headers: dict[str, str] | None = {}
