"""The parts of RabbitMQ without a store that need no server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from pamqp import commands

from nursery_tasks.brokers.amqp.deliveries import DeliveredMessage, DeliveryTags
from nursery_tasks.brokers.amqp.storeless import ended_jobs, known_jobs
from nursery_tasks.brokers.amqp.storeless.cancel_log import KEPT_SECONDS, MOST, CancelLog
from nursery_tasks.brokers.amqp.storeless.claiming import SUSPICIOUS
from nursery_tasks.brokers.amqp.storeless.crash_markers import Redeliveries
from nursery_tasks.brokers.amqp.storeless.delay_levels import LEVELS, MOST_UNITS, UNIT_MS, to_key, to_units
from nursery_tasks.brokers.amqp.storeless.envelopes import to_envelope
from nursery_tasks.brokers.amqp.storeless.known_jobs import KnownJobs
from nursery_tasks.brokers.amqp.storeless.peers import Peers
from nursery_tasks.model.delivery import CancelAnswer, Finished, Receipt, Submission
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import packed


def job(job_id: str, **more: Any) -> Submission:
    return Submission(job_id, "work", "tests.task", b"{}", **more)


# --- delays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0001, 0.2, 0.25, 0.26, 1.0, 7.3, 3600.0, 86_400.0 * 90])
def test_a_delay_is_rounded_up_by_less_than_a_unit(seconds: float) -> None:
    waits = to_units(seconds) * UNIT_MS / 1000
    assert waits >= seconds - 1e-6
    assert waits < seconds + UNIT_MS / 1000


def test_the_key_says_where_a_message_stops() -> None:
    words = to_key(5, "mails.new").split(".")
    assert words[LEVELS:] == ["mails", "new"]
    assert sum(2 ** (LEVELS - 1 - place) for place, word in enumerate(words[:LEVELS]) if word == "1") == 5
    assert to_key(to_units(1e12), "q").split(".")[:LEVELS] == ["1"] * LEVELS
    assert (UNIT_MS << (LEVELS - 1)) < 2**32  # what a time to live can be
    assert to_units(1e12) == MOST_UNITS


# --- cancels --------------------------------------------------------------------------------------


def test_a_cancel_is_for_jobs_that_were_submitted_before_it() -> None:
    cancels = CancelLog()
    cancels.add([("a", "stop", 1000.0)], ours=False)
    cancels.add([("a", "again", 1001.0), ("b", None, 1000.0)], ours=True)
    assert cancels.find("a", created_at=999.0) == ("stop",)
    assert cancels.find("b", created_at=999.0) == (None,)
    assert cancels.find("a", created_at=1010.0) is None
    assert cancels.find("c", created_at=0.0) is None
    assert cancels.ours() == [("b", None, 1000.0)]


def test_cancels_are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cancels = CancelLog()
    cancels.add([(f"job-{number}", None, 1000.0) for number in range(MOST + 5)], ours=True)
    assert len(cancels.ours()) == MOST
    assert cancels.find("job-0", 0.0) is None
    later = time.monotonic() + KEPT_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert cancels.find(f"job-{MOST}", 0.0) is None
    cancels.add([("new", None, 1000.0)], ours=True)
    assert cancels.ours() == [("new", None, 1000.0)]


def test_a_question_ends_with_the_last_answer_and_who_leaves_is_not_waited_for() -> None:
    peers = Peers()
    question = peers.ask(3)
    answers = threading.Thread(
        target=lambda: (peers.answer("one", question.number, ["a"]), peers.left("two"), peers.answer("three", 99, ["x"]))
    )
    answers.start()
    answers.join()
    assert not question.is_over
    peers.answer("three", question.number, ["b"])
    assert question.is_over
    assert peers.close(question) == {"a", "b"}
    assert peers.ask(0).is_over


# --- suspicion ------------------------------------------------------------------------------------


def delivered(times: int | None, redelivered: bool = True) -> DeliveredMessage:
    """A message that was delivered before; None: the server does not count."""
    headers: dict[str, Any] = {} if times is None else {"x-delivery-count": times}
    properties = commands.Basic.Properties(message_id="a", headers=headers)
    return DeliveredMessage("work", 1, DeliveryTags(), 0.0, b"", properties, redelivered)


def test_what_this_process_has_given_back_is_not_suspicious() -> None:
    redeliveries = Redeliveries()
    assert redeliveries.suspicion(delivered(0, redelivered=False)) == 0
    redeliveries.note_given_back([delivered(0, redelivered=False)])
    assert redeliveries.suspicion(delivered(1)) == 0  # it came straight back
    redeliveries.note_given_back([delivered(1)])
    assert redeliveries.suspicion(delivered(2)) == 0
    assert redeliveries.suspicion(delivered(3)) == 3  # somebody had it in between
    redeliveries.note_given_back([delivered(3)])
    assert redeliveries.suspicion(delivered(4)) == 3


def test_where_the_server_does_not_count_one_delivery_is_as_bad_as_two() -> None:
    redeliveries = Redeliveries()
    assert redeliveries.suspicion(delivered(None)) == SUSPICIOUS
    redeliveries.note_given_back([delivered(None, redelivered=False)])
    assert redeliveries.suspicion(delivered(None)) == 0


# --- what a process knows -------------------------------------------------------------------------


@pytest.fixture
def jobs() -> KnownJobs:
    return KnownJobs(clock=time.time, name="test")


def test_outcomes_that_nobody_fetches_are_bounded_by_number_and_size(jobs: KnownJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_jobs, "ENDS_MOST", 10)
    jobs.enter([job(f"job-{number}") for number in range(25)])
    for number in range(20):
        jobs.end_away(f"job-{number}", JobState.SUCCEEDED, packed())
    states = [found and found.state for found in jobs.outcomes([f"job-{number}" for number in range(25)])]
    assert states == [None] * 10 + [JobState.SUCCEEDED] * 10 + [JobState.READY] * 5
    monkeypatch.setattr(ended_jobs, "ENDS_BYTES", 1)
    jobs.end_away("job-20", JobState.SUCCEEDED, packed())
    assert jobs.outcomes(["job-19", "job-20"]) == [None, None]


def test_waiting_jobs_that_nobody_awaits_are_forgotten_when_there_are_too_many(
    jobs: KnownJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_jobs, "JOBS_MOST", 100)
    jobs._most = 100
    jobs.enter([job("owned", owner=b"o", owner_seconds=15.0)])
    for number in range(1000):
        jobs.enter([job(f"job-{number}")])
    found = jobs.outcomes(["owned", "job-0", "job-999"])
    assert [each and each.state for each in found] == [JobState.READY, None, JobState.READY]
    assert len(jobs._table.jobs) <= 120


def test_a_guest_is_known_while_it_is_held_and_its_second_message_is_recognised(jobs: KnownJobs) -> None:
    envelope = to_envelope(job("guest"), 1000.0)
    delivery = jobs.take(envelope, 0, 0, "w", ours=False)
    assert not jobs.is_done(envelope)
    assert jobs.is_held("guest")  # a second message of it has to wait
    assert jobs.settle([Finished(delivery, JobState.SUCCEEDED, packed())]) == [True]
    assert jobs.outcomes(["guest"]) == [None]
    assert jobs.is_done(envelope)
    assert not jobs.is_done(to_envelope(job("guest"), 2000.0))  # another job of that name


def test_what_was_lost_is_stale_and_may_come_back(jobs: KnownJobs) -> None:
    _, [(submitted, created_at)] = jobs.enter([job("ours")])
    envelope = to_envelope(submitted, created_at)
    old = jobs.take(envelope, 0, 0, "w", ours=True)
    jobs.enter([job("child", owner=old.token)])
    assert jobs.lose([old.token]) == ["ours"]
    assert jobs.settle([Finished(old, JobState.SUCCEEDED, packed())]) == [False]
    assert jobs.away_of(jobs.orphans()) == ["child"]
    assert jobs.cancel_orphans(jobs.orphans()) == 1
    new = jobs.take(envelope, 0, 1, "w", ours=True)
    assert (new.attempt, new.lapses) == (1, 1)
    assert jobs.settle([Finished(new, JobState.SUCCEEDED, packed())]) == [True]


def test_a_job_that_runs_elsewhere_is_told_and_not_ended(jobs: KnownJobs) -> None:
    jobs.enter([job("a"), job("b")])
    jobs.note_elsewhere(["a"])
    assert jobs.cancel(["a", "b"], "stop") == [CancelAnswer.REQUESTED, CancelAnswer.CANCELLED]
    jobs.end_away("a", JobState.SUCCEEDED, packed())
    [stored] = jobs.outcomes(["a"])
    assert stored is not None
    assert stored.state is JobState.SUCCEEDED


def test_a_job_that_could_not_be_sent_may_be_submitted_again(jobs: KnownJobs) -> None:
    receipts, _ = jobs.enter([job("a")])
    assert receipts == [Receipt("a", True)]
    jobs.forget(["a"])
    assert jobs.enter([job("a")])[0] == [Receipt("a", True)]
