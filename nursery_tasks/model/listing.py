"""What a person sees of a broker: jobs, queues and workers, as records."""

from __future__ import annotations

from typing import Any

import msgspec

from .states import JobState


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a broker knows of one job. Moments are epoch seconds on the broker's clock.

    Attributes:
        cursor: The place in the listing: pass it as *after* to get what follows.
        attempts: How many attempts were started and not given back.
        crashes: How many workers died while they ran it.
        due_at: When it may start, or might have; a retry, a release or a lost lease sets it anew.
        started_at: When the current or last attempt was marked as started; None: it was not (yet).
        worker: Who holds it, or held it last.
        owned: Whether it has an owner; detached jobs have none.
        unresponsive: Its handler was cancelled and does not end.
        cancel_reason: Set once a cancel was asked for; empty when no reason was given.
        progress: What the handler said last, as JSON.
        outcome: The packed outcome, once it has ended; before that, of the last attempt that failed.
        parked: The name under which it is parked, see `Released`: it waits for a worker that knows it.
        waits_for: The name of the limit that it is ready and waits for, when that had no room when a worker last looked.
        raw: The payload is no message, but what another program has put in.
    """

    id: str
    queue: str
    task: str
    state: JobState
    cursor: int
    priority: int = 0
    attempts: int = 0
    crashes: int = 0
    created_at: float = 0.0
    due_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    worker: str | None = None
    key: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    owned: bool = False
    unresponsive: bool = False
    cancel_reason: str | None = None
    progress: bytes | None = None
    outcome: bytes | None = None
    payload: bytes = b""
    waits_for: str | None = None
    parked: str | None = None
    raw: bool = False


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list: all of these must hold; None and empty mean any."""

    states: frozenset[JobState] = frozenset()
    queue: str | None = None
    task: str | None = None
    parent: str | None = None
    tag: str | None = None


class QueueRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One queue: how many jobs it has in each state, and whether claims from it are paused."""

    name: str
    counts: dict[JobState, int]
    paused: bool = False

    @property
    def depth(self) -> int:
        """How many jobs wait to be started now."""
        return self.counts.get(JobState.READY, 0)


class TransportQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What a server that moves messages knows of a queue.

    Attributes:
        ready: Messages that wait.
        unacknowledged: Messages that workers hold.
        consumers: How many workers serve it.
        memory_bytes: What the queue takes of the server's memory; None: the server does not say.
        in_per_second, out_per_second: Published and acknowledged, of late; None: the server does not say.
    """

    ready: int
    unacknowledged: int | None = None
    consumers: int
    memory_bytes: int | None = None
    in_per_second: float | None = None
    out_per_second: float | None = None


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message at a server that moves messages, to look at or to send: its body, and what AMQP says beside it.

    Attributes:
        id: Of the message; a message of another program gives it to its job. None: the server has none, or makes one up.
        type: What its sender calls this kind of message.
        redelivered: The server has given it to somebody before.
    """

    body: bytes = b""
    id: str | None = None
    type: str | None = None
    content_type: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    priority: int | None = None
    headers: dict[str, Any] = {}
    redelivered: bool = False


class UserRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One user of a server that moves messages; *tags* say whether it may look at others, and change them."""

    name: str
    tags: tuple[str, ...] = ()


class PermissionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may do in one virtual host: patterns that the names of queues and exchanges must match; empty: none."""

    user: str
    vhost: str
    configure: str = ""
    write: str = ""
    read: str = ""


class LimitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One limit that is in use. A limit is known only while it holds jobs, or jobs wait for it.

    Attributes:
        name: As in `Limit.name`: its kind, and what is counted together.
        running: How many jobs of those that workers hold count; always 0 for a rate.
        waiting: How many ready jobs stand in line for it.
        opens_at: When it has room for the next of them; None: now, or when one that runs has ended.
    """

    name: str
    running: int = 0
    waiting: int = 0
    opens_at: float | None = None


class LockRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One lock that somebody holds or waits for.

    Attributes:
        token: The fencing token of the holder; 0: nobody has it at the moment.
        until: When the lease of its holder is over, or of the first who waits.
        waiting: How many stand in line for it.
    """

    name: str
    token: int = 0
    until: float = 0.0
    waiting: int = 0


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as it described itself in its last heartbeat.

    Attributes:
        running: The ids of the jobs that run there.
        unresponsive: Those of them whose handler was cancelled and does not end; each costs the worker a slot.
        jobs: It runs jobs; one that does not only runs schedules.
        schedules: It runs schedules.
    """

    name: str
    node: str
    pid: int
    group: str = ""  # of the worker processes that one `nursery-tasks run` has started; empty: it is alone
    backend: str = ""
    queues: tuple[str, ...] = ()
    slots: int = 0
    running: tuple[str, ...] = ()
    unresponsive: tuple[str, ...] = ()
    processed: int = 0
    jobs: bool = True
    schedules: bool = True
    started_at: float = 0.0
    seen_at: float = 0.0
