"""Schedules: rows with a version, and looks at those whose moment has come. What a change submits is in `firing`."""

from __future__ import annotations

from collections.abc import Sequence

from ...brokers.needed import schedules_of
from ...brokers.parts import Schedules
from ...brokers.protocol import Broker, Feature
from ...model.delivery import Receipt, Submission
from ...model.schedule import MAX_SCHEDULE_BYTES, MAX_SCHEDULE_NAME, ScheduleChange, ScheduleRow
from .harness import ContractHarness, Part, Topic
from .hints import Ear
from .steps import expect, expect_equal, sweep

topic = Topic("schedules", Part.SCHEDULES)

BY_CODE_POINTS = ("", " ", '"quoted"', "Zoë", "a", "a b", "a:b", "aa", "b", "{b}", "é", "日", "\uffee", "😀", "😀a")


def fire(
    broker: Broker, name: str, version: int, look_at: float | None, body: bytes | None, *jobs: Submission
) -> list[Receipt]:
    """Make a change that must be made."""
    receipts = schedules_of(broker).fire(ScheduleChange(name, version, look_at, body, jobs))
    if receipts is None:
        raise AssertionError(f"the change of {name!r} from version {version} must be made, and was not")
    return receipts


def fire_stale(broker: Broker, name: str, version: int, *jobs: Submission, body: bytes | None = b"stale") -> None:
    """Make a change that must not be made."""
    answer = schedules_of(broker).fire(ScheduleChange(name, version, 1.0, body, jobs))
    expect_equal(answer, None, f"the answer to a change of {name!r} from version {version}")


def put(broker: Broker, name: str, look_at: float | None = None, body: bytes = b"body", version: int = 0) -> int:
    """Make or change a schedule; return its version."""
    expect_equal(fire(broker, name, version, look_at, body), [], "the receipts of a change without jobs")
    return row_of(broker, name).version


def remove(broker: Broker, name: str, version: int) -> None:
    fire(broker, name, version, None, None)


def row_of(broker: Broker, name: str) -> ScheduleRow:
    """Look a schedule up that there must be."""
    (row,) = schedules_of(broker).find_schedules([name])
    if row is None:
        raise AssertionError(f"there must be a schedule {name!r}, and there is none")
    return row


def expect_look(broker: Broker, limit: int, names: Sequence[str], next_seconds: float | None) -> None:
    """Look; these must come, in this order."""
    look = schedules_of(broker).look_at_schedules(limit)
    expect_equal([row.name for row in look.rows], list(names), f"those found by a look for {limit}")
    expect_equal(look.next_seconds, next_seconds, f"next_seconds of a look for {limit} that found {list(names)}")


def names_of(schedules: Schedules, limit: int, after: str = "") -> list[str]:
    return [row.name for row in schedules.list_schedules(limit, after)]


@topic.check()
def schedule_is_kept(harness: ContractHarness) -> None:
    """A schedule is kept as it was put; one that nobody has put is not there."""
    broker = harness.open()
    schedules = schedules_of(broker)
    expect_equal(schedules.find_schedules([]), [], "what was found of no names")
    expect_equal(schedules.find_schedules(["a"]), [None], "an unknown schedule")
    first, second = put(broker, "a", 1_700_000_000.123456, b"one"), put(broker, "b", None, b"")
    a, b = ScheduleRow("a", first, 1_700_000_000.123456, b"one"), ScheduleRow("b", second, None, b"")
    expect(first > 0 and second > 0, f"versions are above 0, not {first} and {second}")
    expect_equal(schedules.find_schedules(["b", "ghost", "a", "b"]), [b, None, a, b], "the schedules")
    expect_equal(schedules.list_schedules(10), [a, b], "the list of schedules")


@topic.check()
def schedules_are_listed_by_name(harness: ContractHarness) -> None:
    """Schedules are listed in the order of their names, by code points."""
    broker = harness.open()
    for name in reversed(BY_CODE_POINTS[1:]):
        put(broker, name)
    expect_equal(names_of(schedules_of(broker), 100), list(BY_CODE_POINTS[1:]), "the names")
    expect_equal(names_of(schedules_of(broker), 0), [], "the first 0 names")


@topic.check()
def schedules_are_listed_in_pages(harness: ContractHarness) -> None:
    """A page begins behind any name, also one of which there is no schedule, and has at most as many as were asked for."""
    broker = harness.open()
    schedules = schedules_of(broker)
    for name in BY_CODE_POINTS[1:]:
        put(broker, name)
    pages: list[list[str]] = [names_of(schedules, 4)]
    while pages[-1] and len(pages) < len(BY_CODE_POINTS):
        pages.append(names_of(schedules, 4, pages[-1][-1]))
    expect_equal([name for page in pages for name in page], list(BY_CODE_POINTS[1:]), "the names of all pages")
    expect(all(len(page) <= 4 for page in pages), f"the pages are {pages}")
    expect_equal(names_of(schedules, 2, "aaa"), ["b", "{b}"], "the names behind one that is not there")


@topic.check()
def several_are_changed_at_once(harness: ContractHarness) -> None:
    """Several changes in one call are made or not made each by itself, and their hints and looks are as those of one."""
    broker = harness.open()
    schedules = schedules_of(broker)
    old, gone = put(broker, "old", 5.0), put(broker, "gone", 5.0)
    ear = Ear(harness, broker, "schedule")
    changes = [
        ScheduleChange("stale", 7, 5.0, b"never"),
        ScheduleChange("new", 0, 7.0, b"one"),
        ScheduleChange("gone", gone),
        ScheduleChange("old", old, None, b"two"),
        ScheduleChange("new", 0, 5.0, b"too late"),
    ]
    expect_equal(schedules.change_schedules(changes), [False, True, True, True, False], "which of the changes were made")
    for name in ("new", "gone", "old"):
        ear.wait_for("schedule", name, "a change among others")
    ear.listener.close()
    rows = schedules.list_schedules(10)
    found = [(row.name, row.look_at, row.body) for row in rows]
    expect_equal(found, [("new", 7.0, b"one"), ("old", None, b"two")], "the schedules")
    expect(rows[1].version not in (old, gone) and rows[0].version != rows[1].version, f"the versions are old ones: {rows}")
    expect_equal(schedules.change_schedules([]), [], "the answer to no changes")
    many = [ScheduleChange(f"many-{number:03}", 0, 5.0, b"body") for number in range(200)]
    expect_equal(schedules.change_schedules(many), [True] * 200, "which of 200 changes were made")
    expect_equal(len(schedules.list_schedules(1_000)), 202, "how many schedules there are")


@topic.check()
def names_and_bodies_are_free(harness: ContractHarness) -> None:
    """Names of up to 150 characters of any kind, and bodies of any bytes up to the greatest, are kept, changed and removed."""
    broker = harness.open()
    names = ("it's", 'a "b"', "%s\\n\n\t", "é" * MAX_SCHEDULE_NAME, "😀" * MAX_SCHEDULE_NAME, "null", "0", "a,b;c*?[x]")
    bodies = (bytes(range(256)), b"\x00", bytes(range(256)) * (MAX_SCHEDULE_BYTES // 256))
    for name in names:
        version = 0
        for body in bodies:
            version = put(broker, name, 5.0, body, version)
            expect_equal(row_of(broker, name), ScheduleRow(name, version, 5.0, body), "the schedule")
        remove(broker, name, version)
        expect_equal(schedules_of(broker).find_schedules([name]), [None], f"the removed schedule {name!r}")


@topic.check()
def only_what_is_current_changes(harness: ContractHarness) -> None:
    """A change is made from the current version only; one from another version leaves all as it was."""
    broker = harness.open()
    fire_stale(broker, "a", 1)
    expect_equal(schedules_of(broker).find_schedules(["a"]), [None], "a schedule that was changed before there was one")
    first = put(broker, "a", 10.0, b"first")
    second = put(broker, "a", 20.0, b"second", first)
    expect(first != second, f"the version must be another one after a change, and was {first} twice")
    for version in (0, first, second + 1, -1):
        fire_stale(broker, "a", version)
        fire_stale(broker, "a", version, body=None)
    expect_equal(row_of(broker, "a"), ScheduleRow("a", second, 20.0, b"second"), "the schedule after changes that were late")


@topic.check()
def versions_never_come_back(harness: ContractHarness) -> None:
    """A schedule that was removed and put again has a version that it never had before, however often that happens."""
    broker = harness.open()
    seen: list[int] = []
    for _ in range(3):
        seen.append(put(broker, "a"))
        seen.append(put(broker, "a", version=seen[-1]))
        remove(broker, "a", seen[-1])
        for version in seen:
            fire_stale(broker, "a", version)
    expect_equal(len(set(seen)), len(seen), f"how many versions there were, among {seen}")
    put(broker, "a", body=b"latest")
    for version in seen:
        fire_stale(broker, "a", version)
    expect_equal(row_of(broker, "a").body, b"latest", "the body")


@topic.check()
def removed_schedule_is_gone(harness: ContractHarness) -> None:
    """A schedule that was removed is neither found nor listed nor looked at; to remove it again changes nothing."""
    broker = harness.open()
    kept, gone = put(broker, "kept", 1.0), put(broker, "gone", 1.0)
    remove(broker, "gone", gone)
    expect_equal(schedules_of(broker).find_schedules(["gone"]), [None], "the removed schedule")
    expect_equal([row.version for row in schedules_of(broker).list_schedules(10)], [kept], "the versions of what is listed")
    expect_look(broker, 10, ["kept"], None)
    fire_stale(broker, "gone", gone, body=None)


@topic.check(clock=True)
def look_finds_what_is_due(harness: ContractHarness) -> None:
    """A look finds a schedule from its moment on, and as often as somebody looks; it tells the time, and changes nothing."""
    broker = harness.open()
    version = put(broker, "a", harness.now() + 10, b"body")
    expect_look(broker, 10, [], 10)
    harness.advance(9.5)
    expect_look(broker, 10, [], 0.5)
    harness.advance(0.5)
    row = ScheduleRow("a", version, harness.now(), b"body")
    for _ in range(2):
        look = schedules_of(broker).look_at_schedules(10)
        expect_equal((look.now, list(look.rows), look.next_seconds), (harness.now(), [row], None), "the look")
    expect_equal(row_of(broker, "a"), row, "the schedule")


@topic.check(clock=True)
def most_overdue_comes_first(harness: ContractHarness) -> None:
    """A look finds the most overdue first, and no more than it asks for; it says when the next one is due."""
    broker = harness.open()
    expect_look(broker, 10, [], None)
    begun = harness.now()
    for name, seconds in {"d": 5, "b": 2, "c": 3, "a": 4, "later": 60, "B": 2}.items():
        put(broker, name, begun + seconds)
    harness.advance(6)
    expect_look(broker, 0, [], 0)
    expect_look(broker, 1, ["B"], 0)
    expect_look(broker, 4, ["B", "b", "c", "a"], 0)
    expect_look(broker, 5, ["B", "b", "c", "a", "d"], 54)
    expect_look(broker, 100, ["B", "b", "c", "a", "d"], 54)


@topic.check(clock=True)
def change_moves_the_look(harness: ContractHarness) -> None:
    """After a change only the new moment counts, be it sooner or later than the old one."""
    broker = harness.open()
    begun = harness.now()
    version = put(broker, "a", begun + 10)
    version = put(broker, "a", begun + 5, version=version)
    harness.advance(5)
    expect_look(broker, 10, ["a"], None)
    put(broker, "a", begun + 20, version=version)
    expect_look(broker, 10, [], 15)
    harness.advance(10)
    expect_look(broker, 10, [], 5)


@topic.check(clock=True)
def paused_schedule_is_not_looked_at(harness: ContractHarness) -> None:
    """A schedule without a moment is never looked at, until a change gives it one again."""
    broker = harness.open()
    version = put(broker, "a", harness.now() + 5)
    version = put(broker, "a", None, version=version)
    harness.advance(1_000_000)
    expect_look(broker, 10, [], None)
    expect_equal(sweep(broker).next_schedule_seconds, None, "next_schedule_seconds when all are paused")
    put(broker, "a", harness.now(), version=version)
    expect_look(broker, 10, ["a"], None)


@topic.check(clock=True)
def clock_may_be_set(harness: ContractHarness) -> None:
    """A clock that is set back and forth loses no schedule, brings none early, and lets none be changed twice."""
    broker = harness.open()
    version = put(broker, "a", harness.now() + 10, b"first")
    harness.advance(-3600)  # some brokers go on with the time that they had reached, others follow
    expect_equal(list(schedules_of(broker).look_at_schedules(10).rows), [], "those found on a clock that was set back")
    harness.advance(3610)
    expect_look(broker, 10, ["a"], None)
    harness.advance(-3600)
    harness.advance(3600)
    expect_look(broker, 10, ["a"], None)
    put(broker, "a", harness.now() + 86_400, b"second", version)
    fire_stale(broker, "a", version)
    harness.advance(-3600)
    expect_equal(row_of(broker, "a").body, b"second", "the body on a clock that was set back")
    expect_equal(list(schedules_of(broker).look_at_schedules(10).rows), [], "those found on a clock that was set back")
    harness.advance(90_000)
    expect_look(broker, 10, ["a"], None)


@topic.check(clock=True)
def sweep_says_when_to_look(harness: ContractHarness) -> None:
    """A sweep says when the next look is due, and 0 for as long as nobody has looked and changed what was due."""
    broker = harness.open()
    begun = harness.now()
    expect_equal(sweep(broker).next_schedule_seconds, None, "next_schedule_seconds without schedules")
    b = put(broker, "b", begun + 20)
    expect_equal(sweep(broker).next_schedule_seconds, 20, "next_schedule_seconds")
    a = put(broker, "a", begun + 12)
    expect_equal(sweep(broker).next_schedule_seconds, 12, "next_schedule_seconds when there is a sooner one")
    for _ in range(2):
        harness.advance(10)
        sweep(broker)
    expect_equal(sweep(broker).next_schedule_seconds, 0, "next_schedule_seconds of two that are due")
    remove(broker, "a", a)
    put(broker, "b", begun + 25, version=b)
    expect_equal(sweep(broker).next_schedule_seconds, 5, "next_schedule_seconds after a change")


@topic.check()
def changes_are_told(harness: ContractHarness) -> None:
    """Each change of a schedule is a hint: when it is put, changed and removed."""
    broker = harness.open()
    ear = Ear(harness, broker, "schedule")
    name = 'é "😀"\'s'
    version = put(broker, name)
    ear.wait_for("schedule", name, "a new schedule")
    ear.forget()
    version = put(broker, name, 5.0, version=version)
    ear.wait_for("schedule", name, "the change of a schedule")
    ear.forget()
    remove(broker, name, version)
    ear.wait_for("schedule", name, "the removal of a schedule")


@topic.check(Feature.SHARED)
def changes_are_told_elsewhere(harness: ContractHarness) -> None:
    """The change of a schedule is seen on another connection, and is a hint there."""
    here, there = harness.open(), harness.open()
    ear = Ear(harness, there, "schedule")
    version = put(here, "a", 5.0, b"first")
    ear.wait_for("schedule", "a", "a new schedule on another connection")
    expect_equal(row_of(there, "a"), ScheduleRow("a", version, 5.0, b"first"), "the schedule on another connection")
    put(there, "a", None, b"second", version)
    fire_stale(here, "a", version)
    expect_equal(row_of(here, "a").body, b"second", "the body on the first connection")


@topic.check(Feature.DURABLE)
def schedules_survive(harness: ContractHarness) -> None:
    """Schedules outlive a close, and so do versions: what was removed before gets none that it had."""
    broker = harness.open()
    put(broker, "paused", None, b"\xff\x00")
    put(broker, "due", 1.5, b"due")
    gone = put(broker, "gone")
    remove(broker, "gone", gone)
    rows = schedules_of(broker).list_schedules(10)
    broker = harness.reopen()
    expect_equal(schedules_of(broker).list_schedules(10), rows, "the schedules after a close")
    expect_look(broker, 10, ["due"], None)
    expect(put(broker, "gone") != gone, "the version of a schedule that was put again after a close was an old one")
    fire_stale(broker, "gone", gone)
