"""Slips at the command line that used to pass without a word, and output that did not fit."""

from __future__ import annotations

import json
import time

import pytest
from cli_shell import Shell

from nursery_tasks import JobInfo, JobState
from nursery_tasks.cli import jobs
from nursery_tasks.cli.main import run_command
from nursery_tasks.cli.variables import warn_of_variables

LIMITED = """
from nursery_tasks import App, Concurrency, RateLimit
app = App("sqlite:///jobs.db")
@app.task(limits=[Concurrency(3), RateLimit("10/s", key="{user}")])
async def call_api(user: str) -> str: ...
"""

QUIET = """
from nursery_tasks import App, Debounce, Throttle
app = App("sqlite:///jobs.db")
@app.task(debounce=Debounce(2, most=9))
async def index() -> None: ...
@app.task(throttle=Throttle(60, key="{user}"))
async def mail(user: str) -> None: ...
"""

FLOWING = """
from nursery_tasks import App, Batch
app = App("sqlite:///jobs.db")
@app.task(batch=Batch(1000, wait=0.5))
async def index(numbers: list[int]) -> None: ...
@app.task(ordering_key="{user}")
async def save(user: str) -> None: ...
@app.task(delivery="at_most_once")
async def pay() -> None: ...
"""


def test_call_with_an_app_knows_its_tasks(shell: Shell) -> None:
    ended = shell("call", "gret", "Ada", "--app", "tasks_here", "--no-wait")
    assert ended.code == 1
    assert ended.error_lines[0] == "error: no task is named 'gret': did you mean 'greet'?"
    assert not (shell.directory / "jobs.db").exists()


def test_tasks_shows_limits(shell: Shell) -> None:
    shell.write("limited.py", LIMITED)
    shown = shell("tasks", "--app", "limited").out
    assert "Concurrency(3), RateLimit('10/s', burst=2, key='{user}')" in shown


def test_tasks_shows_what_belongs_together_in_time(shell: Shell) -> None:
    shell.write("quiet.py", QUIET)
    assert "Throttle(60, key='{user}')" in shell("tasks", "--app", "quiet").out
    listed = json.loads(shell("tasks", "--app", "quiet", "--json").out)
    assert [(task["debounce"], task["throttle"]) for task in listed] == [
        ("Debounce(2, most=9)", None),
        (None, "Throttle(60, key='{user}')"),
    ]


def test_tasks_shows_batches_turns_and_what_starts_once(shell: Shell) -> None:
    shell.write("flowing.py", FLOWING)
    shown = shell("tasks", "--app", "flowing").out
    for word in ("Batch(1,000, wait=0.5)", "OrderingKey('{user}')", "at most once"):
        assert word in " ".join(shown.split())
    listed = {task["name"]: task for task in json.loads(shell("tasks", "--app", "flowing", "--json").out)}
    assert listed["index"]["batch"] == {"size": 1000, "wait": 0.5}
    assert listed["save"]["ordering_key"] == "OrderingKey('{user}')"
    assert [listed[name]["delivery"] for name in ("pay", "save")] == ["at_most_once", "at_least_once"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NURSERY_TASKS_BROKR", "did you mean NURSERY_TASKS_BROKER?"),
        ("NURSERY_TASKS_COLOUR", "there are NURSERY_TASKS_BROKER, NURSERY_TASKS_NODE and NURSERY_TASKS_HTTP_TOKENS"),
    ],
)
def test_a_variable_that_nobody_reads_is_told(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NURSERY_TASKS_NODE", "here")
    monkeypatch.setenv(name, "x")
    warn_of_variables()
    [line] = [line for line in capsys.readouterr().err.splitlines() if name in line]
    assert line == f"warning: nobody reads the environment variable {name}; {said}"


@pytest.mark.parametrize("queues", [["default"] * 3, ["default", "a-queue-with-a-long-name", "mail"]])
@pytest.mark.parametrize("width", [80, 100])
def test_jobs_fit_the_terminal(
    width: int, queues: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "shown_width", lambda: width)
    now = time.time()
    listed = [
        JobInfo(
            id=f"01a1fce425ce7895bce894b1df55fec{number}",
            task=task,
            queue=queue,
            state=state,
            cursor=number,
            attempts=number,
            created_at=now - 4000,
            started_at=now - 3000,
            due_at=now + 90,
            worker="a-host-with-a-long-name-4711-5b1f",
            unresponsive=state is JobState.STARTED,
        )
        for number, (task, queue, state) in enumerate(
            zip(
                ["greet", "shop.orders.send_all_the_invoices_of_this_month", "x"],
                queues,
                [JobState.SCHEDULED, JobState.STARTED, JobState.READY],
                strict=True,
            )
        )
    ]
    jobs._write_list(listed, now)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines), lines
    assert [line[:8] for line in lines[1:]] == ["df55fec0", "df55fec1", "df55fec2"]


@pytest.mark.parametrize(
    ("line", "wrong", "step"),
    [
        ("doctor tasks_here:app", "unexpected extra argument(s) (tasks_here:app)", "nursery-tasks doctor --app tasks_here:app"),
        ("tasks tasks_here:app", "Missing option '--app'", "nursery-tasks tasks --app tasks_here:app"),
        ("run --app tasks_here:app", "No such option: --app", "nursery-tasks run tasks_here:app"),
        ("run tasks_here:app second", "unexpected extra argument(s) (second)", "see nursery-tasks run --help"),
        ("run tasks_here:app --slots x", "'--slots': 'x' is not a valid integer", "see nursery-tasks run --help"),
        ("run tasks_here:app --slots=0", "'--slots': '0' is not", "see nursery-tasks run --help"),
        ("run tasks_here:app --log-level loud", "'--log-level': 'loud' is not one of 'debug'", "see nursery-tasks run --help"),
        ("run tasks_here:app --slots", "'--slots' requires an argument", "see nursery-tasks run --help"),
    ],
)
def test_wrong_usage_shows_what_came_in_and_the_line_that_was_meant(
    line: str, wrong: str, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(line.split()) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert wrong in first
    assert "Value error" not in first
    assert second == f"  {step}"


def test_shells_can_complete(shell: Shell) -> None:
    shell.environment |= {"_NURSERY_TASKS_COMPLETE": "complete_bash", "COMP_WORDS": "nursery-tasks j", "COMP_CWORD": "1"}
    assert shell(before="pass").out.split() == ["jobs"]
