"""Files that were made by older versions of the tables: they are brought up to this one, and nothing in them is lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Barrier, Thread

import apsw
import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker, connection
from nursery_tasks.brokers.sqlite.schema import MIGRATIONS, SCHEMA_VERSION
from nursery_tasks.errors import BrokerUnreachable
from nursery_tasks.model.delivery import Delivery, LeaseState, Renewal
from nursery_tasks.model.limits import Limit
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.model.reasons import OWNER_ENDED
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract import Check, ContractHarness, ManualClock, checks
from nursery_tasks.testing.contract.steps import (
    claim_one,
    expect_cancelled,
    expect_claimable,
    ids_of,
    job,
    settle,
    settle_stale,
    submit,
    succeeded,
)

TABLES = {number: (Path(__file__).parent / f"version_{number}.sql").read_text() for number in MIGRATIONS}
JOBS = """
INSERT INTO job (id, queue, task, state, priority, attempts, at, due, token, worker, max_crashes, keep, created, key, payload)
VALUES
    ('gone', 'work', 't', 4, 0, 1, 0, 1700000000, NULL, 'w', 3, 60, 1700000000, NULL, x'60'),
    ('done', 'work', 't', 4, 0, 1, 1700086400, 1700000000, NULL, 'w', 3, 86400, 1700000000, NULL, x'61'),
    ('held', 'work', 't', 3, 0, 1, 1700000015, 1700000000, x'000102030405060708090a0b0c0d0e0f',
        'w', 3, 60, 1700000000, 'k', x'62'),
    ('ready', 'work', 't', 1, 0, 0, NULL, 1700000000, NULL, NULL, 3, 60, 1699999990, NULL, x'63'),
    ('newest', 'work', 't', 1, 0, 0, NULL, 1700000000, NULL, NULL, 3, 60, 1700000000, NULL, x'64');
DELETE FROM job WHERE id IN ('gone', 'newest');
"""
NOW = 1_700_000_000.0
INSERT_OF_OLD_VERSIONS = """
    INSERT INTO job (id, queue, task, state, priority, at, due, expires, max_crashes, keep, created, key, parent, payload)
    VALUES ('late', 'work', 't', 1, 0, NULL, 0, NULL, 3, 60, 0, NULL, NULL, x'65')
"""


@pytest.fixture(params=MIGRATIONS)
def old(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def make_old_file(path: Path, number: int, rows: str = "") -> None:
    file = sqlite3.connect(path)
    file.executescript(TABLES[number] + rows)
    file.close()


def describe(path: Path) -> dict[str, set[str]]:
    """Return the names of all tables, views and indexes, with the columns of what has columns."""
    file = sqlite3.connect(path)
    try:
        names = [name for (name,) in file.execute("SELECT name FROM sqlite_schema")]
        return {name: {column[1] for column in file.execute(f"PRAGMA table_info('{name}')")} for name in names}
    finally:
        file.close()


def version(path: Path) -> int:
    file = sqlite3.connect(path)
    found: int = file.execute("PRAGMA user_version").fetchone()[0]
    file.close()
    return found


def test_an_old_file_gets_the_tables_of_a_new_one(tmp_path: Path, old: int) -> None:
    make_old_file(tmp_path / "old.db", old)
    for name in ("old.db", "new.db"):
        SqliteBroker(tmp_path / name).close()
    assert describe(tmp_path / "old.db") == describe(tmp_path / "new.db")
    assert version(tmp_path / "old.db") == version(tmp_path / "new.db") == SCHEMA_VERSION


def test_jobs_of_an_old_file_go_on(path: Path, old: int) -> None:
    make_old_file(path, old, JOBS)
    broker = SqliteBroker(path, clock=ManualClock(NOW))
    try:
        found = {record.id: record for record in broker.admin.list_jobs(JobFilter(), 10)}
        assert [(record.id, record.state, record.cursor) for record in found.values()] == [
            ("done", JobState.SUCCEEDED, 2),
            ("held", JobState.STARTED, 3),
            ("ready", JobState.READY, 4),
        ]
        assert {(record.owned, record.unresponsive, record.tags) for record in found.values()} == {(False, False, ())}
        delivery = claim_one(broker, "ready")
        assert (delivery.age_seconds, delivery.owned, delivery.payload) == (10.0, False, b"c")
        held = Delivery("held", "work", "t", b"b", bytes(range(16)), address=3)
        assert broker.renew([held], 15.0) == [Renewal(LeaseState.HELD)]
        submit(broker, job("child", owner=delivery.token, tags=("x",)))
        settle(broker, succeeded(held), succeeded(delivery))
        expect_cancelled(broker, "child", OWNER_ENDED)
        assert broker.admin.list_jobs(JobFilter(tag="x"), 10)[0].cursor == 6  # no number is given twice
    finally:
        broker.close()


def test_a_program_of_the_old_version_may_have_it_open(path: Path, old: int) -> None:
    make_old_file(path, old)
    theirs = apsw.Connection(str(path))
    assert theirs.execute("SELECT count(*) FROM job").get == 0
    broker = SqliteBroker(path)
    try:
        theirs.execute(INSERT_OF_OLD_VERSIONS)
        expect_claimable(broker, "late")
        assert theirs.execute("SELECT id, state FROM job").fetchall() == [("late", 2)]
    finally:
        broker.close()
        theirs.close()


def test_many_open_an_old_file_at_once(path: Path, old: int) -> None:
    make_old_file(path, old, JOBS)
    barrier = Barrier(8)
    found: list[list[str]] = []

    def open_it() -> None:
        barrier.wait()
        broker = SqliteBroker(path)
        found.append(ids_of(broker.admin.list_jobs(JobFilter(), 10)))
        broker.close()

    threads = [Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["done", "held", "ready"]] * 8


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, old: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old_file(path, old, JOBS)
    before = describe(path)
    monkeypatch.setattr(connection, "MIGRATIONS", {old: f"{MIGRATIONS[old]}; INSERT INTO no_such_table VALUES (1)"})
    with pytest.raises(BrokerUnreachable):
        SqliteBroker(path)
    assert (describe(path), version(path)) == (before, old)
    monkeypatch.undo()
    SqliteBroker(path).close()
    assert version(path) == SCHEMA_VERSION


@pytest.mark.parametrize("check", checks, ids=lambda check: f"{check.topic}-{check.name}".replace(" ", "_"))
def test_an_old_file_keeps_the_contract(check: Check, path: Path) -> None:
    make_old_file(path, 1)
    clock = ManualClock()
    harness = ContractHarness(lambda: SqliteBroker(path, clock=clock), clock=clock)
    try:
        check.run(harness)
    finally:
        harness.close()


def test_a_program_of_an_older_version_that_has_it_open_leaves_no_gate_and_no_place_behind(path: Path, old: int) -> None:
    make_old_file(path, old)
    theirs = apsw.Connection(str(path))
    broker = SqliteBroker(path)
    one = Limit("concurrency:one", most=1)
    try:
        submit(broker, *[job(name, limits=(one,)) for name in "abc"])
        a = claim_one(broker, "a")
        expect_claimable(broker)
        theirs.execute("UPDATE job SET state = 2, token = x'00', at = 0 WHERE id = 'b'")  # it does not heed limits
        theirs.execute("UPDATE job SET state = 4, token = NULL, at = 0 WHERE id IN ('a', 'b')")
        settle_stale(broker, succeeded(a))
        settle(broker, succeeded(claim_one(broker, "c")))
        assert broker.limits.list_limits(10) == []
        assert [theirs.execute(f"SELECT count(*) FROM {table}").get for table in ("gate", "held")] == [0, 0]
    finally:
        broker.close()
        theirs.close()
