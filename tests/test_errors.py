"""Each error's message, read once: it names what came in, what was expected, and the next step."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from nursery_tasks import errors
from nursery_tasks.errors import (
    AppAlreadyOpen,
    AppNotOpen,
    BrokerClosed,
    BrokerError,
    BrokerFull,
    BrokerRefused,
    BrokerReplaced,
    BrokerUnavailable,
    BrokerUnreachable,
    ChannelError,
    ChannelRefused,
    ChannelUnavailable,
    CursorLost,
    DuplicateTask,
    EventTimedOut,
    FunctionNotFound,
    HostDied,
    InvalidArguments,
    InvalidBatchResult,
    InvalidBrokerUrl,
    InvalidChannelUrl,
    InvalidCron,
    InvalidOptions,
    JobCancelled,
    JobDead,
    JobError,
    JobExpired,
    JobStillRunning,
    JobTimedOut,
    LockLost,
    LockTaken,
    MainNotGuarded,
    MiddlewareMisused,
    MissingPackage,
    NoLoopBehind,
    NoResource,
    NotAJob,
    NotFinished,
    NotInJob,
    NotInWorkflow,
    NotSerializable,
    NotSupported,
    NoWorkers,
    NoWorkflow,
    NurseryTasksError,
    PayloadTooLarge,
    ProcessFailed,
    ProcessTimedOut,
    PublisherFailed,
    QueueFull,
    RemoteError,
    UnknownJob,
    UnknownSchedule,
    UnknownTask,
    WaitTimedOut,
    WorkflowChanged,
    WorkflowEnded,
    WouldBlockLoop,
)

MESSAGES: list[tuple[Callable[[], NurseryTasksError], str]] = [
    (
        lambda: LockTaken("door", 0.0),
        "the lock 'door' is taken; `nursery-tasks doctor` shows who waits, wait=None waits for ever",
    ),
    (
        lambda: LockTaken("door", 2.5),
        "the lock 'door' was not free within 2.5 s; `nursery-tasks doctor` shows who waits, wait=None waits for ever",
    ),
    (
        lambda: MiddlewareMisused("traced", "has returned int, which is no context manager"),
        "the middleware traced has returned int, which is no context manager",
    ),
    (
        lambda: CursorLost("5f-7", "the oldest event that is kept comes 3 after it"),
        "the log of events cannot be read from '5f-7' on: the oldest event that is kept comes 3 after it; since='start' reads "
        "all that there is, and App(event_log=...) keeps it for longer",
    ),
    (
        lambda: LockLost("door", 7),
        "the lock 'door' (token 7) was lost: its lease could not be renewed in time, and others may have it; let the storage "
        "refuse older tokens, or give the lock a longer lease",
    ),
    (lambda: InvalidOptions("priority", 12, "a whole number from 0 to 9"), "priority=12: expected a whole number from 0 to 9"),
    (
        lambda: InvalidCron("0 25 * * *", "hour", "'25'", "0 to 23"),
        "cron('0 25 * * *'): hour='25': expected 0 to 23",
    ),
    (lambda: InvalidCron("0 0", "", "2 fields", "5 fields"), "cron('0 0'): 2 fields: expected 5 fields"),
    (
        lambda: MissingPackage("sun()", "astral", "solar"),
        "sun() needs the package astral, which is not installed: pip install 'nursery-tasks[solar]'",
    ),
    (
        lambda: InvalidArguments("add", "missing a required argument: 'b'", "(a: int, b: int)"),
        "add: missing a required argument: 'b'; the task is add(a: int, b: int)",
    ),
    (
        lambda: InvalidArguments("parallel_map", "it takes a list, and got int 3", "(items)", "flow"),
        "parallel_map: it takes a list, and got int 3; the flow is parallel_map(items)",
    ),
    (
        lambda: NotSerializable("the result of add", "no encoding for socket"),
        "the result of add cannot be encoded: no encoding for socket; use JSON-like values, dataclasses, msgspec structs or "
        "pydantic models, or App.register_type()",
    ),
    (
        lambda: PayloadTooLarge("the message for add", 2_000_000, 1_048_576),
        "the message for add has 2,000,000 bytes, the limit is 1,048,576; pass a path or a key instead, "
        "or raise App(max_payload_bytes=...)",
    ),
    (
        lambda: InvalidBatchResult("index", "a list of 3", 5),
        "index returned a list of 3 for 5 jobs: expected a list of 5, the results in order, with an exception in the place of "
        "each job that has failed, or None",
    ),
    (
        lambda: WorkflowChanged("j1", "movie", "call 2 of its function is mail, not render"),
        "movie (j1) was run again, and call 2 of its function is mail, not render; its function has changed, or depends on "
        "something that is no recorded call: put that into step(...), or bring the old code back and run "
        "`nursery-tasks retry j1`",
    ),
    (
        lambda: NoWorkflow("j1", "movie", "approve"),
        "movie (j1) is no durable workflow, and never waits for 'approve': events are for functions of "
        "`@app.workflow(durable=True)`",
    ),
    (
        lambda: WorkflowEnded("j1", "movie", "failed", "approve"),
        "movie (j1) has ended (failed): nobody waits there for the event 'approve'",
    ),
    (
        lambda: EventTimedOut("approve", 2.5),
        "no event 'approve' came within 2.5 s; app.send_event(workflow_id, 'approve') sends it",
    ),
    (
        lambda: NotInWorkflow("wait_for_event()"),
        "wait_for_event() works only in a function of `@app.workflow(durable=True)` that a worker runs",
    ),
    (lambda: UnknownTask("ad", ["add", "power"]), "no task is named 'ad': did you mean 'add'?"),
    (lambda: UnknownTask("zzz", ["power", "add"]), "no task is named 'zzz': this app has add, power"),
    (lambda: UnknownTask("zzz"), "no task is named 'zzz': this app has no tasks"),
    (
        lambda: DuplicateTask("add", "a.add", "b.add"),
        "task 'add' is registered twice, as a.add and as b.add; give one of them name=...",
    ),
    (
        lambda: AppNotOpen("this call"),
        "this call needs an open app: put it inside `async with app:`, or use app.sync in a program without an event loop",
    ),
    (
        lambda: AppAlreadyOpen(),
        "the app is open already: all inside its `async with app:` can use it; open it once per program",
    ),
    (
        lambda: AppAlreadyOpen(),
        "the app is open already: all inside its `async with app:` can use it; open it once per program",
    ),
    (lambda: NotInJob("current_job()"), "current_job() works only inside a running job; no job is running here"),
    (
        lambda: NotAJob("app.sync.enqueue()", "a coroutine of add", "add.job(...)"),
        "app.sync.enqueue() got a coroutine of add; pass add.job(...)",
    ),
    (
        lambda: WouldBlockLoop("app.sync.run()", "await add.run(...)"),
        "app.sync.run() would block the event loop that runs in this thread; write `await add.run(...)` here",
    ),
    (
        lambda: NoLoopBehind("current_job().wait()"),
        "current_job().wait() works in a `def` handler, in the thread that its worker started; no loop is behind this one",
    ),
    (
        lambda: NoResource("fetch", "http", "http_client"),
        "fetch was called without 'http', and the resource 'http_client' is open only in a worker; pass it yourself: "
        "fetch(..., http=...), or use run_local()",
    ),
    (lambda: ProcessFailed(["git", "pull"], 3, "no such remote\n"), "git pull exited with 3: no such remote"),
    (lambda: ProcessFailed(["sleep", "9"], -15), "sleep 9 was ended by SIGTERM"),
    (lambda: ProcessFailed(["sleep", "9"], -99), "sleep 9 was ended by signal 99"),
    (lambda: ProcessFailed(["a b", "x" * 300], 1, "y" * 600), f"'a b' {'x' * 194}... exited with 1: ...{'y' * 500}"),
    (lambda: ProcessTimedOut(["sleep", "9"], 0.5), "sleep 9 ran longer than 0.5 s and was ended"),
    (
        lambda: UnknownSchedule("nightly"),
        "no schedule is named 'nightly'; `nursery-tasks schedules list` shows which there are, and those in an app's code are "
        "put when its first worker starts",
    ),
    (lambda: UnknownJob("7"), "no job has the id '7': it was never accepted, or its result has outlived result_ttl"),
    (lambda: WaitTimedOut("7", "add", 1.5, "started", 2), "add (7) is still started after 1.5 s"),
    (
        lambda: WaitTimedOut("7", "add", 1, "ready", 0),
        "add (7) is still ready after 1 s; no worker is running, start one with `nursery-tasks run module:app`",
    ),
    (
        lambda: NotFinished("7", "add"),
        "add (7) has not ended; read its return_value after the group's block, or await it",
    ),
    (
        lambda: JobStillRunning("7", "add", 8, [("7", "add", "started", "box-1"), ("8", "sum", "ready", "")]),
        "the caller of add (7) was cancelled, and it had not ended 8 s later; "
        "still running: add (7) started on box-1, sum (8) ready",
    ),
    (
        lambda: JobStillRunning("7", "add", None, why="it ends when the broker is back"),
        "the caller of add (7) was cancelled, and its broker cannot be told; it ends when the broker is back",
    ),
    (
        lambda: WaitTimedOut("7", "add", 1, "ready", 0, "memory:"),
        "add (7) is still ready after 1 s; no worker is running, and no other process can see `memory:`; "
        "open one here: `async with app, app.open_worker():`",
    ),
    (
        lambda: NoWorkers("mail", "memory:"),
        "no worker serves queue 'mail'; and no other process can see `memory:`; "
        "open one here: `async with app, app.open_worker():`",
    ),
    (
        lambda: NoWorkers("mail"),
        "no worker serves queue 'mail'; start one with `nursery-tasks run module:app --queues mail`",
    ),
    (
        lambda: InvalidBrokerUrl("ftp://x", "ftp: names no broker"),
        "broker URL 'ftp://x': ftp: names no broker; expected sqlite:///path/to/jobs.db, redis://host:6379/0, "
        "amqp:// or memory:",
    ),
    (lambda: BrokerUnavailable("sqlite:///a.db", "locked"), "sqlite:///a.db: locked"),
    (lambda: BrokerUnavailable("sqlite:///a.db", "locked", "try again"), "sqlite:///a.db: locked; try again"),
    (lambda: BrokerUnreachable("sqlite:///x/a.db", "no such folder", "make it"), "sqlite:///x/a.db: no such folder; make it"),
    (lambda: BrokerFull("sqlite:///a.db", "the disk is full"), "sqlite:///a.db: the disk is full"),
    (
        lambda: BrokerReplaced("sqlite:///a.db", "a.db was deleted or replaced", "restart all programs that use it"),
        "sqlite:///a.db: a.db was deleted or replaced; restart all programs that use it",
    ),
    (lambda: BrokerClosed("memory:"), "memory: is closed: the call came after the end of `async with app:`"),
    (lambda: BrokerRefused("amqp://h", "there is no user 'ada'", "see -h"), "amqp://h: there is no user 'ada'; see -h"),
    (
        lambda: QueueFull("mail", 1000),
        "queue 'mail' is full: 1,000 jobs wait there, as many as its max_length allows; `await task.enqueue(...)` waits for "
        "room, more workers make some: `nursery-tasks run module:app --queues mail`",
    ),
    (
        lambda: InvalidChannelUrl("ftp://me:secret@h", "ftp: names no channel"),
        "channel URL 'ftp://me:***@h': ftp: names no channel; expected amqp://host/vhost, redis://host:6379/0 or "
        "https://host/path",
    ),
    (
        lambda: ChannelUnavailable("amqp://h", "it does not answer"),
        "channel amqp://h: it does not answer",
    ),
    (lambda: ChannelRefused("amqp://h", "there is no queue 'a'"), "channel amqp://h: there is no queue 'a'"),
    (
        lambda: PublisherFailed("rows", "OSError: the disk is gone"),
        "publisher rows has failed: OSError: the disk is gone; what it had sent before went through; `await rows.restart()` "
        "lets it begin anew",
    ),
    (lambda: NotSupported("toy:", "listings"), "toy: has no listings"),
    (lambda: RemoteError("their.Error", "no"), "their.Error: no"),
    (lambda: RemoteError("their.Error", ""), "their.Error"),
    (lambda: JobTimedOut("7", "add", 2.0), "add (7) ran longer than its timeout of 2 s"),
    (lambda: JobTimedOut("7", "add", None), "add (7) ran longer than its timeout"),
    (
        lambda: FunctionNotFound("add", "shop.add", "shop has no 'add'"),
        "add: shop.add cannot be found by importing its module: shop has no 'add'; define and register it at the top of a "
        "module, not under `if __name__ == '__main__':`",
    ),
    (
        lambda: MainNotGuarded("app.sync was used"),
        "app.sync was used in a process for handlers, which imports the program's main module again; put what the module does "
        'under `if __name__ == "__main__":`',
    ),
    (
        lambda: HostDied("7", "add", signal="SIGKILL"),
        "the process of add (7) was killed by SIGKILL: by hand, or because memory ran out; see the kernel's log, and "
        "process_memory= of the worker",
    ),
    (lambda: HostDied("7", "add", signal="SIGUSR1"), "the process of add (7) was killed by SIGUSR1"),
    (
        lambda: HostDied("7", "add", exit_code=3),
        "the process of add (7) exited with 3: something called os._exit(), or a C library did; raise an exception instead",
    ),
    (lambda: HostDied("7", "add", problem="could not be started"), "the process of add (7) could not be started"),
    (lambda: HostDied("7", "add"), "the process of add (7) died, and nobody knows how"),
    (lambda: JobCancelled("7", "add", "not needed"), "add (7) was cancelled: not needed"),
    (lambda: JobCancelled("7", "add", None), "add (7) was cancelled"),
    (lambda: JobExpired("7", "add"), "add (7) expired in its queue: no worker started it in time"),
    (lambda: JobDead("7", "add", "unknown task"), "add (7) is dead: unknown task; `nursery-tasks retry 7` runs it again"),
    (lambda: JobDead("7", "add", None), "add (7) is dead: no reason given; `nursery-tasks retry 7` runs it again"),
]
BASES = {NurseryTasksError, BrokerError, ChannelError, JobError}


@pytest.mark.parametrize(
    ("make", "message"), MESSAGES, ids=[f"{type(make()).__name__}-{n}" for n, (make, _) in enumerate(MESSAGES)]
)
def test_the_message_says_what_is_wrong_and_what_to_do(make: Callable[[], NurseryTasksError], message: str) -> None:
    assert str(make()) == message


def test_each_error_has_been_read() -> None:
    ours = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, NurseryTasksError)}
    assert {type(make()) for make, _ in MESSAGES} == ours - BASES


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (InvalidOptions, ValueError),
        (InvalidArguments, TypeError),
        (NotSerializable, TypeError),
        (UnknownTask, LookupError),
        (UnknownJob, LookupError),
        (UnknownSchedule, LookupError),
        (WaitTimedOut, TimeoutError),
        (ProcessTimedOut, TimeoutError),
        (NotAJob, TypeError),
        (JobTimedOut, TimeoutError),
        (BrokerUnreachable, BrokerUnavailable),
        (BrokerFull, BrokerUnavailable),
        (BrokerReplaced, BrokerUnavailable),
    ],
)
def test_an_error_is_also_what_python_would_call_it(error: type[Exception], family: type[Exception]) -> None:
    assert issubclass(error, family)
    assert issubclass(error, NurseryTasksError)


def test_no_error_of_how_a_job_ended_is_an_error_of_the_broker() -> None:
    assert not issubclass(JobError, BrokerError)
    assert not issubclass(BrokerClosed, BrokerUnavailable)  # you closed it, or it broke: two things
