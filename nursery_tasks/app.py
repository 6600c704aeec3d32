"""The app: what holds the tasks together, and the scope of a broker connection."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from .app_scope import AppScope
from .brokers.gateway import Gateway
from .brokers.needed import event_log_of
from .brokers.protocol import Broker
from .brokers.url import DEFAULT_URL, default_url, redacted, with_store
from .channels.facade import Channels
from .channels.protocol import Channel
from .client import Connection, Job, JobGroup, JobHandle, Jobs, Pauses, Queues
from .client.broadcast import Broadcast, Per, send_broadcast
from .client.cancelling import CANCEL_WAIT_SECONDS
from .client.choosing import check_task
from .client.following import EventStream, follow
from .client.group import check_limit
from .client.hooks import HookDecorator, Hooks
from .client.lock_lease import Lock
from .client.lock_request import LOCK_LEASE_SECONDS, MIN_LOCK_LEASE_SECONDS
from .client.locks import hold_lock
from .client.log_reader import Since
from .client.log_writer import EVENT_LOG_MOST, LogWriter, check_most
from .client.owner_lease import OWNER_LEASE_SECONDS
from .client.sync import SyncClient
from .errors import AppNotOpen, InvalidOptions
from .events import EventListener, Events, to_event_filter
from .model.codec import Format
from .model.delivery import CancelAnswer
from .model.duration import Duration, to_optional_seconds, to_seconds
from .model.listing import LimitRecord, LockRecord, WorkerRecord
from .model.options import HARD_PAYLOAD_BYTES, JobOptions, check_name
from .program import check_can_be_reached, check_is_guarded, module_of_caller
from .stages.declared import StageDeclarations

if TYPE_CHECKING:
    from .builtin_tasks import Builtins
    from .client.schedules import Schedules
    from .scheduling.schedule import Definition
    from .stages.serving import Stages
    from .web.door import Door
    from .web.settings import DoorOptions
    from .worker import Worker, WorkerOptions

R = TypeVar("R")

MAX_PAYLOAD_BYTES = 1024 * 1024
LISTED = 1_000  # limits, or locks, in one listing


class App(StageDeclarations):
    """A set of tasks and the broker that their jobs go through.

    `async with app:` opens the connection; everything that submits or waits happens inside. Programs without an event loop use
    `app.sync` instead, without opening anything.

    Args:
        url: Which broker; default: the environment variable NURSERY_TASKS_BROKER, else `sqlite:///nursery-tasks.db`.
        store: The URL of the broker that keeps the jobs, where *url* is RabbitMQ (`amqp://`); without one, only the
            process that has submitted a job hears of it, see the how-to page.
        codec: What is written, `json` or `msgpack`; both are always understood.
        max_payload_bytes: Larger messages and results are refused (default 1 MiB, at most 16 MiB).
        node: This machine's name, for `.options(local=True)`; default: NURSERY_TASKS_NODE, else the host's name.
        require_workers: Let submitting raise `NoWorkers` when no live worker serves the queue.
        errors: Exception classes of yours that come back as themselves.
        event_log: How long the broker keeps what happens to jobs, for `follow`: in seconds or as a timedelta, at least 1; None:
            this program tells it nothing.
        event_log_most: How many events it keeps at most (default 1 000 000).
        owner_lease: How long the jobs that this program awaits live on when it is killed, in seconds or as a timedelta
            (default 15, at least 0.5): the broker hears from it each third of this.
        channels: Other systems that have messages, by name, as URLs: `{"rabbit": "amqp://host", "cache": "redis://host"}`.
        builtins: Have the ready-made tasks `noop`, `sleep`, `worker_info`, `execute.path` and `execute.python`; a `Builtins`
            says what the last two may do.

    Attributes:
        sync: The blocking twin of all this, for programs without an event loop.
        jobs: What has been submitted, by any program: listed, cancelled, run again, deleted.
        queues: The queues: listed, paused, purged, made and deleted.
        channels: The app's channels: messages are sent to them, and they are looked at.
        home: The module in which it was made: the schedules that it declares are stored with that.

    Raises:
        InvalidOptions: A setting makes no sense.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        store: str | None = None,
        codec: Format = "json",
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        node: str | None = None,
        require_workers: bool = False,
        errors: Iterable[type[BaseException]] = (),
        owner_lease: Duration = OWNER_LEASE_SECONDS,
        channels: Mapping[str, str | Channel] | None = None,
        builtins: bool | Builtins = False,
        event_log: Duration | None = None,
        event_log_most: int = EVENT_LOG_MOST,
    ) -> None:
        _check_url(url)
        if not 0 < max_payload_bytes <= HARD_PAYLOAD_BYTES:
            raise InvalidOptions("max_payload_bytes", max_payload_bytes, f"1 to {HARD_PAYLOAD_BYTES:,} bytes")
        owner_lease_seconds = to_seconds("owner_lease", owner_lease, at_least=0.5)
        self.url, self.home = url or default_url(), module_of_caller()
        if store is not None:
            self.url = with_store(self.url, store)
        super().__init__(codec)
        self.events = Events()
        self.hooks = Hooks(self.events)
        self._log = self._make_log(to_optional_seconds("event_log", event_log, at_least=1.0), event_log_most)
        self.node = node or os.environ.get("NURSERY_TASKS_NODE") or socket.gethostname()
        self.max_payload_bytes = max_payload_bytes
        self.sync = SyncClient(
            self,
            self._sync_broker,
            self._close_sync,
            self.registry,
            self.events,
            node=self.node,
            limit_bytes=max_payload_bytes,
            require_workers=require_workers,
            owner_lease_seconds=owner_lease_seconds,
            undo_id_of=_undo_id_of,
        )
        self.jobs = Jobs(lambda: self.connection.calls, self._cancel_jobs, _undo_id_of)
        self.queues = Queues(lambda: self.connection.calls, self.registry.queues)
        self.channels = Channels(channels, self.queues)
        self.pauses = Pauses(lambda: self.connection.calls, self.registry, self.node)
        self._require_workers = require_workers
        self._owner_lease_seconds = owner_lease_seconds
        self._scope = AppScope(self.url, self._connect, self.channels, self.events, self.hooks)
        self._stages: Stages | None = None  # of the worker that was opened last
        for cls in errors:
            self.error(cls)
        if builtins:
            from .builtin_tasks import register_builtins  # late: most programs have none

            register_builtins(self, builtins)

    def __repr__(self) -> str:
        return f"<App {self.shown_url} with {len(self.registry.tasks)} tasks>"

    @cached_property
    def schedules(self) -> Schedules[JobHandle[Any]]:
        """What is run again and again: put, listed, paused, removed, run by hand."""
        from .client.schedules import Schedules  # late: most programs have none

        return Schedules(
            lambda: self.connection.calls,
            lambda job: self.connection.submitter.encoder.encode_template(self.connection.gateway.broker, job),
            lambda: self.connection.submitter.encoder.new_id(),
            lambda: self.connection.now(),
            lambda: self.registry.codec,
            self.handle,
        )

    @property
    def shown_url(self) -> str:
        """The broker's URL without its password, for people."""
        return redacted(self.url)

    # --- submitting ------------------------------------------------------------------------------------------------------

    def job(self, name: str, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Return the unsent job of a task by its name, also of one that this process has not imported.

        Raises:
            InvalidOptions: The name is none; no worker could ever know it.
            InvalidArguments: The task is known here, and the arguments do not fit.
        """
        check_name("name", check_task("name", name, "job(...)"))
        spec = self.registry.tasks.get(name)
        if spec is None:
            return Job(self, name, args, kwargs, JobOptions())
        spec.signature.check_call(args, kwargs, self.registry.codec)
        return Job(self, name, args, kwargs, spec.options, spec.signature.returns)

    async def enqueue_many(self, jobs: Iterable[Job[Any]]) -> list[JobHandle[Any]]:
        """Submit many jobs at once, in a few calls to the broker. Raises as `Task.enqueue` does."""
        return await self.connection.enqueue_many(jobs)

    def create_task_group(self, *, limit: int | None = None) -> JobGroup:
        """Make a task group whose children are jobs, wherever they run; it reads like AnyIO's.

            async with app.create_task_group() as group:
                parts = [group.start_soon(render, scene, frame) for frame in range(240)]
            total = sum(len(part.return_value) for part in parts)

        The first child that fails, after its retries, cancels the others, queued or running, on every machine; when all have
        ended, the block raises an `ExceptionGroup`. See `JobGroup`.

        Args:
            limit: How many children may be under way at the same time; None: 1 000. The others wait here, and are not sent.

        Raises:
            InvalidOptions: The limit makes no sense.
            AppNotOpen: There is no `async with app` around this.
        """
        return JobGroup(self.connection, check_limit(limit))

    async def broadcast(self, job: Job[R], *, per: Per = "worker") -> Broadcast[R]:
        """Submit a job once for each live worker that serves its queue, detached; each copy runs on that worker, or never.

            flags = await app.broadcast(reload_flags.job())  # or: await reload_flags.broadcast()
            await flags.results()

        Args:
            per: `"worker"`, or `"node"`: once for each machine, on whichever of its workers is free.

        Raises:
            NoWorkers: None serves the queue.
            InvalidOptions: The job has an id, a key or the like, which would make one of all copies.
            Exception: What `enqueue_many` raises.
            NotSupported: The broker does not know its workers; or a durable workflow's function calls it, where another run
                could find other workers.
        """
        return await send_broadcast(self.connection, job, per)

    async def cancel_jobs(
        self,
        ids: Iterable[str] | None = None,
        *,
        task: str | None = None,
        tag: str | None = None,
        queue: str | None = None,
        reason: str | None = None,
        wait: Duration = CANCEL_WAIT_SECONDS,
    ) -> dict[CancelAnswer, int]:
        """Do what `app.jobs.cancel(...)` does."""
        return await self.jobs.cancel(ids, task=task, tag=tag, queue=queue, reason=reason, wait=wait)

    def lock(
        self, name: str, *, lease: Duration = LOCK_LEASE_SECONDS, wait: Duration | None = None
    ) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock that all programs on this broker share, while a block runs.

            async with app.lock("reports") as lock:
                await store.write(report, fence=lock.token)

        Who waits gets it in the order of arrival. A lock is not re-entrant, and a handler that waits for one keeps its slot:
        where jobs should wait in their queue instead, give them `limits=[Concurrency(1)]`.

        Args:
            name: 1 to 200 characters without spaces.
            lease: After how long, in seconds or as a timedelta, others may have the lock when this program is killed (default
                15, at least 0.5). It is renewed each third of this, in a thread of its own.
            wait: How long to wait for it; None: for ever, 0: not at all.

        Raises:
            LockTaken: It was not free in time.
            LockLost: The lease could not be kept: the block was cancelled, or had ended without noticing.
            NotSupported: The broker has no locks.
            BrokerUnavailable: The broker did not answer when it was first asked.

        Cancellation:
            Leaves the line, or gives the lock back.
        """
        check_name("name", name)
        seconds = to_seconds("lease", lease, at_least=MIN_LOCK_LEASE_SECONDS)
        connection = self.connection
        return hold_lock(connection.gateway, connection.lock_keeper, name, seconds, to_optional_seconds("wait", wait))

    def handle(self, job_id: str, task: str | None = None) -> JobHandle[Any]:
        """Make a handle on any job from its id, in any process. Where the task is at hand, `task.handle(job_id)` is typed, too.

        Args:
            task: The task's name. When it is registered here, the result is converted to what its function returns; else, and
                without a name, it comes as plain data.

        Raises:
            InvalidOptions: The id or the name is none.
        """
        if task is not None:
            check_task("task", task, "handle(job_id)")
        return JobHandle(self, check_name("job_id", job_id), task or "job", self.registry.returns_of(task))

    async def send_event(self, workflow_id: str, name: str, payload: Any = None) -> None:
        """Send an event to a durable workflow that waits for it, or will: see `wait_for_event`. Returns once it is stored.

        Args:
            workflow_id: The id of its job.
            name: The event's name; events of one name come to the workflow's waits one after the other.
            payload: Anything that can travel.

        Raises:
            UnknownJob: There is no such job.
            WorkflowEnded: It has ended.
            NoWorkflow: Its task is known here, and is no durable workflow.
            NotSerializable: The payload cannot travel.
            BrokerUnavailable: The broker did not answer; whether the event is stored is unknown.
        """
        from .workflows import send_event  # late: they are built on the app's parts

        await send_event(self.connection, check_name("workflow_id", workflow_id), name, payload)

    async def workers(self) -> list[WorkerRecord]:
        """List the live workers of this app's broker."""
        gateway = self.connection.gateway
        return await gateway.call(gateway.admin.list_workers)

    async def limits(self, most: int = LISTED) -> list[LimitRecord]:
        """List the limits that hold jobs or that jobs wait for, by name; nothing where the broker has none."""
        gateway, limits = self.connection.gateway, self.connection.gateway.broker.limits
        return [] if limits is None else await gateway.call(limits.list_limits, most)

    async def locks(self, most: int = LISTED) -> list[LockRecord]:
        """List the locks that somebody holds or waits for, by name; nothing where the broker has none."""
        gateway, locks = self.connection.gateway, self.connection.gateway.broker.locks
        return [] if locks is None else await gateway.call(locks.list_locks, most)

    async def describe_broker(self) -> dict[str, str]:
        """Return what the broker has to say of its storage, by name; nothing where it says nothing."""
        gateway, facts = self.connection.gateway, self.connection.gateway.broker.facts
        return {} if facts is None else await gateway.call(facts.describe)

    def subscribe(
        self,
        listener: EventListener,
        *,
        kinds: Iterable[str] = (),
        task: str | None = None,
        job: str | None = None,
        once: bool = False,
    ) -> Callable[[], object]:
        """Call *listener* with each `JobEvent` of this process, or with those chosen as in `on`; returns what ends that.

        It is called where the event happens, on the event loop most often, so it must be quick; `on` has no such need.
        """
        return self.events.subscribe(listener, to_event_filter(kinds, task, job), once=once)

    def on(self, *kinds: str, task: str | None = None, job: str | None = None, once: bool = False) -> HookDecorator:
        """Have a function called with the events of this process, beside what happens: `@app.on("failed", task="mail.*")`.

        An `async def` is called on the event loop of `async with app`, a `def` in a thread, with one event after the other.
        What it raises is logged and counted, and changes nothing for the job; when it is slow, only its own events wait, at
        most 10 000; what comes then is dropped, and counted. In a program with `app.sync` alone a `def` is called at once, in
        the thread that submits, and an `async def` never.

        Args:
            kinds: Kinds of events: `queued`, `started`, `retrying`, `succeeded` ..., or `ended` for all ends; none: all.
            task: A task's name, or a pattern for names.
            job: The id of a job.
            once: It is called with the first of them only.

        Raises:
            InvalidOptions: A kind does not exist.
        """
        return HookDecorator(self.hooks, to_event_filter(kinds, task, job), once=once)

    def follow(
        self, *, job: str | None = None, task: str | None = None, kinds: Iterable[str] = (), since: Since = "now"
    ) -> AbstractAsyncContextManager[EventStream]:
        """Read the log of events, of all programs on the broker that have an `event_log`: what was, and then what happens.

            async with app.follow(task="mail.*", kinds=["ended"], since="start") as events:
                async for event in events:
                    print(event.kind, event.job_id, event.cursor)

        It goes on through outages of the broker, and misses nothing that was appended. Where something is missing all the same,
        an event of the kind `gap` stands in its place, whatever was chosen.

        Args:
            job, task, kinds: As for `on`.
            since: `now`, `start`, a datetime, or the cursor of an event: what comes after it.

        Raises:
            InvalidOptions: One of them makes no sense.
            CursorLost: What follows the cursor is not all there any more.
            NotSupported: The broker keeps no events.
        """
        return follow(self.connection.gateway, to_event_filter(kinds, task, job), since)

    @property
    def keeps_events(self) -> bool:
        """Whether what happens here is kept in the log of events: it has an `event_log`."""
        return self._log is not None

    # --- living ----------------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The open connection of this event loop.

        Raises:
            AppNotOpen: There is none.
        """
        return self._scope.connection_here

    @property
    def open_connection(self) -> Connection | None:
        """The open connection, from any thread; None: there is none."""
        return self._scope.connection

    async def __aenter__(self) -> App:
        await self._scope.enter()
        return self

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        return await self._scope.leave(exc_info)

    def _connect(self, broker: Broker) -> Connection:
        return Connection(
            self,
            Gateway(broker),
            self.events,
            self.hooks,
            self._log,
            node=self.node,
            limit_bytes=self.max_payload_bytes,
            require_workers=self._require_workers,
            owner_lease_seconds=self._owner_lease_seconds,
        )

    def use_broker(self, broker: Broker) -> AbstractContextManager[None]:
        """Let the app use *broker* instead of its URL while the context is open; for tests. The app must not be open yet.

        The broker is not closed at the end.
        """
        return self._scope.use_broker(broker)

    def open_worker(self, **options: Unpack[WorkerOptions]) -> AbstractAsyncContextManager[Worker]:
        """Run a worker inside this program: no signal handlers, nothing left behind.

        `async with app, app.open_worker(slots=8):` works jobs off while the block runs; leaving it drains. See
        `WorkerOptions` for what can be set.
        """
        from .worker import open_worker  # late: only this method needs the worker, and the worker is built on the app's parts
        from .workflows import register_flows

        register_flows(self)
        return open_worker(self, **options)

    def asgi(self, **options: Unpack[DoorOptions]) -> Door:
        """Make an ASGI app of this one, to serve or to mount: submit, wait, look, change; see `DoorOptions`.

        Without tokens it answers only programs on this machine. Where it is served itself, it opens this app; where it is
        mounted, the program around it does.

        Raises:
            MissingPackage: The extra `web` is not installed.
            InvalidOptions: An option makes no sense.
        """
        from .web import make_door  # late: a program that serves no HTTP loads nothing of it

        return make_door(self, **options)

    def make_stages(self, queues: Sequence[str], processed: Callable[[], int], on_opened: Callable[[], None]) -> Stages | None:
        """Return what a worker of these queues runs for the stages that are declared; None: nothing."""
        if not self.publishers and not any(spec.stage for spec in self.registry.tasks.values()):
            return None
        from .stages.serving import Stages  # late: most apps have none

        self._stages = Stages(self, self.channels, queues, self.publishers, self.collectors, processed, on_opened)
        return self._stages

    async def run_pipeline(self, **options: Unpack[WorkerOptions]) -> None:
        """Run a worker until the pipeline that the app's stages are has ended by itself. See `wait_pipeline`.

            async with app:
                await app.run_pipeline(slots=20)

        Args:
            options: See `open_worker`.

        Cancellation:
            Ends all stages: first what brings messages in, then what runs, last what sends. A later run goes on from there.
        """
        async with self.open_worker(**options):
            await self.wait_pipeline()

    async def wait_pipeline(self) -> None:
        """Wait until the publishers are done, and all that they have sent has gone through; then the collectors flush.

        A place of a server that no publisher of the app fills has ended when it is empty, and stays so for a second.

        Raises:
            PublisherFailed: A publisher has failed; what it had sent before has gone through.
            AppNotOpen: No worker runs in this program.
        """
        from .stages.pipeline import PipelineEnd  # late: most apps have none

        if self._stages is None:
            if not self.publishers and not any(spec.stage for spec in self.registry.tasks.values()):
                return
            raise AppNotOpen("wait_pipeline(), which needs a worker with stages in this program,")
        await PipelineEnd(self, self._stages).wait()

    def schedule_definitions(self) -> dict[str, Definition]:
        """Return the declared schedules as a worker puts them. Raises as `Job.to_template` does."""
        broker, encoder = self.connection.gateway.broker, self.connection.submitter.encoder
        return {
            name: declared.to_definition(lambda job: encoder.encode_template(broker, job), self.home)
            for name, declared in self.declared_schedules.items()
        }

    def _sync_broker(self) -> Broker:
        check_is_guarded("app.sync was used")
        check_can_be_reached(self.shown_url, not self._scope.brokers.blocking)
        broker = self._scope.brokers.keep()
        if self._log is not None:
            event_log_of(broker)
        return broker

    def _make_log(self, keep_seconds: float | None, most: int) -> LogWriter | None:
        check_most("event_log_most", most)
        if keep_seconds is None:
            return None
        log = LogWriter(keep_seconds, most, lambda: self._scope.brokers.current())
        self.events.log = log
        return log

    async def _cancel_jobs(self, ids: Sequence[str], reason: str | None, wait_seconds: float) -> Iterable[CancelAnswer]:
        return await self.connection.cancel_jobs(ids, reason, wait_seconds)

    def _close_sync(self) -> None:
        if self._log is not None and self._scope.connection is None:
            self._log.close()
        self._scope.brokers.let_go()


def _undo_id_of(job_id: str) -> str:
    from .workflows import undo_id_of  # late: they are built on the app's parts

    return undo_id_of(job_id)


def _check_url(url: object) -> None:
    given = url
    if url is not None and not isinstance(url, str):
        is_path = isinstance(url, os.PathLike) and "@" not in str(given)
        meant = f"sqlite:///{url}" if is_path else DEFAULT_URL
        raise InvalidOptions("url", given, f"a broker's URL as a text, such as {meant!r}")
