"""`app.queues`: the queues of an app's broker, and the messages in them where a server moves those."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from ..brokers.needed import admin_of, postbox_of, queues_of
from ..errors import BrokerUnreachable, InvalidOptions
from ..model.listing import ServerMessage, TransportQueue
from ..model.options import check_name, check_queue
from ..model.queue import Queue
from ..model.states import WAITING, JobState
from .calls import Calls
from .choosing import check_count, to_states
from .jobs import check_purged

PEEKED: Final = 10


class QueueInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One queue.

    Attributes:
        counts: How many of its jobs are in each state; without those of 0.
        paused: Whether workers may not take jobs from it.
        messages: What waits at the server that moves the messages; None: there is no such server, or no such queue there.
        max_length: How many jobs may wait there, as this app declares it; None: it does not.
    """

    name: str
    counts: dict[JobState, int] = {}
    paused: bool = False
    messages: TransportQueue | None = None
    max_length: int | None = None

    @property
    def depth(self) -> int:
        """How many jobs, or else messages, wait to be started now."""
        if not self.counts and self.messages is not None:
            return self.messages.ready
        return self.counts.get(JobState.READY, 0)


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted from a queue; *messages* is None where no server moves any."""

    jobs: int
    messages: int | None = None


class Queues:
    """The queues of an app's broker: `app.queues`.

    Args:
        declared: What the app declares of queues, by name.
    """

    def __init__(self, calls: Callable[[], Calls], declared: Mapping[str, Queue]) -> None:
        self._calls = calls
        self._declared = declared

    async def list(self, *also: str) -> builtins.list[QueueInfo]:
        """List the queues that have jobs or are paused, by name; without a store those at the server.

        Args:
            also: Queues that are to be looked for at the server, too; without a store they are all that is listed where the
                server does not say which there are.
        """
        calls = self._calls()
        broker = calls.broker
        known = {record.name: record for record in await calls(broker.admin.list_queues)} if broker.admin is not None else {}
        if broker.admin is None and broker.queues is not None:
            try:
                known_names = dict.fromkeys(await calls(broker.queues.queue_names))
            except BrokerUnreachable:
                if not also:
                    raise
                known_names = {}
        else:
            known_names = dict.fromkeys(known)
        found: builtins.list[QueueInfo] = []
        for name in known_names | dict.fromkeys(also):
            messages = await calls(broker.queues.transport_queue, name) if broker.queues is not None else None
            record = known.get(name)
            declared = self._declared.get(name.partition("@")[0])
            most = None if declared is None else declared.max_length
            if record is not None:
                counts, paused = record.counts, record.paused
                found.append(QueueInfo(name=name, counts=counts, paused=paused, messages=messages, max_length=most))
            elif messages is not None:
                found.append(QueueInfo(name=name, messages=messages, max_length=most))
        return found

    async def pause(self, *names: str) -> None:
        """Let no worker take jobs from these queues; what runs goes on."""
        for name in names:
            calls = self._calls()
            await calls(admin_of(calls.broker).pause, check_queue("name", name))

    async def resume(self, *names: str) -> None:
        """Undo `pause`."""
        for name in names:
            calls = self._calls()
            await calls(admin_of(calls.broker).resume, check_queue("name", name))

    async def purge(self, name: str, *, states: Iterable[JobState | str] = WAITING) -> Purged:
        """Delete what waits in a queue: its jobs that are in one of *states* and, if `ready` is one of these, its messages.

        Raises:
            InvalidOptions: Jobs in such a state belong to a worker; or, without a store, `ready` is not among them.
        """
        calls, chosen = self._calls(), to_states(states)
        check_queue("name", name)
        check_purged(chosen)
        broker, purged = calls.broker, 0
        if broker.admin is None and broker.queues is not None:
            if JobState.READY not in chosen:
                raise InvalidOptions("states", sorted(chosen), "ready: without a store only messages that wait can be deleted")
        else:
            while count := await calls(admin_of(broker).purge, name, chosen):
                purged += count
        messages = None
        if JobState.READY in chosen and broker.queues is not None:
            messages = await calls(broker.queues.drop_messages, name)
        return Purged(jobs=purged, messages=messages)

    async def create(self, name: str) -> bool:
        """Make a queue at the server, with all that leads to it. False: it was there already.

        Raises:
            NotSupported: The broker's queues are no things at a server.
        """
        calls = self._calls()
        return await calls(queues_of(calls.broker).create_queue, check_queue("name", name))

    async def delete(self, name: str, *, force: bool = False) -> bool:
        """Delete a queue at the server. False: there was none.

        Args:
            force: Also with what waits in it, and while a worker serves it.

        Raises:
            BrokerRefused: Without *force*: somebody serves it, or there is something in it.
            NotSupported: The broker's queues are no things at a server.
        """
        calls = self._calls()
        return await calls(queues_of(calls.broker).delete_queue, check_queue("name", name), force)

    async def peek(self, name: str, limit: int = PEEKED) -> builtins.list[ServerMessage]:
        """Look at messages that wait at the server, the next one first, and leave them there. It counts as a delivery.

        Raises:
            BrokerRefused: There is no such queue.
            NotSupported: The broker's queues are no things at a server; `app.jobs.list(queue=...)` shows the jobs.
        """
        check_count("limit", limit)
        calls = self._calls()
        return await calls(queues_of(calls.broker).peek, check_queue("name", name), limit)

    async def send(
        self,
        name: str,
        body: bytes | str,
        *,
        id: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Send a message to a queue as another program would, and return its id. A job is made of it when a worker gets it.

        Args:
            body: JSON with a task, or anything for the queue's `raw` task.
            id: Its id, and that of its job; None: a new one.
            reply_to: Where the answer goes.

        Raises:
            NotSupported: The broker takes no messages.
        """
        for option, given in (("id", id), ("reply_to", reply_to)):
            if given is not None:
                check_name(option, given)
        if not isinstance(body, bytes | str):
            raise InvalidOptions("body", body, "bytes or a text; `task.enqueue(...)` submits a job")
        message = ServerMessage(
            body=body.encode() if isinstance(body, str) else body,
            id=id,
            reply_to=reply_to,
            correlation_id=correlation_id,
            content_type=content_type,
            headers=dict(headers or {}),
        )
        calls = self._calls()
        return await calls(postbox_of(calls.broker).send_message, check_queue("name", name), message)
