"""The parts of RabbitMQ without a store that need no server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from pamqp import commands

from nursery_tasks.brokers.amqp.bare import ledger as ledger_module
from nursery_tasks.brokers.amqp.bare.ladder import LEVELS, MOST_UNITS, UNIT_MS, to_key, to_units
from nursery_tasks.brokers.amqp.bare.ledger import Ledger
from nursery_tasks.brokers.amqp.bare.marks import MARK_SECONDS, MOST, Marks
from nursery_tasks.brokers.amqp.bare.parcels import to_parcel
from nursery_tasks.brokers.amqp.bare.returned import Returned
from nursery_tasks.brokers.amqp.bare.roster import Roster
from nursery_tasks.brokers.amqp.bare.taking import SUSPICIOUS
from nursery_tasks.brokers.amqp.permits import Permit
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


def test_a_mark_is_for_jobs_that_were_submitted_before_it() -> None:
    marks = Marks()
    marks.add([("a", "stop", 1000.0)], ours=False)
    marks.add([("a", "again", 1001.0), ("b", None, 1000.0)], ours=True)
    assert marks.find("a", created_at=999.0) == ("stop",)
    assert marks.find("b", created_at=999.0) == (None,)
    assert marks.find("a", created_at=1010.0) is None
    assert marks.find("c", created_at=0.0) is None
    assert marks.ours() == [("b", None, 1000.0)]


def test_marks_are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = Marks()
    marks.add([(f"job-{number}", None, 1000.0) for number in range(MOST + 5)], ours=True)
    assert len(marks.ours()) == MOST
    assert marks.find("job-0", 0.0) is None
    later = time.monotonic() + MARK_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert marks.find(f"job-{MOST}", 0.0) is None
    marks.add([("new", None, 1000.0)], ours=True)
    assert marks.ours() == [("new", None, 1000.0)]


def test_a_question_ends_with_the_last_answer_and_who_leaves_is_not_waited_for() -> None:
    roster = Roster()
    for box in ("one", "two", "three"):
        roster.add(box)
    question = roster.ask()
    answers = threading.Thread(
        target=lambda: (roster.answer("one", question.number, ["a"]), roster.remove("two"), roster.answer("three", 99, ["x"]))
    )
    answers.start()
    answers.join()
    roster.answer("three", question.number, ["b"])
    assert roster.close(question) == {"a", "b"}
    assert roster.ask().missing == {"one", "three"}


# --- suspicion ------------------------------------------------------------------------------------


def delivered(times: int | None, redelivered: bool = True) -> Permit:
    """A message that was delivered before; None: the server does not count."""
    headers: dict[str, Any] = {} if times is None else {"x-delivery-count": times}
    properties = commands.Basic.Properties(message_id="a", headers=headers)
    return Permit("work", 1, 1, 0.0, b"", properties, redelivered)


def test_what_this_process_has_given_back_is_not_suspicious() -> None:
    returned = Returned()
    assert returned.suspicion(delivered(0, redelivered=False)) == 0
    returned.note([delivered(0, redelivered=False)])
    assert returned.suspicion(delivered(1)) == 0  # it came straight back
    returned.note([delivered(1)])
    assert returned.suspicion(delivered(2)) == 0
    assert returned.suspicion(delivered(3)) == 3  # somebody had it in between
    returned.note([delivered(3)])
    assert returned.suspicion(delivered(4)) == 3


def test_where_the_server_does_not_count_one_delivery_is_as_bad_as_two() -> None:
    returned = Returned()
    assert returned.suspicion(delivered(None)) == SUSPICIOUS
    returned.note([delivered(None, redelivered=False)])
    assert returned.suspicion(delivered(None)) == 0


# --- what a process knows -------------------------------------------------------------------------


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(clock=time.time, name="test")


def test_outcomes_that_nobody_fetches_are_bounded_by_number_and_size(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "ENDS_MOST", 10)
    ledger.enter([job(f"job-{number}") for number in range(25)])
    for number in range(20):
        ledger.end_away(f"job-{number}", JobState.SUCCEEDED, packed())
    states = [found and found.state for found in ledger.outcomes([f"job-{number}" for number in range(25)])]
    assert states == [None] * 10 + [JobState.SUCCEEDED] * 10 + [JobState.READY] * 5
    monkeypatch.setattr(ledger_module, "ENDS_BYTES", 1)
    ledger.end_away("job-20", JobState.SUCCEEDED, packed())
    assert ledger.outcomes(["job-19", "job-20"]) == [None, None]


def test_waiting_jobs_that_nobody_awaits_are_forgotten_when_there_are_too_many(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "JOBS_MOST", 100)
    ledger._most = 100
    ledger.enter([job("owned", owner=b"o", owner_seconds=15.0)])
    for number in range(1000):
        ledger.enter([job(f"job-{number}")])
    found = ledger.outcomes(["owned", "job-0", "job-999"])
    assert [each and each.state for each in found] == [JobState.READY, None, JobState.READY]
    assert len(ledger._table.jobs) <= 120


def test_a_guest_is_known_while_it_is_held_and_its_second_message_is_recognised(ledger: Ledger) -> None:
    parcel = to_parcel(job("guest"), 1000.0)
    delivery = ledger.take(parcel, 0, 0, "w", ours=False)
    assert ledger.is_done(parcel)  # held: a second message of it is none
    assert ledger.settle([Finished(delivery, JobState.SUCCEEDED, packed())]) == [True]
    assert ledger.outcomes(["guest"]) == [None]
    assert ledger.is_done(parcel)
    assert not ledger.is_done(to_parcel(job("guest"), 2000.0))  # another job of that name


def test_what_was_lost_is_stale_and_may_come_back(ledger: Ledger) -> None:
    _, [(submitted, created_at)] = ledger.enter([job("ours")])
    parcel = to_parcel(submitted, created_at)
    old = ledger.take(parcel, 0, 0, "w", ours=True)
    ledger.enter([job("child", owner=old.token)])
    assert ledger.lose([old.token]) == ["ours"]
    assert ledger.settle([Finished(old, JobState.SUCCEEDED, packed())]) == [False]
    assert ledger.away_of(ledger.orphans()) == ["child"]
    assert ledger.cancel_orphans(ledger.orphans()) == 1
    new = ledger.take(parcel, 0, 1, "w", ours=True)
    assert (new.attempt, new.lapses) == (1, 1)
    assert ledger.settle([Finished(new, JobState.SUCCEEDED, packed())]) == [True]


def test_a_job_that_runs_elsewhere_is_told_and_not_ended(ledger: Ledger) -> None:
    ledger.enter([job("a"), job("b")])
    ledger.elsewhere.add("a")
    assert ledger.cancel(["a", "b"], "stop") == [CancelAnswer.REQUESTED, CancelAnswer.CANCELLED]
    ledger.end_away("a", JobState.SUCCEEDED, packed())
    [stored] = ledger.outcomes(["a"])
    assert stored is not None
    assert stored.state is JobState.SUCCEEDED


def test_a_job_that_could_not_be_sent_may_be_submitted_again(ledger: Ledger) -> None:
    receipts, _ = ledger.enter([job("a")])
    assert receipts == [Receipt("a", True)]
    ledger.forget(["a"])
    assert ledger.enter([job("a")])[0] == [Receipt("a", True)]
