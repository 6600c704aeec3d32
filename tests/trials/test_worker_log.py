"""What a worker of the command line writes: whose each line is, where a failure came up, and with --json only objects."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from cli_shell import Ended, Shell
from support import working

from nursery_tasks import App
from nursery_tasks.observability.logging import JobFacts, where_of

TALKERS = """
import logging, os, subprocess, sys, threading
from nursery_tasks import App, Retry, current_job
app = App("sqlite:///jobs.db")
log = logging.getLogger("shop")
print("imported")

@app.task
async def on_the_loop() -> None:
    print("hello", end=" "); print("from the loop")
    print("no end", end="")
    log.warning("careful\\nsecond line")
    current_job().log.info("by its own log")

@app.task
def in_a_thread() -> None:
    print("two\\nlines \\x1b[2J")
    sys.stdout.buffer.write("bytes ü\\n".encode())
    os.write(1, b"past python\\n")
    subprocess.run(["echo", "a program"], check=True)

@app.task(run_in="process")
def in_a_process() -> None:
    print("from a process")
    logging.getLogger("shop").error("also from there")

def deeper() -> None:
    raise ValueError("no good")

@app.task(retry=Retry(2, wait=0.01))
async def failing() -> None:
    deeper()
"""
TASKS = ("on_the_loop", "in_a_thread", "in_a_process", "failing")


@pytest.fixture
def talkers(shell: Shell) -> Shell:
    """A folder with a module whose tasks print and log."""
    shell.write("talkers.py", TALKERS)
    return shell


def talked(shell: Shell, *args: str) -> tuple[dict[str, str], Ended]:
    """Run each task once; returns the ids by task, and what the worker has written."""
    worker = shell.worker(*args, app="talkers:app")
    handles = {name: shell.app.sync.enqueue(shell.app.job(name)) for name in TASKS}
    for handle in handles.values():
        handle.outcome(20)
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 0
    return {name: handle.id for name, handle in handles.items()}, ended


def test_each_line_of_a_job_carries_its_id(talkers: Shell) -> None:
    ids, ended = talked(talkers)
    short = {name: job_id[-8:] for name, job_id in ids.items()}
    out = [line[10:] for line in ended.out.splitlines()]
    assert f"{short['on_the_loop']}  on_the_loop  | hello from the loop" in out
    assert f"{short['on_the_loop']}  on_the_loop  | no end" in out
    assert f"{short['in_a_thread']}  in_a_thread  | two" in out
    assert f"{short['in_a_thread']}  in_a_thread  | lines \\x1b[2J" in out
    assert f"{short['in_a_thread']}  in_a_thread  | bytes ü" in out
    assert {"imported", "past python", "a program"} <= set(ended.out.splitlines())
    err = [line[10:] for line in ended.error_lines]
    assert f"{short['on_the_loop']}  on_the_loop  WARNING  shop:  careful" in err
    assert "    second line" in ended.error_lines
    assert f"{short['on_the_loop']}  on_the_loop  INFO  by its own log" in err
    assert f"{short['in_a_process']}  in_a_process  INFO  from a process" in err
    assert f"{short['in_a_process']}  in_a_process  ERROR  shop:  also from there" in err


def test_a_failure_shows_where_it_came_up_and_how_to_see_more(talkers: Shell) -> None:
    ids, ended = talked(talkers)
    place = f"talkers.py:{TALKERS[: TALKERS.index('raise ValueError')].count(chr(10)) + 1} in deeper"
    [retrying] = [line for line in ended.out.splitlines() if "retrying" in line]
    [failed] = [line for line in ended.out.splitlines() if "  failed " in line and "ValueError" in line]
    assert f"ValueError: no good, at {place}, again in" in retrying
    assert failed.endswith(f"ValueError: no good, at {place}")
    [hint] = [line[10:] for line in ended.out.splitlines() if "shows tracebacks" in line]
    assert hint == f"-v shows tracebacks here; nursery-tasks jobs {ids['failing'][-8:]} shows that of this job"
    _, traced = talked(talkers, "-v")
    assert "    ValueError: no good" in traced.out
    assert "shows tracebacks" not in traced.out


def test_with_json_everything_on_stdout_is_an_object(talkers: Shell) -> None:
    ids, ended = talked(talkers, "--json")
    objects: list[dict[str, Any]] = [json.loads(line) for line in ended.out.splitlines()]
    assert all("event" in found and "at" in found for found in objects)
    prints = [(found.get("job_id"), found["text"]) for found in objects if found["event"] == "print"]
    assert prints[0] == (None, "imported")
    assert {text for job_id, text in prints if job_id == ids["on_the_loop"]} == {"hello from the loop", "no end"}
    assert [text for job_id, text in prints if job_id == ids["in_a_thread"]] == ["two", "lines \x1b[2J", "bytes ü"]
    logs = {
        (found.get("job_id"), found["level"], found["logger"], found["text"]) for found in objects if found["event"] == "log"
    }
    assert (ids["on_the_loop"], "WARNING", "shop", "careful\nsecond line") in logs
    assert (ids["on_the_loop"], "INFO", "nursery_tasks.job.on_the_loop", "by its own log") in logs
    assert (ids["in_a_process"], "INFO", "nursery_tasks.job.in_a_process", "from a process") in logs
    [failed] = [found for found in objects if found["event"] == "failed"]
    assert failed["where"].endswith(" in deeper")
    assert failed["traceback"].startswith("Traceback")
    assert {"past python", "a program"} <= set(ended.error_lines)


def test_so_it_is_with_several_workers(talkers: Shell) -> None:
    worker = talkers.start("run", "talkers:app", "--json", "--workers", "2")
    worker.wait_for("worker-started")
    talkers.app.sync.enqueue(talkers.app.job("in_a_thread")).outcome(20)
    worker.send(signal.SIGTERM)
    objects = [json.loads(line) for line in worker.end().out.splitlines()]
    assert "two" in [found.get("text") for found in objects]


def test_the_log_level_can_be_chosen(talkers: Shell) -> None:
    _, ended = talked(talkers, "--log-level", "error")
    assert "also from there" in ended.err
    assert "careful" not in ended.err
    assert "by its own log" not in ended.err
    assert talkers("run", "talkers:app", "--log-level", "loud").code == 2


def test_an_app_that_sets_up_logging_keeps_its_own_and_does_not_silence_the_worker(talkers: Shell) -> None:
    talkers.write(
        "configured.py",
        """
import logging.config, os
logging.config.dictConfig({  # disable_existing_loggers is True unless one says otherwise
    "version": 1,
    "filters": {"job": {"()": "nursery_tasks.observability.logging.JobFacts", "outside": "-"}},
    "formatters": {"f": {"format": "mine %(job_id)s %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f", "filters": ["job"]}},
    "root": {"level": "INFO", "handlers": ["h"]},
})
from talkers import app
import logging
logging.getLogger("nursery_tasks.worker").disabled = True
""",
    )
    worker = talkers.worker(app="configured:app")
    handle = talkers.app.sync.enqueue(talkers.app.job("on_the_loop"))
    handle.outcome(20)
    worker.send(signal.SIGTERM)
    ended = worker.end()
    assert f"mine {handle.id} by its own log" in ended.err
    assert not [line for line in ended.error_lines if "WARNING" in line]


async def test_loggers_that_logging_config_has_disabled_speak_again(memory_app: App) -> None:
    names = [name for name in logging.root.manager.loggerDict if name.startswith("nursery_tasks.worker")]
    assert names
    for name in names:
        logging.getLogger(name).disabled = True
    async with working(memory_app):
        assert not any(logging.getLogger(name).disabled for name in names)


async def test_records_know_their_job_in_a_thread_and_on_the_loop(memory_app: App, caplog: pytest.LogCaptureFixture) -> None:
    facts = JobFacts("-")
    caplog.handler.addFilter(facts)
    log = logging.getLogger("tests.facts")

    @memory_app.task
    async def on_the_loop() -> None:
        log.warning("one")
        await to_thread.run_sync(log.warning, "two")

    async with working(memory_app):
        handle = await on_the_loop.enqueue()
        await handle
    log.warning("three")
    caplog.handler.removeFilter(facts)
    seen = {record.getMessage(): record.job_id for record in caplog.records if record.name == "tests.facts"}  # type: ignore[attr-defined]
    assert seen == {"one": handle.id, "two": handle.id, "three": "-"}


def test_the_place_of_an_error_is_in_the_users_own_code() -> None:
    library = f'  File "{json.__file__}", line 3, in loads\n'
    own = f'  File "{Path.cwd()}/shop/orders.py", line 7, in buy\n'
    assert where_of(f"Traceback (most recent call last):\n{own}{library}ValueError: x") == "shop/orders.py:7 in buy"
    assert where_of(f"Traceback (most recent call last):\n{library}ValueError: x").endswith("in loads")
    assert where_of('  | Traceback\n  |   File "/srv/a.py", line 1, in f\n') == "/srv/a.py:1 in f"
    assert where_of("") == ""
