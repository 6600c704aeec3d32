"""What is special about the memory broker; what every broker does is in `tests/contract/`."""

from __future__ import annotations

import msgspec
import pytest

from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Broker, Feature
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.model.delivery import Finished, Hint, Released, Retried, Submission
from nursery_tasks.model.states import ENDED, JobState
from nursery_tasks.model.windows import Window
from nursery_tasks.testing.contract import ManualClock


def job(job_id: str, *, expires_seconds: float | None = None, keep_seconds: float = 0.0) -> Submission:
    return Submission(job_id, "work", "task", b"{}", expires_seconds=expires_seconds, keep_seconds=keep_seconds)


def test_it_is_a_broker_that_never_blocks() -> None:
    broker = open_broker("memory:")
    assert isinstance(broker, Broker)
    assert not broker.blocking
    assert frozenset(Feature) - broker.features == {Feature.DURABLE, Feature.SHARED}


def test_two_of_them_have_nothing_in_common() -> None:
    one, other = MemoryBroker(), MemoryBroker()
    one.submit([job("a")])
    assert other.outcomes(["a"]) == [None]


def test_a_move_that_the_table_does_not_have_is_refused() -> None:
    broker = MemoryBroker()
    broker.submit([job("a")])
    (entry,) = broker._state.table.jobs.values()
    with pytest.raises(RuntimeError, match=r"a: no move 'start' leads from ready to started"):
        broker._state.table.move(entry, "start", JobState.STARTED)
    assert entry.state is JobState.READY


def test_a_listener_may_call_the_broker_and_close_itself() -> None:
    broker = MemoryBroker()
    heard: list[Hint] = []

    def hear(hint: Hint) -> None:
        heard.append(hint)
        listener.close()
        broker.submit([job("b")])

    listener = broker.listen(["work"], hear)
    broker.submit([job("a")])
    assert heard == [Hint("work", ("work",))]
    assert [found is not None for found in broker.outcomes(["a", "b"])] == [True, True]


def test_one_call_is_one_hint_per_topic() -> None:
    broker = MemoryBroker()
    heard: list[Hint] = []
    broker.listen(["work", "due"], heard.append)
    broker.submit([job("a"), job("b"), Submission("c", "other", "task", b""), Submission("d", "work", "task", b"", 0, 5.0)])
    assert heard == [Hint("work", ("work", "other")), Hint("due", ("work",))]


def test_a_job_that_waits_when_the_clock_is_set_back_is_not_lost() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock=clock)
    broker.submit([job("a", expires_seconds=10)])
    clock.advance(20)
    assert broker.claim(["work"], 1, "w", 15.0) == []
    clock.advance(-20)
    assert [delivery.id for delivery in broker.claim(["work"], 1, "w", 15.0)] == ["a"]


def test_nothing_is_left_of_jobs_that_are_gone() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock=clock)
    for turn in range(50):
        broker.submit([job(f"{turn}-{n}", expires_seconds=5) for n in range(4)])
        first, second, third, _ = broker.claim(["work"], 10, "w", 1.0)
        broker.settle([Finished(first, JobState.FAILED, b"{}"), Retried(second, 1.0), Released(third)])
        broker.admin.requeue([first.id])
        broker.cancel([second.id], None)
        clock.advance(10)
        broker.sweep(100)
        broker.claim(["work"], 10, "w", 1.0)
        clock.advance(10)
        broker.sweep(100)
        broker.admin.purge("work", ENDED | {JobState.READY})
    clock.advance(100)
    broker.sweep(1_000)
    broker.claim(["work"], 1_000, "w", 1.0)
    table = broker._state.table
    assert (table.jobs, table.held, table.keys, table.counts) == ({}, {}, {}, {})
    order = broker._state.order
    assert [len(heap) for heap in (order.due, order.expiring, order._ready["work"])] == [0, 0, 0]


def test_windows_that_are_over_are_forgotten() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock=clock)
    for number in range(10):
        broker.submit([msgspec.structs.replace(job(f"t{number}"), window=Window(f"throttle:{number % 2}", 60.0))])
        broker.submit([msgspec.structs.replace(job(f"d{number}"), window=Window("debounce:x"), delay_seconds=60.0)])
        clock.advance(5)
        broker.sweep(100)
    assert len(broker._state.windows) == 3
    clock.advance(55)
    broker.sweep(100)
    assert len(broker._state.windows) == 0
    assert broker._state.windows._ends == []
