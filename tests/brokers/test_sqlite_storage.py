"""What the file keeps: through a kill, on a full disk, over long times, and while the clock is set."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker, maintenance, reserve
from nursery_tasks.brokers.sqlite.clock import GRACE_SECONDS, BrokerClock
from nursery_tasks.brokers.sqlite.failures import to_broker_error
from nursery_tasks.brokers.sqlite.settling import needs_disk
from nursery_tasks.errors import BrokerFull, BrokerUnavailable
from nursery_tasks.model.delivery import Progressed, Released, Retried, Started
from nursery_tasks.model.states import JobState
from nursery_tasks.model.windows import Window
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.contract.steps import (
    claim,
    claim_one,
    expect_state,
    job,
    settle,
    stored,
    submit,
    submit_and_claim,
    succeeded,
)

OpenBroker = Callable[..., SqliteBroker]


# --- kill -9 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 50])
def test_every_acknowledged_job_survives_a_kill(path: Path, batch: int) -> None:
    program = """
import itertools, sys
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract.steps import job
broker = SqliteBroker(sys.argv[1])
batch = int(sys.argv[2])
for first in itertools.count(0, batch):
    broker.submit([job(f"job-{number}") for number in range(first, first + batch)])
    print(first + batch, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program, path, str(batch)], stdout=subprocess.PIPE, text=True) as producer:
        assert producer.stdout is not None
        lines = list(itertools.islice(producer.stdout, 30))
        producer.send_signal(signal.SIGKILL)
        lines += list(producer.stdout)  # what it had still said
    acknowledged = int(lines[-1])
    broker = SqliteBroker(path)
    assert None not in broker.outcomes([f"job-{number}" for number in range(acknowledged)])
    assert len(claim(broker, 1_000_000)) in (acknowledged, acknowledged + batch)  # stored, and killed before it could say so
    broker.close()


def test_what_a_power_failure_may_lose_is_not_synced(broker: SqliteBroker) -> None:
    delivery = submit_and_claim(broker)
    assert not needs_disk([Started(delivery), Progressed(delivery, b"1")])
    assert needs_disk([Started(delivery), succeeded(delivery)])
    assert needs_disk([Retried(delivery, 1.0)])
    assert needs_disk([Released(delivery)])
    assert needs_disk([Started(delivery, promised=True)])  # its handler waits for this: it may be what takes the machine down


def test_synchronous_is_set_for_each_call(open_broker: OpenBroker, tmp_path: Path) -> None:
    broker, careless = open_broker(), open_broker(tmp_path / "careless.db", synchronous="normal")

    def level(of: SqliteBroker) -> Any:
        return of._database._writer.pragma("synchronous")

    full, normal = 2, 1
    submit(broker, "a")
    assert level(broker) == full
    delivery = claim_one(broker, "a")
    assert level(broker) == normal
    settle(broker, Started(delivery))
    assert level(broker) == normal
    settle(broker, succeeded(delivery))
    assert level(broker) == full
    submit(careless, "a")
    assert level(careless) == normal


# --- a full disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 16 MiB."""
    with tempfile.TemporaryDirectory(prefix="nt") as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], capture_output=True).returncode:
            pytest.skip("mounting a small file system needs root")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Use up all the space there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1_000_000, 4_096):
            while True:
                try:
                    if file.write(bytes(size)) < size:
                        break
                except OSError:
                    break
    return ballast


def test_on_a_full_disk_producers_are_refused_and_workers_finish(small_disk: Path, open_broker: OpenBroker) -> None:
    broker = open_broker(small_disk / "jobs.db")
    reserve_file = small_disk / "jobs.db-reserve"
    submit(broker, *(f"job-{number}" for number in range(100)))
    deliveries = claim(broker, 100)
    ballast = fill(small_disk)
    with pytest.raises(BrokerFull, match="the disk is full; free some space on it"):
        submit(broker, *(job(f"more-{number}", payload=bytes(1_000)) for number in range(1_000)))
    assert reserve_file.exists()  # producers do not get it
    settle(broker, *(succeeded(delivery, b'"' + b"x" * 10_000 + b'"') for delivery in deliveries))
    assert not reserve_file.exists()
    with pytest.raises(BrokerFull, match="the disk is nearly full; free some space on it"):
        broker.submit([job("not yet")])
    expect_state(broker, JobState.SUCCEEDED, *(delivery.id for delivery in deliveries))
    ballast.unlink()
    broker.sweep(10)
    assert reserve_file.exists()
    submit(broker, "at last")


def test_a_full_disk_keeps_the_inbox_where_it_is(small_disk: Path, open_broker: OpenBroker) -> None:
    broker = open_broker(small_disk / "jobs.db")
    submit(broker, "a")
    theirs = apsw.Connection(str(small_disk / "jobs.db"))
    theirs.execute("INSERT INTO inbox (queue, body) VALUES ('work', zeroblob(100000))")
    fill(small_disk)
    assert len(claim(broker)) == 1
    assert theirs.execute("SELECT count(*) FROM inbox").get == 1
    theirs.close()


def test_a_file_that_may_not_grow_is_full(broker: SqliteBroker) -> None:
    submit(broker, "a")
    pages = broker._database._writer.pragma("page_count")
    broker._database._writer.pragma("max_page_count", pages)
    with pytest.raises(BrokerFull, match="the disk is full"):
        broker.submit([job("big", payload=bytes(100_000))])
    assert broker.outcomes(["big"]) == [None]
    settle(broker, succeeded(claim_one(broker, "a")))


def test_without_room_there_is_no_reserve(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "_ROOM_BYTES", 2**62)
    kept = reserve.Reserve(path)
    assert not kept.is_there
    assert not kept.release()
    monkeypatch.undo()
    assert kept.restore()
    assert kept.path.stat().st_size == reserve.RESERVE_BYTES


def no_allocation(file: int, offset: int, length: int) -> None:
    raise OSError(errno.EOPNOTSUPP, "not here")


def test_a_file_system_that_cannot_allocate_is_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", no_allocation, raising=False)
    assert reserve.Reserve(path).path.stat().st_size == reserve.RESERVE_BYTES


def test_where_no_reserve_can_be_made_nobody_is_refused(
    open_broker: OpenBroker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "_allocate", lambda file, text: no_allocation(file, 0, 0))
    broker = open_broker()
    assert not broker._database.reserve.is_there
    submit(broker, "a")


@pytest.mark.parametrize(
    ("error", "ours", "text"),
    [
        (apsw.BusyError("database is locked"), BrokerUnavailable, "kept the file locked for too long (database is locked)"),
        (apsw.CorruptError("malformed"), BrokerUnavailable, "the file is damaged (malformed); stop all programs"),
        (apsw.IOError("disk I/O error"), BrokerUnavailable, "the disk has failed to read or write"),
        (apsw.FullError("full"), BrokerFull, "the disk is full; free some space on it"),
        (apsw.MisuseError("what"), BrokerUnavailable, "MisuseError: what"),
    ],
)
def test_each_error_of_the_driver_has_its_words(error: apsw.Error, ours: type[BrokerUnavailable], text: str) -> None:
    translated = to_broker_error("sqlite:///x", error)
    assert type(translated) is ours
    assert text in str(translated)


# --- order in the file ----------------------------------------------------------------------------------------------------


def log_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def test_a_sweep_moves_the_log_into_the_database(broker: SqliteBroker, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(broker, *(job(str(number), payload=bytes(1_000)) for number in range(1_000)))
    before = path.stat().st_size
    broker.sweep(10)
    assert path.stat().st_size == before  # the log is short
    monkeypatch.setattr(maintenance, "SWEEP_PAGES", 100)
    broker.sweep(10)
    assert path.stat().st_size > before
    grown = log_bytes(path)
    submit(broker, *(job(f"more-{number}") for number in range(100)))
    assert log_bytes(path) == grown  # it starts over at its beginning


def test_a_process_without_sweeps_keeps_the_log_short_itself(
    open_broker: OpenBroker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "WRITE_PAGES", 200)
    broker = open_broker()
    for first in range(0, 5_000, 50):
        submit(broker, *(job(str(number), payload=bytes(1_000)) for number in range(first, first + 50)))
    assert path.stat().st_size > 5_000_000
    assert log_bytes(path) < 2_500_000


def test_a_log_that_grew_long_is_cut(broker: SqliteBroker, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SWEEP_PAGES", 100)
    monkeypatch.setattr(maintenance, "TRUNCATE_BYTES", 500_000)
    submit(broker, *(job(str(number), payload=bytes(1_000)) for number in range(1_000)))
    assert log_bytes(path) > 500_000
    broker.sweep(10)
    assert log_bytes(path) == 0


def test_a_reader_that_holds_an_old_state_does_not_stop_a_sweep(
    broker: SqliteBroker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "SWEEP_PAGES", 1)
    monkeypatch.setattr(maintenance, "TRUNCATE_BYTES", 1)
    submit(broker, "a")
    theirs = apsw.Connection(str(path))
    theirs.execute("BEGIN; SELECT count(*) FROM job").fetchall()
    submit(broker, *(str(number) for number in range(100)))
    broker.sweep(10)
    theirs.close()
    assert stored(broker, "a").state is JobState.READY


# --- the clock ------------------------------------------------------------------------------------------------------------


def test_the_clock_goes_on_at_half_speed_after_it_was_set_back() -> None:
    source = ManualClock(1_000.0)
    clock = BrokerClock(source)
    source.advance(-100)
    assert clock() == 1_000
    source.advance(40)
    assert clock() == 1_020
    source.advance(200)
    assert clock() == 1_140  # the source has caught up


def test_the_clock_begins_where_any_process_has_been() -> None:
    source = ManualClock(1_000.0)
    clock = BrokerClock(source, 1_500.0)
    assert clock() == 1_500
    clock.raise_to(1_600)
    source.advance(10)
    assert clock() == 1_605


def test_a_sweep_stores_the_clock_for_who_opens_the_file_next(open_broker: OpenBroker) -> None:
    ahead, behind = ManualClock(2_000.0), ManualClock(1_000.0)
    first = open_broker(clock=ahead)
    first.sweep(10)
    second = open_broker(clock=behind)
    submit(second, job("a", delay_seconds=10))
    assert second.sweep(10).due == 0
    behind.advance(20)  # at half speed
    assert second.sweep(10).due == 1
    ahead.advance(1_000)
    first.sweep(10)
    second.sweep(10)
    submit(second, "b")
    record = second.admin.job("b")
    assert record is not None
    assert record.created_at == 3_000


def test_leases_get_a_grace_after_the_clock_has_leapt() -> None:
    wall, steady = ManualClock(1_000.0), ManualClock(0.0)
    clock = BrokerClock(wall, steady=steady)
    wall.advance(2)
    steady.advance(2)
    clock()
    assert not clock.has_jumped
    wall.advance(3_600)
    assert clock() == 4_602
    assert clock.has_jumped
    wall.advance(GRACE_SECONDS)
    steady.advance(GRACE_SECONDS)
    clock()
    assert not clock.has_jumped


def test_a_sweep_leaves_leases_alone_while_the_machine_wakes_up(broker: SqliteBroker, clock: ManualClock) -> None:
    steady = ManualClock(0.0)
    broker._database.clock = BrokerClock(clock, steady=steady)
    submit(broker, job("later", delay_seconds=60))
    delivery = submit_and_claim(broker)
    submit(broker, job("leased", queue="other", owner=b"owner", owner_seconds=15.0))
    submit(broker, job("awaited", queue="other", owner=delivery.token))
    clock.advance(3_600)  # while the steady clock stands still
    swept = broker.sweep(10)
    assert (swept.due, swept.returned, swept.orphaned) == (1, 0, 0)
    assert [renewal.state for renewal in broker.renew([delivery], 15.0)] == ["held"]
    assert broker.renew_owners([b"owner"], 15.0) == [True]
    settle(broker, Started(delivery))
    clock.advance(20)
    steady.advance(20)
    swept = broker.sweep(10)
    assert (swept.returned, swept.orphaned) == (1, 2)


def test_the_real_clock_is_watched_and_a_test_s_is_not() -> None:
    assert BrokerClock.of(time.time, 0.0)._steady is time.monotonic
    source = ManualClock()
    assert BrokerClock.of(source, 0.0)._steady is source


def test_files_of_a_killed_process_do_not_disturb_the_next(path: Path) -> None:
    program = """
import os, signal, sys
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract.steps import submit
broker = SqliteBroker(sys.argv[1])
broker.listen(["work"], lambda hint: None)
submit(broker, "a")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program, path], timeout=30)
    assert killed.returncode == -signal.SIGKILL
    left = {file.name for file in path.parent.iterdir()}
    assert left == {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-reserve", "jobs.db-hints"}
    broker = SqliteBroker(path)
    claim_one(broker, "a")
    listener = broker.listen(["work"], lambda hint: None)
    submit(broker, "b")  # finds the socket dead
    listener.close()
    broker.close()
    assert sorted(os.listdir(path.parent)) == ["jobs.db", "jobs.db-reserve"]


def test_windows_that_are_over_are_forgotten_a_minute_later(broker: SqliteBroker, path: Path, clock: ManualClock) -> None:
    submit(
        broker,
        job("a", queue="q", window=Window("throttle:n", 60.0)),
        job("b", queue="q", window=Window("debounce:n"), delay_seconds=10.0),
    )
    with_tools = apsw.Connection(str(path))
    seen: list[int] = []
    for seconds in (9, 50, 60, 1):
        clock.advance(seconds)
        broker.sweep(100)
        seen.append(with_tools.execute("SELECT count(*) FROM open_window").get)
    with_tools.close()
    assert seen == [2, 1, 1, 0]  # the sweep that made the debounced job ready took its window along
