"""The lines of a worker, without a worker."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from nursery_tasks.cli.display import DENSE_PER_SECOND, JsonLines, Lines, format_interrupted
from nursery_tasks.cli.output import format_facts, format_table
from nursery_tasks.cli.run import parse_queues
from nursery_tasks.cli.tally import Tally
from nursery_tasks.cli.trouble import Trouble, as_trouble
from nursery_tasks.errors import BrokerUnavailable, InvalidOptions
from nursery_tasks.events import EventKind, JobEvent
from nursery_tasks.model.reasons import WORKER_STOPS, once_over
from nursery_tasks.observability.logging import duration, in_words, log_events, to_json, write_json_lines
from nursery_tasks.worker import Unstored

ID = "01a1fce425ce7895bce894b1df55fec7"


def event(kind: EventKind, **given: Any) -> JobEvent:
    return JobEvent(**{"kind": kind, "job_id": ID, "task": "fetch", "queue": "default", "at": 0.0, **given})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_aligned_and_name_the_end_of_the_id() -> None:
    out = io.StringIO()
    lines = Lines(out, ["fetch", "resize_all"])
    lines.on_event(event(EventKind.STARTED, attempt=1))
    lines.on_event(event(EventKind.RETRYING, attempt=1, seconds=0.25, wait_seconds=1.5, detail="OSError: away"))
    lines.on_event(event(EventKind.SUCCEEDED, attempt=2, seconds=2.0))
    assert [line[10:] for line in out.getvalue().splitlines()] == [
        "df55fec7  fetch       started",
        "df55fec7  fetch       retrying   attempt 1 failed in 250 ms, OSError: away, again in 1.5 s",
        "df55fec7  fetch       succeeded  attempt 2 in 2 s",
    ]


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    coloured, plain = Terminal(), io.StringIO()
    for out in (coloured, plain):
        Lines(out, []).on_event(event(EventKind.FAILED, detail="OSError"))
    assert "\x1b[31mfailed" in coloured.getvalue()
    assert "\x1b" not in plain.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    asked = Terminal()
    Lines(asked, []).on_event(event(EventKind.FAILED))
    assert "\x1b" not in asked.getvalue()


def test_many_transitions_become_one_line_per_second_and_then_lines_again() -> None:
    out = io.StringIO()
    lines = Lines(out, ["fetch"])
    for _ in range(DENSE_PER_SECOND):
        lines.on_event(event(EventKind.STARTED))
        lines.on_event(event(EventKind.SUCCEEDED, seconds=0.1))
    written = out.getvalue().splitlines()
    assert len(written) == DENSE_PER_SECOND + 1
    assert "one line per second" in written[-1]
    lines.tick()
    lines.on_event(event(EventKind.STARTED))
    lines.on_event(event(EventKind.FAILED, seconds=0.1))
    lines.tick()
    lines.on_event(event(EventKind.DEAD))
    dense = [line[10:] for line in out.getvalue().splitlines()[len(written) :]]
    assert dense == [
        f"{DENSE_PER_SECOND} succeeded in this second; 0 running, {DENSE_PER_SECOND} ended so far",
        f"1 failed in this second; 0 running, {DENSE_PER_SECOND + 1} ended so far",
        "df55fec7  fetch  dead",
    ]
    assert lines.tally.tasks["fetch"].counts[EventKind.SUCCEEDED] == DENSE_PER_SECOND


def test_the_summary_has_a_row_per_task_and_only_the_columns_that_say_something() -> None:
    out = io.StringIO()
    lines = Lines(out, ["fetch"])
    for seconds in (1.0, 3.0):
        lines.on_event(event(EventKind.SUCCEEDED, seconds=seconds))
    lines.on_event(event(EventKind.EXPIRED, task="late"))
    lines.ended(3, 2, Unstored(), 61.0)
    assert out.getvalue().splitlines()[-5:] == [
        "",
        "task   succeeded  expired  mean  longest",
        "fetch          2        -   2 s      3 s",
        "late           -        1     -        -",
        "stopped after 1 min 01 s: 3 jobs ended here; 2 jobs given back to the queue",
    ]


def test_what_was_cut_short_and_is_delivered_at_most_once_was_not_given_back() -> None:
    out = io.StringIO()
    lines = Lines(out, ["pay"])
    lines.on_event(event(EventKind.DEAD, task="pay", detail=once_over(WORKER_STOPS)))
    lines.on_event(event(EventKind.DEAD, task="pay", detail="its worker died 3 times"))
    lines.ended(3, 2, Unstored(), 1.0)
    dead = "1 job cut short and dead, as delivered at most once"
    assert out.getvalue().splitlines()[-1] == f"stopped after 1 s: 2 jobs ended here; 1 job given back to the queue; {dead}"
    crew = Tally()
    crew.add_parts(lines.tally.parts())
    assert crew.lost == 1
    assert format_interrupted(1, crew.lost) == f"; {dead}"


def test_json_lines_are_one_object_each() -> None:
    out = io.StringIO()
    lines = JsonLines(out)
    lines.ready((), {"worker": "w"})
    lines.on_event(event(EventKind.SUCCEEDED, seconds=0.5))
    lines.say("draining", "stopping")
    lines.ended(0, 0, Unstored(), 1.0)
    objects = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [found["event"] for found in objects] == ["worker-started", "succeeded", "worker-draining", "worker-stopped"]
    assert objects[1] == {"event": "succeeded", "job_id": ID, "task": "fetch", "queue": "default", "at": 0.0, "attempt": 0,
                          "seconds": 0.5}  # fmt: skip
    assert objects[3]["tasks"]["fetch"] == {"succeeded": 1, "mean_seconds": 0.5, "max_seconds": 0.5}


def test_events_become_log_records(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.events")
    listen = log_events(logger)
    with caplog.at_level(logging.INFO, "tests.events"):
        listen(event(EventKind.STARTED))
        listen(event(EventKind.FAILED, attempt=3, seconds=0.5, detail="OSError: away"))
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"fetch {ID} failed: attempt 3 in 500 ms, OSError: away"
    assert (record.job_id, record.task, record.attempt) == (ID, "fetch", 3)  # type: ignore[attr-defined]


def test_events_become_json_without_what_says_nothing() -> None:
    out = io.StringIO()
    write_json_lines(out)(event(EventKind.RELEASED, detail="two\nlines ü", worker="w"))
    assert json.loads(out.getvalue()) == json.loads(to_json(event(EventKind.RELEASED, detail="two\nlines ü", worker="w")))
    assert out.getvalue().count("\n") == 1
    assert "traceback" not in out.getvalue()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (event(EventKind.QUEUED), ("queued", "")),
        (event(EventKind.QUEUED, wait_seconds=90.0), ("queued", "due in 1 min 30 s")),
        (event(EventKind.RELEASED, detail="the worker stops"), ("released", "the worker stops")),
        (event(EventKind.CANCELLED, attempt=1, seconds=0.002, detail="no"), ("cancelled", "in 2.0 ms, no")),
        (event(EventKind.DEAD, detail="a\nb"), ("dead", "a b")),
    ],
)
def test_an_event_in_words(given: JobEvent, words: tuple[str, str]) -> None:
    assert in_words(given) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0001, "0.1 ms"),
        (0.0123, "12 ms"),
        (0.999, "1.0 s"),
        (25.0, "25 s"),
        (59.99, "1 min 00 s"),
        (3600, "1 h 00 min"),
        (172_800, "2 days"),
    ],
)
def test_durations_have_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "weights"), [(None, None), ("a", {"a": 1}), ("a,b", {"a": 1, "b": 1}), ("a:3, b:1", {"a": 3, "b": 1})]
)
def test_queues_are_read(text: str | None, weights: dict[str, int] | None) -> None:
    assert parse_queues(text) == weights


@pytest.mark.parametrize("text", ["", "a,,b", "a:", "a:0", "a:-1", "a:x", "a,a"])
def test_queues_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InvalidOptions, match="--queues"):
        parse_queues(text)


def test_errors_lose_the_groups_around_them() -> None:
    inner = BrokerUnavailable("sqlite:///x.db", "it is away")
    assert as_trouble(ExceptionGroup("a", [ExceptionGroup("b", [inner])])).lines == ("sqlite:///x.db: it is away",)
    assert as_trouble(Trouble("a", "b", code=7)).code == 7
    assert as_trouble(InvalidOptions("slots", 0, "more")).code == 2
    several = as_trouble(ExceptionGroup("two", [inner, ValueError("x")]))
    assert several.lines == ("ExceptionGroup: two (2 sub-exceptions)", "-v shows the traceback")


def test_facts_and_tables_are_plain_where_no_terminal_is() -> None:
    assert format_facts([("a", "1"), ("long", "2\n3")]) == "a     1\nlong  2\n      3\n"
    assert format_table(["name", "n"], [["x[red]", "1"], ["y", "20"]], right=["n"]) == "name     n\nx[red]   1\ny       20\n"


def test_a_run_of_a_schedule_is_named_by_its_moment() -> None:
    out = io.StringIO()
    lines = Lines(out, ["fetch"])
    lines.on_event(event(EventKind.STARTED, attempt=1))
    lines.on_event(event(EventKind.STARTED, attempt=1, job_id="nightly@2026-11-24T01:00:00Z"))
    lines.on_event(event(EventKind.STARTED, attempt=1, job_id="beat@2026-11-24T01:00:00.500000Z"))
    lines.on_event(event(EventKind.STARTED, attempt=1))
    assert [line[10:] for line in out.getvalue().splitlines()] == [
        "df55fec7  fetch  started",
        "11-24T01:00:00Z  fetch  started",
        "11-24T01:00:00.500000Z  fetch  started",
        "df55fec7                fetch  started",
    ]
