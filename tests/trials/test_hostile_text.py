"""What a job, a message or a name says is only shown: no command and no worker passes on what a terminal would obey.

One text is put into every field that has room for it, and every command is walked.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from prepared_commands import prepared_commands

import nursery_tasks.cli
from nursery_tasks import JobState, every
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.cli.commands import cli
from nursery_tasks.cli.display import JsonLines, Lines
from nursery_tasks.cli.doctor import _write as write_findings
from nursery_tasks.cli.findings import Finding, Level
from nursery_tasks.cli.messages import _facts as facts_of_message
from nursery_tasks.cli.output import write_facts
from nursery_tasks.cli.speaking import LineFormatter, ObjectHandler, Speech
from nursery_tasks.cli.trouble import Trouble, report
from nursery_tasks.current import CurrentJob
from nursery_tasks.events import EventKind, JobEvent
from nursery_tasks.model.codec import Codec, pack_outcome
from nursery_tasks.model.delivery import Delivery, Finished, Progressed, Started, Submission
from nursery_tasks.model.failure import Failure
from nursery_tasks.model.limits import Limit
from nursery_tasks.model.listing import ServerMessage, WorkerRecord
from nursery_tasks.model.message import Message
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.observability.logging import log_events
from nursery_tasks.scheduling.schedule import Definition, History, Schedule
from nursery_tasks.scheduling.timing import timing
from nursery_tasks.shown import visible, visible_json, visible_lines
from nursery_tasks.worker import Unstored

LINE = "12:00:00  deadbeef  fetch  succeeded"  # what a worker writes
HOSTILE = f"a[red]x[/red]\x1b[2J\x1b]0;t\x07b\x00c\x9b31md\r{LINE}\n{LINE}\u2028{LINE}\x85{LINE}\u202egnp.exe\ufeff\x7fz"
NAME = HOSTILE.replace("\n", "\v").replace(" ", "_").replace("\r", "\v").replace("\x00", "")  # where a line break cannot be
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
OWN = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")  # colours and cursor movements, which only rich writes, on a terminal


def check(text: str, *, terminal: bool = False) -> None:
    if terminal:
        assert "\x1b[2J" not in text
        assert "\x1b[31m" not in text.replace("\x1b[31m✘", "")
        text = OWN.sub("", text).replace("\r\n", "\n").replace("\r", "")
    found = OBEYED.search(text)
    assert found is None, f"{found[0]!r} at {text[max(0, found.start() - 80) : found.start() + 20]!r}"
    assert not any(line.startswith(LINE) for line in text.splitlines()), text


def as_name(what: str) -> str:
    return f"{what}{NAME}"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in which every field of a job, a worker, a limit and a lock is hostile."""
    directory = tmp_path_factory.mktemp("hostile")
    broker = SqliteBroker(str(directory / "jobs.db"))
    payload = Codec().encode(
        "it", Message(task=as_name("task"), args=[HOSTILE, {HOSTILE: [HOSTILE]}], kwargs={"k": HOSTILE}, tags=(as_name("tag"),))
    )
    for number, state in enumerate(JobState):
        is_waiting = state in (JobState.SCHEDULED, JobState.READY)
        submission = Submission(
            id=job_id(number),
            queue="waiting" if is_waiting else "default",
            task=as_name("task"),
            payload=HOSTILE.encode(errors="replace") if state is JobState.DEAD else payload,
            delay_seconds=1000.0 if state is JobState.SCHEDULED else 0.0,
            key=as_name(f"key{number}"),
            parent=job_id(TOP) if number != TOP else None,
            tags=(as_name("tag"),),
            limits=(Limit(as_name("limit"), most=100),),
            raw=state is JobState.DEAD,
        )
        broker.submit([submission])
        if not is_waiting:
            [delivery] = broker.claim(["default"], 1, as_name("worker"), 1000.0)
            _bring_to(broker, delivery, state)
    broker.locks.lock(as_name("lock"), b"x" * 16, 1000.0, wait=False)
    broker.admin.beat(
        WorkerRecord(name=as_name("worker"), node=HOSTILE, pid=1, queues=("default",), unresponsive=(job_id(TOP),)), 1000.0
    )
    template = Submission(id="", queue="default", task=as_name("task"), payload=payload)
    schedule = Schedule(
        Definition(template, timing(every(1))), History(paused=True, note=HOSTILE, error=HOSTILE, last_job=job_id(TOP))
    )
    for name in (SCHEDULE, "plain"):
        broker.schedules.fire(ScheduleChange(name, 0, None, schedule.to_body()))
    broker.close()
    return directory


def _bring_to(broker: SqliteBroker, delivery: Delivery, state: JobState) -> None:
    if state is JobState.CLAIMED:
        return
    broker.settle([Started(delivery), Progressed(delivery, msgspec.json.encode(HOSTILE))])
    if state is JobState.STARTED:
        broker.cancel([delivery.id], HOSTILE)
        return
    failure = Failure(HOSTILE, HOSTILE, notes=[HOSTILE], traceback=f"Traceback:\n{HOSTILE}\n")
    outcome = Outcome(state=state, reason=HOSTILE, error=failure, worker=as_name("worker"))
    if state is JobState.SUCCEEDED:
        outcome = Outcome(state=state, value=msgspec.Raw(msgspec.json.encode(HOSTILE)), worker=as_name("worker"))
    broker.settle([Finished(delivery, state, pack_outcome(outcome))])


TOP = list(JobState).index(JobState.STARTED)


def job_id(number: int) -> str:
    return f"{number}{NAME}"[:190]


def as_argument(text: str) -> str:
    return text.replace("\x00", "")  # no program can be given one


SCHEDULE = as_argument(as_name("schedule"))[:150]


COMMANDS: dict[str, list[list[str]]] = {
    "jobs": [["jobs"], ["jobs", "--newest"], ["jobs", "--state", "failed"], ["jobs", "--json"]],
    "tree": [["tree", "{top}"], ["tree", "{top}", "--json"], ["tree", as_argument(NAME)]],
    "queues": [["queues"], ["queues", "--json"], ["queues", "--pause", as_argument(HOSTILE)]],
    "doctor": [["doctor"], ["doctor", "--json"]],
    "cancel": [["cancel", as_argument(NAME)], ["cancel", "--task", as_argument(NAME)], ["cancel", as_argument(HOSTILE), "-v"]],
    "retry": [["retry", as_argument(NAME)], ["retry", as_argument(HOSTILE), "--json"]],
    "purge": [["purge", as_argument(HOSTILE)], ["purge", "default", "--state", as_argument(HOSTILE)]],
    "send": [["send", as_argument(HOSTILE), "x"], ["send", "default", "x", "--id", as_argument(NAME)]],
    "peek": [["peek", as_argument(HOSTILE)]],
    "call": [
        ["call", as_argument(NAME), "--no-wait", "--id", as_argument(NAME)],
        ["call", as_argument(HOSTILE), "--timeout", "0"],
        ["call", "x", "--kwargs", as_argument(HOSTILE)],
    ],
    "tasks": [["tasks", "--app", "hostile_app"], ["tasks", "--app", as_argument(HOSTILE)]],
    "graph": [["graph", "hostile_app:flow"], ["graph", as_argument(HOSTILE)]],
    "run": [["run", as_argument(HOSTILE)], ["run", "hostile_app", "--queues", as_argument(HOSTILE)]],
    "tick": [["tick", as_argument(HOSTILE)]],
    "schedules": [
        ["schedules"],
        ["schedules", "--json"],
        ["schedules", "show", SCHEDULE],
        ["schedules", "show", "plain"],
        ["schedules", "show", "plain", "--json"],
        ["schedules", "next", as_argument(HOSTILE)],
        ["schedules", "next", "plain"],
        ["schedules", "pause", as_argument(NAME), "--note", as_argument(HOSTILE)],
        ["schedules", "remove", SCHEDULE],
        ["schedules", "add", as_argument(NAME), "x", "--cron", as_argument(HOSTILE)],
        ["schedules", "add", "y", as_argument(HOSTILE), "--every", as_argument(HOSTILE)],
        ["schedules", "backfill", "y", "--since", as_argument(HOSTILE), "--until", "x"],
    ],
    "events": [
        ["events", "--task", as_argument(HOSTILE)],
        ["events", "--kind", as_argument(HOSTILE)],
        ["events", "--since", as_argument(HOSTILE)],
    ],
    "pause": [
        ["pause", as_argument(NAME), "--where", as_argument(HOSTILE), "--note", as_argument(HOSTILE)],
        ["pause", as_argument(NAME), "--where", f"text={as_argument(HOSTILE)}", "--note", as_argument(HOSTILE)],
        ["pause", as_argument(HOSTILE)],
    ],
    "paused": [["paused"], ["paused", "--json"]],
    "resume": [["resume", as_argument(NAME)], ["resume", as_argument(HOSTILE), "--where", as_argument(HOSTILE)]],
    "web": [
        ["web", as_argument(HOSTILE)],
        ["web", "hostile_app", "--http", as_argument(HOSTILE)],
        ["web", "token", "--name", as_argument(HOSTILE)],
    ],
    "demo": [["demo", "--files", as_argument(HOSTILE)]],
    "rabbitmq": [["rabbitmq", as_argument(HOSTILE)]],
    "none": [[as_argument(HOSTILE)], [f"--{as_argument(HOSTILE)}"]],
}
APP = f"""
from nursery_tasks import App, Concurrency, sequence
app = App("sqlite:///jobs.db")
@app.task(name={as_name("task")!r}, queue="mine")
async def named(text: str = {HOSTILE!r}) -> str:
    {as_argument(HOSTILE)!r}
@app.task
async def plain(text: str) -> str: ...
flow = sequence(named.job({HOSTILE!r}), plain.job())
"""


def test_every_command_is_walked() -> None:
    known = {command.callback.__name__ for command in cli.registered_commands if command.callback is not None}
    known |= {str(group.name) for group in cli.registered_groups}
    assert known == COMMANDS.keys() - {"none"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_only_shows_it(command: str, directory: Path) -> None:
    (directory / "hostile_app.py").write_text(APP)
    for args in COMMANDS[command]:
        given = [as_argument(job_id(TOP)) if arg == "{top}" else arg for arg in args]
        ended = prepared_commands().run(given, directory=directory, environment=environment(), stdin="", seconds=50)
        check(ended.stdout)
        check(ended.stderr)
        if "--json" in args:
            json.loads(ended.stdout)


@pytest.mark.parametrize(
    "args", [["jobs"], ["jobs", "{failed}"], ["tree", "{top}"], ["doctor"], ["jobs", "--json"]], ids=" ".join
)
def test_neither_does_one_on_a_terminal(args: list[str], directory: Path) -> None:
    failed = list(JobState).index(JobState.FAILED)
    given = [arg.format(top=as_argument(job_id(TOP)), failed=as_argument(job_id(failed))) for arg in args]
    check(on_terminal(given, directory), terminal=True)


def test_markup_of_rich_is_shown_as_it_is(directory: Path) -> None:
    assert "[red]x[/red]" in on_terminal(["jobs", "--state", "failed"], directory).replace("\r\n", "")


def on_terminal(args: list[str], directory: Path) -> str:
    """Run a command on a terminal of its own, and return what came there."""
    ours, theirs = pty.openpty()
    environ = {name: value for name, value in environment().items() if name != "NO_COLOR"} | {"TERM": "xterm", "COLUMNS": "400"}
    with subprocess.Popen(
        [sys.executable, "-m", "nursery_tasks", *args], cwd=directory, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        pieces: list[bytes] = []
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # Linux says so when the other side is closed
            pass
    os.close(ours)
    return b"".join(pieces).decode()


def environment() -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("NURSERY_TASKS")}
    return mine | {"NURSERY_TASKS_BROKER": "sqlite:///jobs.db", "NO_COLOR": "1", "COLUMNS": "400"}


# --- what a worker shows ----------------------------------------------------------------------------------------------------


def events() -> list[JobEvent]:
    return [
        JobEvent(
            kind=kind, job_id=NAME, task=HOSTILE, queue=HOSTILE, at=0.0, worker=HOSTILE, detail=HOSTILE, wait_seconds=1.0,
            remote_traceback=f"Traceback (most recent call last):\n{HOSTILE}",
        )
        for kind in EventKind
    ]  # fmt: skip


def test_the_lines_of_a_worker_only_show_it() -> None:
    out = io.StringIO()
    lines = Lines(out, [HOSTILE], verbose=True)
    lines.ready([(HOSTILE, HOSTILE)], {})
    for event in events():
        lines.on_event(event)
    lines.say("x", HOSTILE)
    lines.ended(0, 0, Unstored(), 1.0)
    check(out.getvalue())


def test_so_do_its_objects() -> None:
    out = io.StringIO()
    lines = JsonLines(out, worker=HOSTILE)
    lines.ready([], {"worker": HOSTILE})
    for event in events():
        lines.on_event(event)
    lines.say("x", HOSTILE)
    lines.ended(0, 0, Unstored(), 1.0)
    check(out.getvalue())
    objects = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {found["detail"] for found in objects if "detail" in found} == {HOSTILE}


def test_so_do_the_records_of_events(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tests.hostile"):
        for event in events():
            log_events(logging.getLogger("tests.hostile"))(event)
    for record in caplog.records:
        check(record.getMessage())


def test_so_do_prints_and_records_of_jobs() -> None:
    out, objects = io.StringIO(), io.StringIO()
    job = CurrentJob(id=NAME, task=HOSTILE)
    for display in (Lines(out, []), JsonLines(objects)):
        Speech(None, display.printed).write(f"{HOSTILE}\n")  # outside of jobs: a line of nobody
        display.printed(job, HOSTILE)
    record = logging.LogRecord(HOSTILE, logging.WARNING, "f.py", 1, HOSTILE, None, None)
    check(LineFormatter().format(record))
    record.exc_text = f"Traceback (most recent call last):\n{HOSTILE}"
    record.job_id, record.task = NAME, HOSTILE
    check(LineFormatter().format(record))
    ObjectHandler(JsonLines(objects).write_object).emit(record)
    check(out.getvalue())
    check(objects.getvalue())
    for line in objects.getvalue().splitlines():
        json.loads(line)


def test_so_do_errors_and_findings_and_messages(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (ValueError(HOSTILE), Trouble(HOSTILE, HOSTILE, HOSTILE), ExceptionGroup(HOSTILE, [ValueError(HOSTILE)] * 2)):
        assert report(error)
    write_findings([Finding(Level.WARNING, HOSTILE, HOSTILE, HOSTILE)])
    message = ServerMessage(
        body=HOSTILE.encode(), id=HOSTILE, type=HOSTILE, content_type=HOSTILE, reply_to=HOSTILE, correlation_id=HOSTILE,
        headers={HOSTILE: HOSTILE},
    )  # fmt: skip
    write_facts(facts_of_message(message))
    written = capsys.readouterr()
    check(written.out)
    check(written.err)


def test_nothing_in_the_command_line_writes_past_the_one_place_that_escapes() -> None:
    """Whoever writes to a terminal does so by the functions of `output.py`; the worker's displays escape what they write."""
    past: list[str] = []
    for path in Path(nursery_tasks.cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "input",
                "sys.stdout.write",
                "sys.stderr.write",
            ):
                past.append(f"{path.name}:{node.lineno}")
    assert [place for place in past if not place.startswith("output.py")] == []


@pytest.mark.parametrize("text", ["", "plain", "naïve Ωmega 中文 👩\u200d👩", "a [red]b[/red]", "C:\\new"])
def test_what_harms_nobody_stays_as_it_is(text: str) -> None:
    assert visible(text) == visible_lines(text) == visible_json(text) == text


def test_line_breaks_are_kept_where_they_cannot_deceive() -> None:
    assert visible("a\nb\tc") == "a\\nb\\tc"
    assert visible_lines("a\r\nb\x1b\n\nc\td") == "a\n    b\\x1b\n\n    c\td"
