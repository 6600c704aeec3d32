"""The commands that look at schedules and change them, and what the doctor says of them."""

from __future__ import annotations

import json
import os
import shlex
import socket
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cli_shell import Ended, Shell
from msgspec.structs import replace

from nursery_tasks import Job, at, cron, every
from nursery_tasks.brokers.needed import schedules_of
from nursery_tasks.cli.schedules.moments import distance, near_moment, parse_duration
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.model.listing import WorkerRecord
from nursery_tasks.model.schedule import ScheduleChange
from nursery_tasks.scheduling.schedule import Schedule, read_schedule

ROME = ZoneInfo("Europe/Rome")
LONG_AGO = datetime(2020, 3, 1, 2, tzinfo=UTC)


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """A shell in Rome."""
    shell.environment["TZ"] = "Europe/Rome"
    return shell


def data(ended: Ended) -> Any:
    assert ended.err == ""
    return json.loads(ended.out)


def greet(shell: Shell, name: str = "Ada") -> Job[Any]:
    return shell.app.job("greet", name)


def put(
    shell: Shell,
    name: str,
    when: object,
    history: dict[str, Any] | None = None,
    definition: dict[str, Any] | None = None,
    **policies: Any,
) -> None:
    """Put a schedule, and what has come of it."""
    shell.app.sync.schedules.put(name, greet(shell), when, **policies)
    if history is None and definition is None:
        return
    part = schedules_of(shell.app.sync.broker())
    [row] = part.find_schedules([name])
    assert row is not None
    schedule = read_schedule(row.body)
    schedule = Schedule(replace(schedule.definition, **definition or {}), replace(schedule.history, **history or {}))
    assert part.fire(ScheduleChange(name, row.version, schedule.look_at(name), schedule.to_body())) is not None


def at_noon(days: int) -> datetime:
    """Return a noon of the clocks in Rome."""
    day = datetime.now(ROME).date() + timedelta(days=days)
    return datetime(day.year, day.month, day.day, 12, tzinfo=ROME)


# --- moments --------------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 30, 22, 59, tzinfo=UTC)  # a Monday, in Rome one minute before midnight


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (NOW, "today 23:59"),
        (NOW + timedelta(minutes=1), "tomorrow 00:00"),
        (NOW + timedelta(seconds=61.5), "tomorrow 00:00:01"),
        (NOW - timedelta(days=1), "yesterday 23:59"),
        (NOW + timedelta(days=2), "Wed 23:59"),
        (NOW + timedelta(days=6), "Sun 23:59"),
        (NOW + timedelta(days=7), "2026-12-07 23:59"),
        (NOW - timedelta(days=2), "2026-11-28 23:59"),
        (datetime(2027, 7, 1, 10, tzinfo=UTC), "2027-07-01 12:00"),
    ],
)
def test_a_moment_is_shown_by_the_local_clock(moment: datetime, shown: str) -> None:
    assert near_moment(moment, NOW, ROME) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.25, "in 250 ms"),
        (-0.25, "250 ms ago"),
        (42.4, "in 42 s"),
        (-89, "89 s ago"),
        (90, "in 2 min"),
        (3600, "in 60 min"),
        (3 * 3600 + 100, "in 3 h"),
        (-47 * 3600, "47 h ago"),
        (3 * 86_400, "in 3 days"),
        (10 * 365.25 * 86_400, "in 10 years"),
    ],
)
def test_a_distance_has_one_unit(seconds: float, shown: str) -> None:
    assert distance(NOW + timedelta(seconds=seconds), NOW) == shown


def test_durations_have_units() -> None:
    read = [parse_duration("--every", text) for text in ("500ms", "30s", "5m", "5min", "1h30m", "1 d", "0.5s", "2w")]
    assert read == [0.5, 30, 300, 300, 5400, 86_400, 0.5, 1_209_600]
    for text in ("", "30", "s", "-5s", "5 parsecs", "1h30"):
        with pytest.raises(InvalidOptions, match="expected a duration with its units"):
            parse_duration("--every", text)


# --- list, show, next -----------------------------------------------------------------------------------------------------


def test_the_list_says_when_each_runs_and_how_it_is(shell: Shell) -> None:
    put(shell, "done", at(LONG_AGO), {"runs": 1, "last_slot": LONG_AGO, "last_job": "done@2020-03-01T02:00:00Z"})
    put(shell, "far", at(datetime(2999, 1, 1, 11, 30, tzinfo=UTC)))
    put(shell, "lost", every(hours=1), {"error": "no worker knows the task 'greet'", "next_slot": LONG_AGO})
    put(shell, "next", at(at_noon(1)), {"last_job": "x", "runs": 1})
    put(shell, "resting", cron("0 2 * * *", tz="Europe/Rome"))
    shell.app.sync.schedules.pause("resting", "month's end")
    years = round((datetime(2999, 1, 1, tzinfo=UTC) - datetime.now(UTC)).days / 365.25)
    hours = (at_noon(1) - datetime.now(UTC)) / timedelta(hours=1)
    noon = at_noon(1).astimezone(UTC)
    ago = (datetime.now(UTC) - LONG_AGO).days / 365.25
    listed = shell("schedules")
    assert listed.err == ""
    rows = [
        ["name", "task", "when", "next run", "last run", "state"],
        ["done", "greet", "once, at 2020-03-01 02:00:00 UTC", "-", "2020-03-01 03:00, not known any more", "ended"],
        ["far", "greet", "once, at 2999-01-01 11:30:00 UTC", f"2999-01-01 12:30, in {years} years", "-", "active"],
        [
            "lost", "greet", "every hour, at 00:00, 01:00 ... UTC", f"2020-03-01 03:00, {ago:.0f} years ago", "-",
            "broken: no worker knows the task 'greet'",
        ],
        [
            "next", "greet", f"once, at {noon:%Y-%m-%d %H:%M:%S} UTC", f"tomorrow 12:00, in {hours:.0f} h",
            "by hand, not known any more", "active",
        ],
        ["resting", "greet", "at 02:00 every day, in Europe/Rome", "-", "-", "paused: month's end"],
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    expected = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    assert listed.out.splitlines() == expected
    assert shell("schedules", "list").out == listed.out
    assert shell("schedules", "--app", "tasks_here", "list").out == listed.out


def test_json_has_all_of_it_and_moments_in_utc(shell: Shell) -> None:
    put(shell, "nightly", cron("0 2 * * *", tz="Europe/Rome"), {"next_slot": LONG_AGO}, overlap="skip", catch_up=60, jitter=30)
    [listed] = data(shell("schedules", "--json"))
    assert listed == data(shell("schedules", "show", "nightly", "--json"))
    assert listed == data(shell("schedules", "--json", "show", "nightly"))
    due = datetime.fromisoformat(listed.pop("next_run"))
    assert LONG_AGO < due < LONG_AGO + timedelta(seconds=30)
    assert listed == {
        "name": "nightly",
        "task": "greet",
        "queue": "default",
        "args": ["Ada"],
        "kwargs": {},
        "spec": "cron('0 2 * * *', tz='Europe/Rome')",
        "words": "at 02:00 every day, in Europe/Rome, up to 30 s later",
        "note": "",
        "error": "",
        "overlap": "skip",
        "catch_up": 60.0,
        "pause_on_failure": False,
        "runs": 0,
        "skipped": 0,
        "last_job": None,
        "declared": False,
        "home": "",
        "state": "late",
        "last_state": None,
        "next_slot": "2020-03-01T02:00:00+00:00",
        "last_slot": None,
    }


def test_one_is_shown_with_all_about_it(shell: Shell) -> None:
    job = "far@2020-03-01T02:00:00Z"
    history = {"runs": 1_204, "skipped": 1, "last_slot": LONG_AGO, "last_job": job}
    put(shell, "far", at(at_noon(1)), history, catch_up=3600, pause_on_failure=True)
    shell.app.sync.schedules.pause("far", "no reason")
    noon = at_noon(1).astimezone(UTC)
    assert shell("schedules", "show", "far").out.splitlines() == [
        "schedule    far",
        "state       paused: no reason",
        'task        greet("Ada")',
        "queue       default",
        f"when        once, at {noon:%Y-%m-%d %H:%M:%S} UTC",
        f"spec        {at(noon)!r}",
        "next run    -",
        "last run    2020-03-01 03:00, not known any more",
        f"last job    {job}",
        "runs        1,204, and 1 slot skipped",
        "overlap     allow",
        "catch up    all of the last 3600 s",
        "on failure  paused",
        "stands in   the broker only",
    ]


def test_the_next_runs_are_listed(shell: Shell) -> None:
    put(shell, "noon", cron("0 12 * * *", tz="Europe/Rome"), {"next_slot": at_noon(2).astimezone(UTC)})
    shown = shell("schedules", "next", "noon", "-n", "2").out.splitlines()
    assert [line.partition("  ")[0] for line in shown] == [at_noon(day).isoformat(sep=" ") for day in (2, 3)]
    assert [line.partition("  ")[2].split(",")[0] for line in shown] == [f"{at_noon(day):%a} 12:00" for day in (2, 3)]
    assert len(data(shell("schedules", "next", "noon", "--json"))) == 5
    shell("schedules", "pause", "noon", "--note", "later")
    ended = shell("schedules", "next", "noon")
    assert (ended.code, ended.out, ended.err) == (0, "", "no run is to come: it is paused: later\n")


def test_no_schedules_are_said_to_be_none(shell: Shell) -> None:
    assert shell("schedules").err.startswith("error: there is no database")
    shell("call", "greet", "Ada", "--no-wait")
    ended = shell("schedules")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == (
        "no schedules: those in an app's code are put when its first worker starts; nursery-tasks schedules add puts one\n"
    )


@pytest.mark.parametrize("command", ["show", "next", "pause", "resume", "run"])
def test_an_unknown_name_is_told_with_the_nearest(shell: Shell, command: str) -> None:
    put(shell, "nightly", every(60))
    ended = shell("schedules", command, "nightli")
    assert (ended.code, ended.out) == (1, "")
    assert ended.error_lines == [
        "error: no schedule is named 'nightli'",
        "  did you mean nightly?",
        "  nursery-tasks schedules list shows all",
    ]
    assert shell("schedules", command, "zz").error_lines[1] == "  there are nightly"


def test_a_name_where_a_command_stands_is_explained(shell: Shell) -> None:
    assert shell("schedules", "nightly").error_lines == [
        "error: No such command 'nightly'.",
        "  to see a schedule: nursery-tasks schedules show nightly; for the commands: nursery-tasks schedules --help",
    ]


# --- add ------------------------------------------------------------------------------------------------------------------


def test_schedules_are_added_of_each_kind(shell: Shell) -> None:
    added = shell(
        "schedules", "add", "c", "greet", "Ada", "--cron", "0 2 * * *", "--tz", "Europe/Rome", "--kwargs", '{"seconds": 1}'
    )
    assert added.out.startswith("c: at 02:00 every day, in Europe/Rome; next ")
    assert added.err == ""
    shell("schedules", "add", "e", "greet", "Ada", "--every", "1h30m", "--jitter", "30s", "--overlap", "queue_one")
    shell("schedules", "add", "a", "greet", "Ada", "--at", "2999-05-01T09:00+02:00", "--queue", "slow", "--catch-up", "1h")
    more = ("--start", "2030-01-01T00:00Z", "--end", "2031-01-01T00:00Z", "--limit", "3", "--pause-on-failure")
    shell("schedules", "add", "s", "greet", "Ada", "--sun", "sunset", "--latitude", "41.9", "--longitude", "12.5", *more)
    found = {each["name"]: each for each in data(shell("schedules", "--json"))}
    assert {name: each["spec"] for name, each in found.items()} == {
        "a": f"{at(datetime(2999, 5, 1, 7, tzinfo=UTC))!r}",
        "c": "cron('0 2 * * *', tz='Europe/Rome')",
        "e": "every(minutes=90)",
        "s": "sun('sunset', latitude=41.9, longitude=12.5)",
    }
    assert (found["c"]["args"], found["c"]["kwargs"]) == (["Ada"], {"seconds": 1})
    assert found["e"]["overlap"] == "queue_one"
    assert found["e"]["words"].endswith(", up to 30 s later")
    assert (found["a"]["queue"], found["a"]["catch_up"]) == ("slow", 3600.0)
    assert found["s"]["words"].endswith(", from 2030-01-01 00:00:00 UTC, until 2031-01-01 00:00:00 UTC, 3 times in all")
    assert found["s"]["pause_on_failure"] is True


def test_what_is_there_is_changed_only_when_that_is_meant(shell: Shell) -> None:
    put(shell, "mine", every(60), {"runs": 7})
    ended = shell("schedules", "add", "mine", "greet", "Eve", "--every", "5m")
    assert ended.code == 1
    assert ended.error_lines == [
        "error: there is a schedule 'mine' already: greet, every minute, at 00:00, 00:01 ... UTC",
        "  another name; or --replace to change it, see nursery-tasks schedules show mine",
    ]
    replaced = data(shell("schedules", "add", "mine", "greet", "Eve", "--every", "5m", "--replace", "--json"))
    assert (replaced["args"], replaced["spec"], replaced["runs"]) == (["Eve"], "every(minutes=5)", 7)


ZONE = "the name of a time zone; did you mean 'Europe/Rome'?"
HOURS = "0 to 23, *, lists (1,2), ranges (1-5), steps (*/2)"
POLICIES = "one of 'allow', 'skip', 'queue_one', 'queue_all', 'cancel'"


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        ("", ["it wants to know when", "one of --cron '0 2 * * *', --every 5m, --at 2030-05-01T09:00Z, --sun sunset"]),
        ("--every 5m --cron @daily", ["--cron and --every both say when"]),
        (
            "--every 30",
            ["--every='30': expected a duration with its units, such as 500ms, 30s, 5m or 1h30m; did you mean 30s?"],
        ),
        ("--cron '0 25 * * *'", [f"cron('0 25 * * *'): hour='25': expected {HOURS}"]),
        ("--cron @daily --tz rome", [f"tz='rome': expected {ZONE}"]),
        ("--every 5m --tz UTC", ["--tz says where the clock of --cron hangs, and there is --every", "leave it out"]),
        ("--sun sunset", ["--sun wants --latitude and --longitude", "--sun sunset --latitude 41.9 --longitude 12.5"]),
        ("--sun noon --latitude 91 --longitude 0", ["latitude=91.0: expected degrees from -90 to 90"]),
        ("--every 5m --latitude 1", ["--latitude and --longitude go with --sun, and there is --every", "leave them out"]),
        ("--at soon", ["--at='soon': expected a moment such as 2030-05-01T09:00Z or 2030-05-01T09:00+02:00"]),
        ("--every 5m --overlap none", [f"overlap='none': expected {POLICIES}"]),
        ("--every 5m --catch-up 5", ["--catch-up='5': expected a duration with its units"]),
        ("--every 5m --catch-up some", ["catch_up='some': expected one of 'one', 'all', 'none', or how old"]),
        ("--every 5m --kwargs [1]", ["--kwargs is no JSON object: [1]", "write --kwargs"]),
        ("--every 5m --app tasks_here -- 1", ["greet: argument 'name': Expected `str`, got `int`"]),
    ],
)
def test_what_makes_no_sense_is_told_and_not_stored(shell: Shell, args: str, lines: list[str]) -> None:
    ended = shell("schedules", "add", "x", "greet", *shlex.split(args))
    assert ended.code in (1, 2)
    assert len(lines) <= len(ended.error_lines) <= 3
    for said, expected in zip(ended.error_lines, lines, strict=False):
        assert said.removeprefix("error: ").strip().startswith(expected)
    assert not (shell.directory / "jobs.db").exists()


@pytest.mark.parametrize(
    ("moment", "here"), [("2030-12-01T02:00", "2030-12-01T02:00:00+01:00"), ("2030-07-01", "2030-07-01T00:00:00+02:00")]
)
def test_a_moment_without_a_zone_is_refused(shell: Shell, moment: str, here: str) -> None:
    ended = shell("schedules", "add", "x", "greet", "--at", moment)
    assert ended.code == 2
    assert ended.error_lines == [
        f"error: --at {moment} has no time zone, so it may be any of 24 hours",
        f"  by the clock of this machine: --at {here}; in UTC: --at {here[:19]}Z",
    ]


def test_a_slip_in_the_tasks_name_is_told_with_the_app(shell: Shell) -> None:
    ended = shell("schedules", "add", "x", "gret", "Ada", "--every", "5m", "--app", "tasks_here")
    assert ended.error_lines == ["error: no task is named 'gret': did you mean 'greet'?"]
    ended = shell("schedules", "add", "x", "tasks_here:app", "greet", "--every", "5m")
    assert ended.error_lines[1] == "  nursery-tasks schedules add x greet ... --app tasks_here:app"


# --- pause, run, backfill, remove -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["-n", "it's", "$HOME"])
def test_the_command_that_is_shown_can_be_typed_whatever_the_name_is(shell: Shell, name: str) -> None:
    put(shell, name, cron("0 12 * * *"))
    shown = shell("schedules", "pause", "--", name).out.partition("to go on: ")[2]
    program, *arguments = shlex.split(shown)
    assert program == "nursery-tasks"
    assert shell(*arguments).out.startswith(f"{name} runs next ")
    [second] = [
        line for line in shell("schedules", "add", "--every", "5m", "--", name, "greet").error_lines if "--replace" in line
    ]
    assert shell(*shlex.split(second.partition("see ")[2])[1:]).out.startswith("schedule ")


def test_a_schedule_is_paused_and_resumed(shell: Shell) -> None:
    put(shell, "noon", cron("0 12 * * *", tz="Europe/Rome"))
    assert shell("schedules", "pause", "noon").out == "noon is paused; to go on: nursery-tasks schedules resume noon\n"
    assert data(shell("schedules", "pause", "noon", "--note", "holidays", "--json"))["note"] == "holidays"
    assert shell("schedules", "resume", "noon").out.startswith("noon runs next to")  # today, or tomorrow
    resumed = data(shell("schedules", "resume", "noon", "--json"))
    assert (resumed["state"], resumed["note"]) == ("active", "")


def test_a_run_by_hand_is_submitted_and_awaited(shell: Shell) -> None:
    put(shell, "hello", at(at_noon(2)))
    job_id = shell("schedules", "run", "hello").out.strip()
    assert data(shell("jobs", job_id, "--json"))["args"] == ["Ada"]
    assert data(shell("schedules", "run", "hello", "--json"))["task"] == "greet"
    shell.worker("--json")
    assert data(shell("schedules", "run", "hello", "--wait")) == "Hello, Ada"
    assert data(shell("schedules", "run", "hello", "--wait", "--json"))["state"] == "succeeded"
    shown = data(shell("schedules", "show", "hello", "--json"))
    assert (shown["runs"], shown["last_slot"], shown["last_state"]) == (4, None, "succeeded")
    shell("schedules", "add", "wrong", "bad", "--at", "2999-05-01T09:00Z")
    ended = shell("schedules", "run", "wrong", "--wait")
    assert (ended.code, ended.error_lines[0]) == (1, "error: bad failed: ValueError: no good")


def test_a_span_is_filled_once(shell: Shell) -> None:
    put(shell, "noon", cron("0 12 * * *", tz="Europe/Rome"))
    span = ("--since", "2026-03-28T00:00Z", "--until", "2026-03-30T00:00Z")
    assert shell("schedules", "backfill", "noon", *span).out == (
        "2 runs submitted, from noon@2026-03-28T11:00:00Z to noon@2026-03-29T10:00:00Z\n"
    )
    assert data(shell("jobs", "03-28T11:00:00Z", "--json"))["id"] == "noon@2026-03-28T11:00:00Z"
    ended = shell("schedules", "backfill", "noon", *span)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "no run submitted: it has no slots there, or all of them have run\n"
    assert data(shell("schedules", "backfill", "noon", *span, "--json")) == {"name": "noon", "jobs": []}
    refused = shell("schedules", "backfill", "noon", "--since", "2026-03-28T00:00", "--until", "2026-03-30T00:00Z")
    assert refused.error_lines[0].startswith("error: --since 2026-03-28T00:00 has no time zone")
    turned = shell("schedules", "backfill", "noon", "--since", "2026-03-30T00:00Z", "--until", "2026-03-28T00:00Z")
    assert (turned.code, len(turned.error_lines)) == (2, 1)


def test_schedules_are_removed_by_name(shell: Shell) -> None:
    for name in ("one", "two", "three"):
        put(shell, name, every(60))
    asked = shell("schedules", "remove", "one", "two")
    assert asked.code == 2
    assert asked.error_lines == ["error: this deletes 2 schedules, one, two", "  say --yes to do so"]
    mistyped = shell("schedules", "remove", "one", "tow", "--yes")
    assert (mistyped.code, mistyped.error_lines[1]) == (1, "  did you mean two?")
    removed = shell("schedules", "remove", "one", "two", "--yes")
    assert (removed.code, removed.out, removed.err) == (0, "one removed\ntwo removed\n", "")
    assert data(shell("schedules", "remove", "three", "--yes", "--json")) == {"removed": ["three"]}
    assert shell("schedules", "remove").code == 2


DECLARING = """
from nursery_tasks import every

app.schedule("kept", greet.job("Ada"), every(hours=100))
"""


def test_what_stands_in_no_code_any_more_is_pruned(shell: Shell) -> None:
    module = (shell.directory / "tasks_here.py").read_text()
    shell.write("tasks_here.py", module + DECLARING + 'app.schedule("gone", greet.job("Ada"), every(hours=100))\n')
    worker = shell.worker("--json")
    put(shell, "by_hand", every(hours=100))
    put(shell, "theirs", every(hours=100), definition={"declared": True, "home": "billing"})
    assert "the code of an app (billing), whose workers put it" in shell("schedules", "show", "theirs").out
    assert data(shell("schedules", "show", "kept", "--json"))["home"] == "tasks_here"
    shell.write("tasks_here.py", module + DECLARING)
    assert shell("schedules", "remove", "--prune").error_lines == [
        "error: --prune compares with the code of an app, and none is named",
        "  nursery-tasks schedules remove --prune --app module:app",
    ]
    others = "other apps than tasks_here have declared theirs: to delete one, name it"
    asked = shell("schedules", "remove", "--prune", "--app", "tasks_here:app")
    assert asked.error_lines[:2] == [others, "error: this deletes 1 schedule, gone"]
    pruned = shell("schedules", "remove", "--prune", "--app", "tasks_here:app", "--yes")
    assert (pruned.code, pruned.out, pruned.error_lines) == (0, "gone removed\n", [others])
    again = shell("schedules", "remove", "--prune", "--app", "tasks_here:app", "--yes")
    nothing = "nothing to remove: each schedule that came from the code of this app still stands there"
    assert again.error_lines == [others, nothing]
    assert [each["name"] for each in data(shell("schedules", "--json"))] == ["by_hand", "kept", "theirs"]
    removed = shell("schedules", "remove", "kept", "--yes")
    assert removed.err == "kept came from an app's code: while it stands there, the next worker that starts puts it again\n"
    assert worker.process.poll() is None


# --- the doctor -----------------------------------------------------------------------------------------------------------


def findings(ended: Ended) -> dict[str, tuple[str, str, str]]:
    return {each["what"]: (each["level"], each["text"], each["step"]) for each in data(ended)["findings"]}


def beat(shell: Shell, **facts: Any) -> None:
    record = WorkerRecord(name="here", node=socket.gethostname(), pid=os.getpid(), queues=("default",), slots=1, **facts)
    admin = shell.app.sync.broker().admin
    assert admin is not None
    admin.beat(record, 100.0)


def test_doctor_says_nothing_where_there_are_no_schedules(shell: Shell) -> None:
    shell("call", "greet", "Ada", "--no-wait")
    assert not [what for what in findings(shell("doctor", "--json")) if what.startswith("schedule")]


def test_doctor_finds_broken_and_paused_schedules(shell: Shell) -> None:
    beat(shell)
    put(shell, "fine", at(datetime(2999, 1, 1, tzinfo=UTC)))
    put(shell, "resting", every(60), {"paused": True, "note": "month's end"})
    ended = shell("doctor", "--json")
    assert ended.code == 0
    found = findings(ended)
    assert found["schedules"][:2] == ("ok", found["schedules"][1])
    assert found["schedules"][1].startswith("2 schedules; next fine 2999-01-01 01:00, in ")
    assert found["schedule resting"] == ("warning", "paused: month's end", "nursery-tasks schedules resume resting")
    put(shell, "lost", every(60), {"error": "no worker knows the task 'greet'"})
    ended = shell("doctor", "--json")
    assert ended.code == 1
    assert findings(ended)["schedule lost"] == (
        "problem",
        "broken: no worker knows the task 'greet'",
        "start a worker whose code fits, or nursery-tasks schedules remove lost",
    )


def test_doctor_finds_late_schedules_and_who_should_run_them(shell: Shell) -> None:
    put(shell, "nightly", every(hours=24), {"next_slot": LONG_AGO})
    put(shell, "hourly", every(hours=1), {"next_slot": LONG_AGO + timedelta(hours=1)})
    ended = shell("doctor", "--json")
    assert ended.code == 1
    years = (datetime.now(UTC) - LONG_AGO).days / 365.25
    text = f"2 schedules late: nightly was due {years:.0f} years ago, and nobody runs it"
    assert findings(ended)["schedules late"] == ("problem", text, "no worker is running: nursery-tasks run module:app")
    beat(shell, schedules=False)
    step = "all workers run with --no-schedules: nursery-tasks tick module:app, or start one without it"
    found = findings(shell("doctor", "--json"))
    assert found["schedules late"] == ("problem", text, step)
    assert found["worker"][1].endswith("0 of 1 slots busy, queues default; it runs no schedules")
    beat(shell)
    step = "here should run them, and its log says what holds it up"
    assert findings(shell("doctor", "--json"))["schedules late"] == ("problem", text, step)
