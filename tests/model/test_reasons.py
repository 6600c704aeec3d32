"""The outcomes that a broker writes itself."""

from nursery_tasks.model.codec import pack_outcome, unpack_outcome
from nursery_tasks.model.failure import Failure
from nursery_tasks.model.outcome import Outcome
from nursery_tasks.model.reasons import pack_cancelled, pack_dead, pack_expired, workers_died
from nursery_tasks.model.states import JobState


def test_an_expired_job_says_that_nobody_came() -> None:
    wanted = Outcome(state=JobState.EXPIRED, reason="no worker started it in time", ended_at=5.0)
    assert unpack_outcome(pack_expired(5.0)) == wanted


def test_a_cancelled_job_names_its_worker_only_when_an_attempt_counts() -> None:
    assert unpack_outcome(pack_cancelled("stop", 0, "w", 5.0)).worker is None
    wanted = Outcome(state=JobState.CANCELLED, reason="stop", attempt=2, worker="w", ended_at=5.0)
    assert unpack_outcome(pack_cancelled("stop", 2, "w", 5.0)) == wanted


def test_a_dead_job_says_how_many_workers_died_and_what_went_wrong_before() -> None:
    error = Failure("ValueError", "no such file")
    failure = pack_outcome(Outcome(state=JobState.FAILED, error=error))
    outcome = unpack_outcome(pack_dead(3, 4, "w", 5.0, failure))
    assert (outcome.state, outcome.error, outcome.attempt) == (JobState.DEAD, error, 4)
    assert outcome.reason == "3 workers died while they ran it"
    assert unpack_outcome(pack_dead(1, 1, "w", 5.0, None)).error is None
    assert workers_died(1) == "the worker that ran it died"
