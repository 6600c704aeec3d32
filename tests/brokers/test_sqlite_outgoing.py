"""Messages on their way out, in a file: how they are found, counted, and stored while the disk is full."""

from __future__ import annotations

from pathlib import Path

import apsw

from nursery_tasks.brokers.sqlite import SqliteBroker, outgoing
from nursery_tasks.testing.contract.outbox import counts, places, put


def test_a_look_and_a_drop_go_along_an_index(path: Path) -> None:
    SqliteBroker(path).close()
    connection = apsw.Connection(str(path))
    for text, values in ((outgoing._NEXT, ("a", 1, 1)), (outgoing._DROP, ("a", 1)), (outgoing._LIST, ("", 1))):
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        assert not [step for step in plan if step.startswith("SCAN outgoing") or "TEMP B-TREE FOR ORDER BY" in step], plan
    connection.close()


def test_outboxes_are_counted_right_whoever_deletes(path: Path) -> None:
    broker = SqliteBroker(path)
    put(broker, ("a", b"1"), ("a", b"2"), ("b", b"3"))
    theirs = apsw.Connection(str(path))
    theirs.execute("DELETE FROM outgoing WHERE body IN (x'31', x'33')")
    theirs.close()
    assert counts(broker) == [("a", 1)]
    broker.outbox.drop_outgoing("a", places(broker)[0])
    assert counts(broker) == []
    broker.close()
