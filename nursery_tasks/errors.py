"""Every exception that a user can meet, in families by *who must act*.

The caller fixes a call (`InvalidOptions`, `InvalidArguments`, ...), the operator fixes a machine (`BrokerUnavailable`, ...),
and the `JobError` family says how a job ended. An error carries its facts as attributes and builds its own message: what came
in, what was expected, the next step.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from .shown import command_line, redacted, shortened, without_passwords


class NurseryTasksError(Exception):
    """The base of all errors that nursery-tasks raises itself."""


# --- the caller must act -------------------------------------------------------------------------------------------------


class InvalidOptions(NurseryTasksError, ValueError):
    """An option has a value that it cannot have."""

    def __init__(self, option: str, value: object, expected: str) -> None:
        self.option, self.value, self.expected = option, value, expected
        super().__init__(f"{option}={shortened(without_passwords(repr(value)))}: expected {expected}")


class InvalidCron(InvalidOptions):
    """A cron expression has a field that makes no sense, or no day ever fits it."""

    def __init__(self, expression: object, field: str, came: str, expected: str) -> None:
        self.option, self.value, self.expected = "cron", expression, expected
        self.expression, self.field, self.came = expression, field, came
        where = f"{field}={shortened(came)}" if field else shortened(came)
        NurseryTasksError.__init__(self, f"cron({shortened(repr(expression))}): {where}: expected {expected}")


class MissingPackage(NurseryTasksError, ImportError):
    """Something needs a package that comes with an extra of nursery-tasks."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        self.what, self.package, self.extra = what, package, extra
        super().__init__(f"{what} needs the package {package}, which is not installed: pip install 'nursery-tasks[{extra}]'")


class InvalidArguments(NurseryTasksError, TypeError):
    """The arguments do not fit the task's signature; nothing was sent, or the job failed without being tried again."""

    def __init__(self, task: str, problem: str, signature: str, what: str = "task") -> None:
        self.task, self.problem, self.signature, self.what = task, problem, signature, what
        super().__init__(f"{task}: {problem}; the {what} is {task}{signature}")


class InvalidBatchResult(NurseryTasksError, TypeError):
    """The function of a batch task returned something that cannot be shared out among its jobs; all of them have failed."""

    def __init__(self, task: str, came: str, jobs: int) -> None:
        self.task, self.came, self.jobs = task, came, jobs
        expected = "the results in order, with an exception in the place of each job that has failed"
        wanted = f"a list of {jobs}, {expected}, or None"
        super().__init__(f"{task} returned {came} for {'1 job' if jobs == 1 else f'{jobs} jobs'}: expected {wanted}")


class NotSerializable(NurseryTasksError, TypeError):
    """A value cannot travel in the message format."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(
            f"{what} cannot be encoded: {problem}; use JSON-like values, dataclasses, msgspec structs or pydantic models, "
            f"or App.register_type()"
        )


class PayloadTooLarge(NurseryTasksError, ValueError):
    """A message or a result is larger than the app allows."""

    def __init__(self, what: str, size_bytes: int, limit_bytes: int, *, fixed: bool = False) -> None:
        self.what, self.size_bytes, self.limit_bytes = what, size_bytes, limit_bytes
        wider = "" if fixed else ", or raise App(max_payload_bytes=...)"
        super().__init__(f"{what} has {size_bytes:,} bytes, the limit is {limit_bytes:,}; pass a path or a key instead{wider}")


class UnknownTask(NurseryTasksError, LookupError):
    """No task of that name is registered in this app."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name, self.known = name, tuple(sorted(known))
        close = get_close_matches(name, self.known, n=1)
        if close:
            hint = f"did you mean {close[0]!r}?"
        else:
            hint = f"this app has {', '.join(self.known) or 'no tasks'}"
        super().__init__(f"no task is named {name!r}: {hint}")


class DuplicateTask(NurseryTasksError, ValueError):
    """Two functions want the same task name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name, self.first, self.second = name, first, second
        super().__init__(f"task {name!r} is registered twice, as {first} and as {second}; give one of them name=...")


class FunctionNotFound(NurseryTasksError, LookupError):
    """A process or interpreter has imported the module of a task's function, and it is not there, or not registered."""

    def __init__(self, task: str, place: str, problem: str) -> None:
        self.task, self.place, self.problem = task, place, problem
        super().__init__(
            f"{task}: {place} cannot be found by importing its module: {problem}; "
            "define and register it at the top of a module, not under `if __name__ == '__main__':`"
        )


class MainNotGuarded(NurseryTasksError, RuntimeError):
    """A process for handlers has imported the program's main module again, and that began to work there."""

    def __init__(self, call: str) -> None:
        self.call = call
        super().__init__(
            f"{call} in a process for handlers, which imports the program's main module again; "
            'put what the module does under `if __name__ == "__main__":`'
        )

    def __reduce__(self) -> tuple[type[MainNotGuarded], tuple[str]]:
        return type(self), (self.call,)  # AnyIO brings it to the program in a pickle


class AppNotOpen(NurseryTasksError, RuntimeError):
    """A broker is needed, and the app has no connection in this event loop."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"{what} needs an open app: put it inside `async with app:`, or use app.sync in a program without an event loop"
        )


class AppAlreadyOpen(NurseryTasksError, RuntimeError):
    """The app is open in this program already."""

    def __init__(self) -> None:
        super().__init__("the app is open already: all inside its `async with app:` can use it; open it once per program")


class NotInJob(NurseryTasksError, RuntimeError):
    """Something that only a running job has was asked for outside of one."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} works only inside a running job; no job is running here")


class NotInWorkflow(NurseryTasksError, RuntimeError):
    """Something that only a durable workflow has was asked for elsewhere."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} works only in a function of `@app.workflow(durable=True)` that a worker runs")


class NotAJob(NurseryTasksError, TypeError):
    """Something else was given where unsent jobs are expected; most often a call of the task instead of `task.job(...)`."""

    def __init__(self, call: str, got: str, expected: str) -> None:
        self.call, self.got, self.expected = call, got, expected
        super().__init__(f"{call} got {got}; pass {expected}")


class LockTaken(NurseryTasksError, TimeoutError):
    """Somebody else has the lock, and the time to wait for it is over."""

    def __init__(self, name: str, waited_seconds: float) -> None:
        self.name, self.waited_seconds = name, waited_seconds
        within = f"was not free within {waited_seconds:g} s" if waited_seconds else "is taken"
        super().__init__(f"the lock {name!r} {within}; `nursery-tasks doctor` shows who waits, wait=None waits for ever")


class LockLost(NurseryTasksError, RuntimeError):
    """The lease on a lock could not be kept: somebody else may have it by now."""

    def __init__(self, name: str, token: int) -> None:
        self.name, self.token = name, token
        super().__init__(
            f"the lock {name!r} (token {token}) was lost: its lease could not be renewed in time, and others may have it; "
            "let the storage refuse older tokens, or give the lock a longer lease"
        )


class MiddlewareMisused(NurseryTasksError, RuntimeError):
    """A middleware does what it cannot do there."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"the middleware {name} {problem}")


class CursorLost(NurseryTasksError, LookupError):
    """What follows a cursor is not all in the log of events any more."""

    def __init__(self, cursor: str, why: str) -> None:
        self.cursor, self.why = cursor, why
        super().__init__(
            f"the log of events cannot be read from {cursor!r} on: {why}; since='start' reads all that there is, "
            "and App(event_log=...) keeps it for longer"
        )


class WouldBlockLoop(NurseryTasksError, RuntimeError):
    """A call that waits was made in the thread of an event loop, which would stand still, and with it all that runs there."""

    def __init__(self, call: str, instead: str) -> None:
        self.call, self.instead = call, instead
        super().__init__(f"{call} would block the event loop that runs in this thread; write `{instead}` here")


class NoLoopBehind(NurseryTasksError, RuntimeError):
    """A call that needs the loop of a worker was made in a thread that no loop has started."""

    def __init__(self, call: str) -> None:
        self.call = call
        super().__init__(f"{call} works in a `def` handler, in the thread that its worker started; no loop is behind this one")


class NoResource(NurseryTasksError, RuntimeError):
    """A function wants a resource, and it was called where none is open."""

    def __init__(self, task: str, parameter: str, resource: str) -> None:
        self.task, self.parameter, self.resource = task, parameter, resource
        super().__init__(
            f"{task} was called without {parameter!r}, and the resource {resource!r} is open only in a worker; "
            f"pass it yourself: {task}(..., {parameter}=...), or use run_local()"
        )


class UnknownSchedule(NurseryTasksError, LookupError):
    """The broker has no schedule of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"no schedule is named {name!r}; `nursery-tasks schedules list` shows which there are, and those in an app's code "
            "are put when its first worker starts"
        )


class UnknownJob(NurseryTasksError, LookupError):
    """The broker does not know this id: it was never submitted, or its result was kept for its time and dropped."""

    def __init__(self, job_id: str, step: str = "") -> None:
        self.job_id = job_id
        why = (
            f"only the process that submitted a job can ask for it here, and not for ever; {step}"
            if step
            else "it was never accepted, or its result has outlived result_ttl"
        )
        super().__init__(f"no job has the id {job_id!r}: {why}")


class WaitTimedOut(NurseryTasksError, TimeoutError):
    """The job did not end within the time that the caller was willing to wait; the job itself goes on."""

    def __init__(
        self, job_id: str, task: str, waited_seconds: float, state: str, workers: int | None = None, broker: str = ""
    ) -> None:
        self.job_id, self.task, self.waited_seconds = job_id, task, waited_seconds
        self.state, self.workers = state, workers
        hint = f"; no worker is running, {_how_to_work(broker)}" if workers == 0 else ""
        super().__init__(f"{task} ({job_id}) is still {state} after {waited_seconds:g} s{hint}")


class NotFinished(NurseryTasksError):
    """The result of a job was asked for that has not ended."""

    def __init__(self, job_id: str, task: str) -> None:
        self.job_id, self.task = job_id, task
        super().__init__(f"{task} ({job_id}) has not ended; read its return_value after the group's block, or await it")


class JobStillRunning(NurseryTasksError):
    """The caller of an owned job was cancelled, and the job, or something that it started, did not end within the grace.

    Attributes:
        grace_seconds: How long was waited for it; None: not at all, because the broker could not be told.
        jobs: What had not ended, as (id, task, state, worker); empty when the broker could not be asked.
    """

    def __init__(
        self, job_id: str, task: str, grace_seconds: float | None, jobs: Iterable[tuple[str, str, str, str]] = (), why: str = ""
    ) -> None:
        self.job_id, self.task, self.grace_seconds, self.jobs = job_id, task, grace_seconds, tuple(jobs)
        listed = ", ".join(
            f"{name} ({one}) {state}{f' on {worker}' if worker else ''}" for one, name, state, worker in self.jobs
        )
        what = f"still running: {listed}" if listed else why
        told = "its broker cannot be told" if grace_seconds is None else f"it had not ended {grace_seconds:g} s later"
        super().__init__(f"the caller of {task} ({job_id}) was cancelled, and {told}; {what}")


class NoWorkers(NurseryTasksError):
    """Nobody listens to the queue, and the caller had asked to be told."""

    def __init__(self, queue: str, broker: str = "") -> None:
        self.queue = queue
        super().__init__(f"no worker serves queue {queue!r}; {_how_to_work(broker, f' --queues {queue}')}")


def _how_to_work(broker: str, more: str = "") -> str:
    if broker.startswith("memory:"):
        return "and no other process can see `memory:`; open one here: `async with app, app.open_worker():`"
    return f"start one with `nursery-tasks run module:app{more}`"


# --- the operator must act -----------------------------------------------------------------------------------------------


class InvalidBrokerUrl(NurseryTasksError, ValueError):
    """The broker's URL cannot be understood. Neither the message nor `url` holds what may be a password."""

    def __init__(
        self, url: str, problem: str, expected: str = "sqlite:///path/to/jobs.db, redis://host:6379/0, amqp:// or memory:"
    ) -> None:
        self.url, self.problem = redacted(url), problem
        super().__init__(f"broker URL {self.url!r}: {problem}" + (f"; expected {expected}" if expected else ""))


class InvalidChannelUrl(InvalidBrokerUrl):
    """A channel's URL cannot be understood, or what it needs is not installed. Neither holds what may be a password."""

    def __init__(
        self, url: str, problem: str, expected: str = "amqp://host/vhost, redis://host:6379/0 or https://host/path"
    ) -> None:
        self.url, self.problem = redacted(url), problem
        NurseryTasksError.__init__(self, f"channel URL {self.url!r}: {problem}; expected {expected}")


class BrokerError(NurseryTasksError):
    """The base of what can go wrong with a broker.

    Attributes:
        refused: The broker is there, and does not do what this call wants; others may go through. False: it is the broker.
        answers: Where a part of a batch was done: for each item what the call would have returned for it, or the error.
    """

    refused = False
    answers: Sequence[object] | None = None


class BrokerUnavailable(BrokerError):
    """The broker did not take the call; whether it took effect is unknown, and repeating it with the same id is safe."""

    def __init__(self, broker: str, problem: str, step: str = "") -> None:
        self.broker, self.problem, self.step = broker, problem, step
        super().__init__(f"{broker}: {problem}" + (f"; {step}" if step else ""))


class BrokerUnreachable(BrokerUnavailable):
    """The broker cannot be opened at all."""


class BrokerReplaced(BrokerUnavailable):
    """What the broker kept its jobs in was deleted, or another thing is in its place; it has to be opened again."""


class BrokerFull(BrokerUnavailable):
    """The broker has no room left (a full disk, most often); nothing was stored."""


class BrokerClosed(BrokerError):
    """The call came after this side had closed the broker."""

    def __init__(self, broker: str) -> None:
        self.broker = broker
        super().__init__(f"{broker} is closed: the call came after the end of `async with app:`")


class BrokerRefused(BrokerError):
    """The broker's server has understood what it was asked, and does not do it: that needs another right, name, or word."""

    refused = True

    def __init__(self, broker: str, problem: str, step: str = "") -> None:
        self.broker, self.problem, self.step = broker, problem, step
        super().__init__(f"{broker}: {problem}" + (f"; {step}" if step else ""))


class QueueFull(BrokerError):
    """So many jobs wait in the queue as its `max_length` allows; the job was not stored, and may be once some have started.

    `enqueue` and `run` wait for that. `enqueue_nowait` raises this, and so does a blocking call whose time is over.
    """

    refused = True

    def __init__(self, queue: str, max_length: int) -> None:
        self.queue, self.max_length = queue, max_length
        super().__init__(
            f"queue {queue!r} is full: {max_length:,} jobs wait there, as many as its max_length allows; `await "
            f"task.enqueue(...)` waits for room, more workers make some: `{command_line('run module:app --queues', queue)}`"
        )


class ChannelError(NurseryTasksError):
    """Something is wrong with a channel; the base of the two below."""

    def __init__(self, channel: str, problem: str) -> None:
        self.channel, self.problem = channel, problem
        super().__init__(f"channel {channel}: {problem}")


class ChannelUnavailable(ChannelError):
    """A channel is away or did not answer. What was being sent may have gone out: send it again with the same id.

    Attributes:
        retry_seconds: When the other side wants to be asked again; None: it has not said.
    """

    def __init__(self, channel: str, problem: str, *, retry_seconds: float | None = None) -> None:
        self.retry_seconds = retry_seconds
        super().__init__(channel, problem)


class ChannelRefused(ChannelError):
    """A channel does not take what was sent, and will not take it the next time either."""


class PublisherFailed(NurseryTasksError):
    """A publisher's generator has raised again and again, and the pipeline has ended without its rest."""

    def __init__(self, publisher: str, error: str) -> None:
        self.publisher, self.error = publisher, error
        super().__init__(
            f"publisher {publisher} has failed: {error}; what it had sent before went through; "
            f"`await {publisher}.restart()` lets it begin anew"
        )


class NotSupported(BrokerError):
    """The broker has declared that it cannot do this."""

    refused = True

    def __init__(self, broker: str, feature: str, step: str = "") -> None:
        self.broker, self.feature, self.step = broker, feature, step
        super().__init__(f"{broker} has no {feature}" + (f"; {step}" if step else ""))


# --- a program that was started ------------------------------------------------------------------------------------------


class ProcessFailed(NurseryTasksError):
    """A program that `run_process` started has ended with another return code than 0; below 0, a signal has ended it."""

    def __init__(self, command: Sequence[str], returncode: int, stderr: str = "") -> None:
        self.command, self.returncode, self.stderr = tuple(command), returncode, stderr
        how = f"exited with {returncode}" if returncode >= 0 else f"was ended by {_signal_name(-returncode)}"
        super().__init__(f"{_shown(self.command)} {how}{_last_words(stderr)}")


class ProcessTimedOut(NurseryTasksError, TimeoutError):
    """A program that `run_process` started was ended, because it ran longer than the call allowed."""

    def __init__(self, command: Sequence[str], timeout_seconds: float, stderr: str = "") -> None:
        self.command, self.timeout_seconds, self.stderr = tuple(command), timeout_seconds, stderr
        super().__init__(f"{_shown(self.command)} ran longer than {timeout_seconds:g} s and was ended{_last_words(stderr)}")


_SHOWN_COMMAND = 200  # characters
_SHOWN_STDERR = 500


def _shown(command: tuple[str, ...]) -> str:
    text = shlex.join(command)
    return text if len(text) <= _SHOWN_COMMAND else f"{text[:_SHOWN_COMMAND]}..."


def _last_words(stderr: str) -> str:
    words = stderr.strip()
    return f": {'...' if len(words) > _SHOWN_STDERR else ''}{words[-_SHOWN_STDERR:]}" if words else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --- how a job ended -----------------------------------------------------------------------------------------------------


class JobError(NurseryTasksError):
    """The base of what `await job` raises when the job did not succeed and its own exception cannot be raised."""

    def __init__(self, job_id: str, task: str, message: str) -> None:
        self.job_id, self.task = job_id, task
        super().__init__(message)


class RemoteError(JobError):
    """A job failed with an exception whose class is not registered here. `type_name`, `text` and `remote_traceback` tell it."""

    def __init__(self, type_name: str, text: str, remote_traceback: str = "") -> None:
        self.type_name, self.text, self.remote_traceback = type_name, text, remote_traceback
        super().__init__("", "", f"{type_name}: {text}" if text else type_name)


class JobTimedOut(JobError, TimeoutError):
    """An attempt ran longer than the task's timeout, and no retry was left."""

    def __init__(self, job_id: str, task: str, timeout_seconds: float | None) -> None:
        self.timeout_seconds = timeout_seconds
        limit = "its timeout" if timeout_seconds is None else f"its timeout of {timeout_seconds:g} s"
        super().__init__(job_id, task, f"{task} ({job_id}) ran longer than {limit}")


class HostDied(JobError):
    """The process in which the job ran has died under it, or could not be started.

    Attributes:
        signal: The name of the signal that killed it, such as `SIGSEGV`; None: there was none.
        exit_code: What it exited with, when it did.
    """

    def __init__(
        self, job_id: str, task: str, *, signal: str | None = None, exit_code: int | None = None, problem: str | None = None
    ) -> None:
        self.signal, self.exit_code, self.problem = signal, exit_code, problem
        if signal is not None:
            how = f"was killed by {signal}{_SIGNALS_MEAN.get(signal, '')}"
        elif exit_code is not None:
            how = f"exited with {exit_code}: something called os._exit(), or a C library did; raise an exception instead"
        else:
            how = problem or "died, and nobody knows how"
        super().__init__(job_id, task, f"the process of {task} ({job_id}) {how}")


_SIGNALS_MEAN = {
    "SIGKILL": ": by hand, or because memory ran out; see the kernel's log, and process_memory= of the worker",
    "SIGSEGV": ": a crash in C code; its stack is in the log of the job",
    "SIGABRT": ": a crash in C code; its stack is in the log of the job",
    "SIGBUS": ": a crash in C code; its stack is in the log of the job",
}


class CancelRequested(BaseException):
    """Raised by `check_cancelled()` in a handler that runs in a process, when its job is to end. Let it through."""


class WorkflowStopped(BaseException):
    """Raised in the shielded clean-up of a durable workflow's function that only its worker's stop has ended. Let it through.

    The function is run again elsewhere, and comes to the same place; so its clean-up runs and records nothing.
    """

    def __init__(self, job_id: str, task: str) -> None:
        super().__init__(f"the worker of {task} ({job_id}) stops; its function is run again elsewhere, so it cleans up nothing")


class JobCancelled(JobError):
    """Somebody cancelled the job."""

    def __init__(self, job_id: str, task: str, reason: str | None) -> None:
        self.reason = reason
        super().__init__(job_id, task, f"{task} ({job_id}) was cancelled" + (f": {reason}" if reason else ""))


class WorkflowChanged(JobError):
    """A durable workflow was run again, and its function did not make the calls that were recorded: its code has changed."""

    def __init__(self, job_id: str, task: str, problem: str) -> None:
        self.problem = problem
        super().__init__(
            job_id,
            task,
            f"{task} ({job_id}) was run again, and {problem}; its function has changed, or depends on something that is no "
            f"recorded call: put that into step(...), or bring the old code back and run `{command_line('retry', job_id)}`",
        )


class WorkflowEnded(JobError):
    """An event was sent to a workflow that has ended."""

    def __init__(self, job_id: str, task: str, state: str, event: str) -> None:
        self.state, self.event = state, event
        super().__init__(job_id, task, f"{task} ({job_id}) has ended ({state}): nobody waits there for the event {event!r}")


class NoWorkflow(JobError):
    """An event was sent to a job that cannot wait for one."""

    def __init__(self, job_id: str, task: str, event: str) -> None:
        expected = "events are for functions of `@app.workflow(durable=True)`"
        super().__init__(job_id, task, f"{task} ({job_id}) is no durable workflow, and never waits for {event!r}: {expected}")


class EventTimedOut(NurseryTasksError, TimeoutError):
    """The event did not come within the time that the workflow was willing to wait. It is recorded: a later one is another."""

    def __init__(self, event: str, waited_seconds: float) -> None:
        self.event, self.waited_seconds = event, waited_seconds
        super().__init__(
            f"no event {event!r} came within {waited_seconds:g} s; app.send_event(workflow_id, {event!r}) sends it"
        )


class JobExpired(JobError):
    """Nobody started the job within its `expires`."""

    def __init__(self, job_id: str, task: str) -> None:
        super().__init__(job_id, task, f"{task} ({job_id}) expired in its queue: no worker started it in time")


class JobDead(JobError):
    """The job was put aside: it cannot be run. `reason` says why; `nursery-tasks retry` puts it back."""

    def __init__(self, job_id: str, task: str, reason: str | None) -> None:
        self.reason = reason
        super().__init__(
            job_id,
            task,
            f"{task} ({job_id}) is dead: {reason or 'no reason given'}; `{command_line('retry', job_id)}` runs it again",
        )
