"""One file, many users: brokers in this process and in others, and programs that have only SQLite."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Barrier, Thread

import apsw
import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker, cancelling, claiming, inbox, owning, settling, submitting, sweeping
from nursery_tasks.brokers.sqlite.connection import BusyHandler
from nursery_tasks.brokers.sqlite.statements import BatchStatement, PackedQuery
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Delivery, Finished, Receipt, Started, Unresponsive
from nursery_tasks.model.listing import JobFilter
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.contract.steps import (
    claim,
    claim_one,
    expect_state,
    ids_of,
    job,
    record,
    settle,
    stored,
    submit,
    succeeded,
)
from nursery_tasks.testing.contract.steps import packed as packed_outcome

OpenBroker = Callable[..., SqliteBroker]


def with_python(path: Path, *statements: str) -> str:
    """Run statements with Python's own sqlite3, in a process without this package; return the rows as JSON.

    Never in this process: it is another library there, and when it closes the file the locks of ours are gone.
    """
    program = """
import json, sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    for statement in sys.argv[2:]:
        rows = connection.execute(statement).fetchall()
print(json.dumps(rows))
"""
    done = subprocess.run([sys.executable, "-c", program, path, *statements], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- competing ------------------------------------------------------------------------------------------------------------


def test_two_brokers_get_each_of_many_jobs_once(open_broker: OpenBroker) -> None:
    brokers = [open_broker(), open_broker()]
    submit(brokers[0], *(f"job-{number}" for number in range(1_000)))
    together = Barrier(len(brokers))
    taken: list[list[Delivery]] = [[] for _ in brokers]

    def work(broker: SqliteBroker, mine: list[Delivery]) -> None:
        together.wait()
        while deliveries := claim(broker, 7):
            settle(broker, *(succeeded(delivery) for delivery in deliveries))
            mine += deliveries

    run_together([Thread(target=work, args=pair) for pair in zip(brokers, taken, strict=True)])
    ids = [delivery.id for mine in taken for delivery in mine]
    assert len(ids) == len(set(ids)) == 1_000
    expect_state(brokers[0], JobState.SUCCEEDED, *ids)


def test_threads_may_share_one_broker(broker: SqliteBroker) -> None:
    def use(number: int) -> None:
        for turn in range(20):
            submit(broker, job(f"{number}-{turn}", queue=f"queue-{number}"))
            (delivery,) = broker.claim([f"queue-{number}"], 1, "worker", 15.0)
            assert broker.settle([Started(delivery), succeeded(delivery)]) == [True, True]
            assert stored(broker, delivery.id).state is JobState.SUCCEEDED

    run_together([Thread(target=use, args=(number,)) for number in range(4)])


def test_four_processes_work_on_one_file(broker: SqliteBroker, path: Path) -> None:
    program = """
import sys
from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.testing.contract.steps import claim, settle, succeeded
broker = SqliteBroker(sys.argv[1])
done = 0
while deliveries := claim(broker, 5):
    settle(broker, *(succeeded(delivery) for delivery in deliveries))
    done += len(deliveries)
print(done)
broker.close()
"""
    submit(broker, *(f"job-{number}" for number in range(500)))
    workers = [subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    counts = [int(worker.communicate(timeout=50)[0]) for worker in workers]
    assert sum(counts) == 500
    (queue,) = broker.admin.list_queues()
    assert queue.counts == {JobState.SUCCEEDED: 500}


def run_together(threads: Sequence[Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_writer_that_keeps_the_lock_is_waited_for_and_then_reported(open_broker: OpenBroker, path: Path) -> None:
    broker = open_broker(busy_seconds=0.05)
    submit(broker, "a")
    theirs = apsw.Connection(str(path))
    theirs.execute("BEGIN IMMEDIATE")
    with pytest.raises(BrokerUnavailable, match="other processes kept the file locked for too long"):
        broker.submit([job("b")])
    assert stored(broker, "a").state is JobState.READY  # reading goes on
    theirs.execute("COMMIT")
    theirs.close()
    submit(broker, "b")


def test_patience_ends_in_time() -> None:
    handler = BusyHandler(0.02)
    begun = time.monotonic()
    tries = 0
    while handler(tries):
        tries += 1
    assert time.monotonic() - begun >= 0.02
    assert tries > 3
    assert handler(0)  # the next wait begins anew


# --- batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 5, 63, 64, 65, 256, 257, 600])
def test_batches_of_any_size_are_complete(broker: SqliteBroker, size: int) -> None:
    ids = [f"job-{number}" for number in range(size)]
    submit(broker, *ids)
    deliveries = claim(broker, size)
    assert ids_of(deliveries) == ids
    assert {renewal.state for renewal in broker.renew(deliveries, 15.0)} == {"held"}
    settle(broker, *(Finished(d, JobState.SUCCEEDED, packed_outcome(reason=d.id)) for d in deliveries))
    for found, job_id in zip(broker.outcomes(ids), ids, strict=True):
        assert found is not None
        assert found.outcome == packed_outcome(reason=job_id)


def test_payloads_of_any_bytes_come_back(broker: SqliteBroker) -> None:
    payloads = [b"", b"\x00", b"\xff\xfe\x00", bytes(range(256)), "ünï".encode(), b"x" * 100_000, b""]
    submit(broker, *(job(str(number), payload=payload) for number, payload in enumerate(payloads)))
    assert [delivery.payload for delivery in claim(broker)] == payloads


def test_a_packed_query_returns_what_the_plain_one_does() -> None:
    connection = apsw.Connection(":memory:")
    source = "FROM (SELECT 1 AS n, 'a' AS t, NULL AS b UNION ALL SELECT 2, 'b', x'' UNION ALL SELECT 3, 'c', x'00ff')"
    query = PackedQuery(["n", "t"], "b", source)
    rows = [(1, "a", None), (2, "b", b""), (3, "c", b"\x00\xff")]
    assert query.fetch(connection.cursor()) == rows
    assert connection.execute(query.plain).fetchall() == rows
    assert PackedQuery(["n", "t"], "b", f"{source} WHERE n > 3").fetch(connection.cursor()) == []
    connection.close()


def test_what_is_too_big_for_one_row_comes_row_by_row(broker: SqliteBroker) -> None:
    submit(broker, *(job(str(number), payload=bytes([number]) * 1_000) for number in range(20)))
    for connection in broker._database.connections():
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, 10_000)
    deliveries = claim(broker)
    assert [delivery.payload for delivery in deliveries] == [bytes([number]) * 1_000 for number in range(20)]
    settle(broker, *(succeeded(delivery, b'"' + b"x" * 1_000 + b'"') for delivery in deliveries))
    assert None not in broker.outcomes(ids_of(deliveries))


def test_repetitions_inside_a_large_batch_are_found(broker: SqliteBroker) -> None:
    submit(broker, job("old"), job("holder", key="k"))
    batch = [job(f"new-{number}") for number in range(300)]
    batch[50] = job("old")
    batch[100] = job("rival", key="k")
    batch[200] = job("new-3")
    receipts = broker.submit(batch)
    assert receipts[50] == Receipt("old", False)
    assert receipts[100] == Receipt("holder", False)
    assert receipts[200] == Receipt("new-3", False)
    assert sum(receipt.created for receipt in receipts) == 297


FIRST_PARKED = "SCAN job USING COVERING INDEX job_parked"  # `ORDER BY queue LIMIT 1`: that is the first entry


def test_no_hot_statement_walks_through_all_jobs(broker: SqliteBroker, path: Path) -> None:
    """Each finds its rows by a key or a partial index, whatever the number of jobs that are kept or held."""
    connection = apsw.Connection(str(path))
    looked_at = 0
    for module in (submitting, claiming, settling, cancelling, owning, sweeping):
        for name, statement in vars(module).items():
            text = statement.texts[4] if isinstance(statement, BatchStatement) else statement
            if not isinstance(text, str) or not re.search(r"(UPDATE|FROM|INTO|JOIN) job\b", text):
                continue
            if text.lstrip().startswith("EXISTS"):  # a part of other statements, which are looked at
                continue
            numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
            values = (None,) * (max(numbers) if numbers else text.count("?"))
            plan = [str(row[3]) for row in connection.execute(text, values, explain=2)]
            walks = [step for step in plan if step.startswith("SCAN job") and step != FIRST_PARKED]
            assert not walks, f"{module.__name__}.{name}: {plan}"
            looked_at += 1
    connection.close()
    assert looked_at >= 20


# --- programs without this package ----------------------------------------------------------------------------------------


def test_python_s_own_sqlite3_can_read_jobs(broker: SqliteBroker, path: Path) -> None:
    submit(broker, job("a", payload=b'{"task":"add"}', priority=3), job("b", delay_seconds=60))
    settle(broker, succeeded(claim_one(broker, "a")))
    rows = json.loads(with_python(path, "SELECT id, state, priority, message, ended_at FROM jobs ORDER BY seq"))
    assert rows == [
        ["a", "succeeded", 3, '{"task":"add"}', "2023-11-14 22:13:20.000"],
        ["b", "scheduled", 0, '{"task":"tests.task"}', None],
    ]


def test_the_view_shows_tags_owners_and_handlers_that_do_not_end(broker: SqliteBroker, path: Path) -> None:
    submit(broker, job("a", tags=("x", "y")), job("b", owner=b"owner", owner_seconds=15.0))
    first, second = claim(broker)
    settle(broker, Unresponsive(first), Unresponsive(second), succeeded(second))
    rows = json.loads(with_python(path, "SELECT id, tags, owned, unresponsive FROM jobs ORDER BY seq"))
    assert rows == [["a", '["x","y"]', 0, 1], ["b", None, 1, 0]]


def test_a_foreign_program_can_put_a_job_in(broker: SqliteBroker, path: Path) -> None:
    body = '{"task": "add", "args": [1, 2]}'
    with_python(path, f"INSERT INTO inbox (queue, body) VALUES ('work', '{body}')")
    (delivery,) = claim(broker)
    assert (delivery.task, delivery.payload, delivery.attempt) == ("add", body.encode(), 1)
    assert json.loads(with_python(path, "SELECT count(*) FROM inbox")) == [[0]]
    assert claim(broker) == []


def test_a_sweep_takes_the_inbox_in_too(broker: SqliteBroker, path: Path, clock: ManualClock) -> None:
    body = '{"task": "add", "id": "mine", "queue": "other", "priority": 99, "delay": 10, "parent": "p", "tags": ["x"]}'
    with_python(path, f"INSERT INTO inbox (body) VALUES ('{body}')", f"INSERT INTO inbox (body) VALUES ('{body}')")
    assert broker.sweep(10).next_due_seconds == 10
    found = record(broker, "mine")
    assert (found.state, found.queue, found.priority, found.parent) == (JobState.SCHEDULED, "other", 9, "p")
    assert found.tags == ("x",)
    assert len(broker.admin.list_jobs(JobFilter(), 10)) == 1


def test_a_row_with_the_id_of_an_owned_job_detaches_it(broker: SqliteBroker, path: Path) -> None:
    submit(broker, job("mine", owner=b"owner", owner_seconds=15.0))
    with_python(path, 'INSERT INTO inbox (body) VALUES (\'{"task": "add", "id": "mine"}\')')
    broker.sweep(10)
    assert broker.renew_owners([b"owner"], 0.0) == [True]
    assert not claim_one(broker, "mine").owned


def test_a_row_for_no_queue_is_for_the_default_one(broker: SqliteBroker, path: Path) -> None:
    with_python(path, 'INSERT INTO inbox (body) VALUES (\'{"task": "add"}\')')
    (delivery,) = claim(broker, queues=["default"])
    assert delivery.task == "add"


@pytest.mark.parametrize(
    "literal",
    ["'no json'", "'{}'", "'{\"task\": 1}'", "x'ff00fe'", "x'81a1'", "42", "''", f"'{'[' * 100_000}'", "CAST(x'ff' AS TEXT)"],
    ids=["text", "no-task", "wrong-type", "bytes", "half-msgpack", "number", "empty", "deep", "not-utf8"],
)
def test_what_nobody_can_read_becomes_a_job_without_a_task(broker: SqliteBroker, path: Path, literal: str) -> None:
    theirs = apsw.Connection(str(path))
    theirs.execute(f"INSERT INTO inbox (queue, body) VALUES ('work', {literal}), (x'776f726b', '{{\"task\": \"good\"}}')")
    (body,) = theirs.execute("SELECT CAST(body AS BLOB) FROM inbox").fetchall()[0]
    theirs.close()
    bad, good = claim(broker)
    assert (bad.task, bad.payload) == ("", body)
    assert good.task == "good"


def test_two_brokers_take_each_row_in_once(open_broker: OpenBroker, path: Path) -> None:
    here, there = open_broker(), open_broker()
    theirs = apsw.Connection(str(path))
    theirs.executemany("INSERT INTO inbox (queue, body) VALUES ('work', ?)", [(f'{{"task":"{n}"}}',) for n in range(600)])
    theirs.close()
    letters = here._database.read(inbox.read_inbox)
    there.sweep(10)
    here._database.write(lambda cursor, now: inbox.store_inbox(cursor, now, letters))  # too late: nothing happens
    found = [delivery.task for _ in range(3) for delivery in claim(there, 600)]
    assert found == [str(number) for number in range(600)]
