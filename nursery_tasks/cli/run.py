"""`nursery-tasks run`: a worker."""

from __future__ import annotations

import logging
import os
import random
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .. import __version__
from ..errors import InvalidOptions
from ..model.options import check_name
from ..observability.logging import duration
from ..supervisor import Invitation, Membership
from ..worker import Worker, WorkerOptions
from .display import Display, Facts, JsonLines, Lines
from .exits import Exits
from .http import (
    AnyTaskOption,
    CertOption,
    ClientCaOption,
    HostOption,
    Http,
    HttpOption,
    KeyOption,
    RpcOption,
    TokenFileOption,
    http_of,
)
from .leaving import end_left_processes, leave_left_threads
from .loading import LoadedApp, load_app
from .loops import check_loop, run_on_loop
from .options import Backend, BackendOption, JsonOption, UvloopOption, VerboseOption
from .serve import serve_worker
from .sizes import parse_bytes
from .speaking import ObjectHandler, Speech, set_up_logging, speaking, take_stdout
from .supervise import Crew, serve_crew
from .trouble import USAGE, Trouble

_SCHEDULES_SHOWN: Final = 5


class LogLevel(StrEnum):
    """From which level on log records are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevelOption = Annotated[
    LogLevel | None, typer.Option("--log-level", help="Show log records from here on; default: warning, for jobs info.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show only warnings and errors.")]


def run(
    context: typer.Context,
    place: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the app is; MODULE alone finds the only one.")],
    backend: BackendOption = Backend.ASYNCIO,
    uvloop: UvloopOption = False,
    slots: Annotated[int, typer.Option(min=1, help="How many jobs may run at once.")] = 32,
    queues: Annotated[
        str | None,
        typer.Option(metavar="A,B or A:3,B:1", help="The queues to serve, with weights; default: those of the app's tasks."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Serve the queues in the order given, not in turns.")] = False,
    drain: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long running jobs may go on after the first signal.")
    ] = 25.0,
    name: Annotated[str | None, typer.Option(help="The worker's name; default: one of its own.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many worker processes; more than one have a supervisor.")] = 1,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Replace a worker process after so many jobs.")] = None,
    max_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Replace a worker process that has more memory after a job: 512MB.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many processes may run `process` tasks, per worker; default: the CPUs.")
    ] = None,
    process_jobs: Annotated[int, typer.Option(min=1, help="Replace a process for tasks after so many jobs.")] = 1000,
    process_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Replace a process for tasks that has more memory after a job: 512MB.")
    ] = None,
    no_schedules: Annotated[
        bool, typer.Option("--no-schedules", help="Run no schedules: other workers do, or `nursery-tasks tick`.")
    ] = False,
    http: HttpOption = None,
    http_token_file: TokenFileOption = None,
    http_cert: CertOption = None,
    http_key: KeyOption = None,
    http_client_ca: ClientCaOption = None,
    http_host: HostOption = None,
    http_any_task: AnyTaskOption = False,
    http_rpc: RpcOption = False,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End when the pipeline has: publishers are done, and all went through.")
    ] = False,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
    member: Annotated[str | None, typer.Option("--member", hidden=True)] = None,
) -> int:
    """Run a worker: import an app, and run its jobs until a signal comes.

    Ctrl-C or SIGTERM drains: no new jobs, and those that run may end. A second one cancels them and gives them back to their
    queue, a third one leaves at once. With --workers, --max-jobs or --max-memory there is a supervisor, and each worker is a
    process of its own that is replaced when it ends.
    """
    check_loop(backend, uvloop)
    options: WorkerOptions = {"slots": slots, "strict": strict, "drain": drain, "name": name, "queues": parse_queues(queues)}
    memory_bytes = parse_bytes("--max-memory", max_memory)
    options |= {
        "schedules": not no_schedules,
        "process_jobs": process_jobs,
        "process_memory": parse_bytes("--process-memory", process_memory),
    }
    if processes is not None:
        options["processes"] = processes
    answered = http_of(
        http,
        http_token_file,
        http_cert,
        http_key,
        http_client_ca,
        http_host,
        http_any_task,
        http_rpc,
        reuse_port=member is not None,
    )
    link = None if member is None else Membership(Invitation.read(member))
    has_crew = workers > 1 or max_jobs is not None or memory_bytes is not None
    if until_done and has_crew:
        raise Trouble(
            "--until-done goes with one worker process", "leave out --workers, --max-jobs and --max-memory", code=USAGE
        )
    if link is None and has_crew:
        group = check_name("--name", name) if name else f"{socket.gethostname()}-{os.getpid()}-{random.randrange(16**4):04x}"
        crew = Crew(context.obj, group, workers, drain, as_json, quiet)
        return run_on_loop(serve_crew, crew, backend=backend, uvloop=uvloop)
    how = Manner(backend, uvloop, drain, log_level, quiet=quiet, as_json=as_json, verbose=verbose, until_eof=until_eof)
    how = replace(how, http=answered, until_done=until_done)
    if link is not None:
        options |= {"max_jobs": max_jobs, "max_memory": memory_bytes}
    return run_here(place, options, how, link)


@dataclass(frozen=True)
class Manner:
    """How a worker of this process runs, and what it shows: the options of that name."""

    backend: Backend
    uvloop: bool
    drain_seconds: float
    log_level: LogLevel | None
    quiet: bool
    as_json: bool
    verbose: bool
    until_eof: bool = False
    http: Http | None = None
    until_done: bool = False


def run_here(place: str, options: WorkerOptions, how: Manner, link: Membership | None = None) -> int:
    """Run a worker in this process until a signal comes; returns the exit code.

    Args:
        link: To the supervisor, if there is one.
    """
    level = log_level_of(how.log_level)
    with ExitStack() as around:
        display: Display
        if how.as_json:
            display = objects = JsonLines(take_stdout(), quiet=how.quiet, worker=None if link is None else link.name)
            speech = Speech(None, objects.printed)
            around.enter_context(speaking(speech))  # the app may print while it is imported
            loaded = load_app(place)
            set_up_logging(level, ObjectHandler(objects.write_object))
        else:
            loaded = load_app(place)
            set_up_logging(level)
            tasks, colour = list(loaded.app.registry.tasks), link.colour if link is not None else None
            display = Lines(sys.stdout, tasks, verbose=how.verbose, quiet=how.quiet, colour=colour, part=link is not None)
            speech = Speech(sys.stdout, display.printed)
            around.enter_context(speaking(speech))  # after the import: log handlers of the app's own keep what they have
        around.callback(loaded.app.subscribe(speech.on_event))
        if link is not None:
            options |= {
                "shared_leases": link.shared_leases,
                "name": link.name,
                "group": link.group,
            }
            if loaded.app.url.startswith("memory:"):
                raise Trouble("the jobs of memory: live inside one program; several cannot share them", "use sqlite:///jobs.db")
        loop, exits = "uvloop" if how.uvloop else str(how.backend), Exits()

        def announce(worker: Worker) -> None:
            data = describe(loaded, worker, loop)
            facts = in_words(loaded, worker, data, how.drain_seconds)
            display.ready(facts, data)
            if link is not None:
                link.report("ready", facts=facts)

        async def serve() -> int:
            return await serve_worker(
                loaded.app,
                options,
                display,
                drain_seconds=how.drain_seconds,
                announce=announce,
                exits=exits,
                until_eof=how.until_eof,
                until_done=how.until_done,
                link=link,
                http=how.http,
            )

        try:
            code = run_on_loop(serve, backend=how.backend, uvloop=how.uvloop, exits=exits)
        finally:
            end_left_processes()
        leave_left_threads(code)
        return code


def log_level_of(level: LogLevel | None) -> int | None:
    """Return the number of a level; None: none was given."""
    return None if level is None else logging.getLevelNamesMapping()[level.upper()]


def parse_queues(text: str | None) -> dict[str, int] | None:
    """Read `a,b` or `a:3,b:1`.

    Raises:
        InvalidOptions: It is neither.
    """
    if text is None:
        return None
    weights: dict[str, int] = {}
    for part in text.split(","):
        queue, colon, weight = part.strip().partition(":")
        if not queue or (colon and not (weight.isdecimal() and int(weight) > 0)) or queue in weights:
            raise InvalidOptions("--queues", text, "names such as a,b or names with weights such as a:3,b:1, each once")
        weights[queue] = int(weight or 1)
    return weights


def describe(loaded: LoadedApp, worker: Worker, loop: str) -> dict[str, Any]:
    """Return what there is to know of a worker that starts, for programs."""
    return {
        "version": __version__,
        "app": loaded.place,
        "file": loaded.file,
        "broker": loaded.app.shown_url,
        "loop": loop,
        "worker": worker.name,
        "pid": os.getpid(),
        "queues": [queue for queue in worker.settings.queues if "@" not in queue] or list(worker.settings.queues),
        "slots": worker.settings.slots,
        "processes": worker.settings.processes,
        "tasks": {task.name: task.spec.kind for task in loaded.app.tasks()},
    }


def in_words(loaded: LoadedApp, worker: Worker, data: dict[str, Any], drain_seconds: float) -> Facts:
    """Return the same for people."""
    return (
        ("app", f"{loaded.place}" + (f" in {_short(loaded.file)}" if loaded.file else "")),
        ("broker", data["broker"]),
        ("worker", f"{worker.name}, nursery-tasks {__version__} on {data['loop']}"),
        *_jobs_in_words(worker, data),
        *_publishers_in_words(loaded, worker),
        *_schedules_in_words(loaded, worker),
        ("to stop", _how_to_stop(worker, drain_seconds)),
    )


def _jobs_in_words(worker: Worker, data: dict[str, Any]) -> Facts:
    if not worker.settings.jobs:
        return (("jobs", "none: it runs schedules, and other workers their jobs"),)
    tasks = [f"{name} ({kind})" for name, kind in data["tasks"].items()]
    weights = {queue: worker.settings.turns.count(queue) for queue in data["queues"]}
    weighted = set(weights.values()) != {1} and not worker.settings.strict
    queues = ", ".join(f"{queue}:{weights[queue]}" if weighted else queue for queue in data["queues"])
    return (
        ("queues", queues + (" (strictly in this order)" if worker.settings.strict else "")),
        ("slots", _slots(worker, data)),
        ("tasks", ", ".join(tasks) or "none: the app has no tasks, so every job will wait"),
    )


def _publishers_in_words(loaded: LoadedApp, worker: Worker) -> Facts:
    names = list(loaded.app.publishers)
    return (("publishers", ", ".join(names)),) if names and worker.settings.jobs else ()


def _schedules_in_words(loaded: LoadedApp, worker: Worker) -> Facts:
    names = list(loaded.app.declared_schedules)
    if not names:
        return ()
    if not worker.settings.schedules:
        return (("schedules", "none: --no-schedules"),)
    more = f" and {len(names) - _SCHEDULES_SHOWN} more" if len(names) > _SCHEDULES_SHOWN else ""
    return (("schedules", ", ".join(names[:_SCHEDULES_SHOWN]) + more),)


def _how_to_stop(worker: Worker, drain_seconds: float) -> str:
    if not worker.settings.jobs:
        return "Ctrl-C"
    return f"Ctrl-C; jobs that run may go on for {duration(drain_seconds)}, a second Ctrl-C cancels them"


def _slots(worker: Worker, data: dict[str, Any]) -> str:
    processes = worker.settings.processes
    if "process" not in data["tasks"].values():
        return str(worker.settings.slots)
    return f"{worker.settings.slots}, and {processes} {'process' if processes == 1 else 'processes'} for tasks that run in one"


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
