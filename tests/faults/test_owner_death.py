"""A program that owns jobs is killed: its jobs are cancelled within one and a half leases, and no others."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from nursery_tasks.brokers.sqlite import SqliteBroker
from nursery_tasks.model.delivery import LeaseState, Renewal, Started
from nursery_tasks.model.reasons import OWNER_GONE
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import claim_one, ended, expect_cancelled, expect_state, settle, stored

from . import owner_program
from .owner_program import DETACHED, OWNED

LEASE = 2.0  # seconds
SWEEP = 0.05


@pytest.fixture
def broker(tmp_path: Path) -> Generator[SqliteBroker, None, None]:
    broker = SqliteBroker(tmp_path / "jobs.db")
    yield broker
    broker.close()


@pytest.fixture
def owner(broker: SqliteBroker, tmp_path: Path) -> Generator[subprocess.Popen[str], None, None]:
    """The program, once it has submitted its jobs."""
    command = [sys.executable, str(Path(owner_program.__file__)), str(tmp_path / "jobs.db"), str(LEASE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def next_hold(owner: subprocess.Popen[str]) -> None:
    """Wait until the owner has prolonged its lease once more."""
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"


def sweep_until_orphaned(broker: SqliteBroker, jobs: int) -> float:
    """Sweep as a worker does, until so many jobs were cancelled or told; return how long it took."""
    began, orphaned = time.monotonic(), 0
    while orphaned < jobs:
        orphaned += broker.sweep(100).orphaned
        assert time.monotonic() - began < 20, "no sweep found the owner gone"
        time.sleep(SWEEP)
    return time.monotonic() - began


def test_jobs_of_a_killed_owner_are_cancelled_and_others_are_not(broker: SqliteBroker, owner: subprocess.Popen[str]) -> None:
    held = claim_one(broker, "held", limit=1, lease_seconds=600)
    settle(broker, Started(held))
    for _ in range(8):  # more than two leases
        next_hold(owner)
        assert broker.sweep(100).orphaned == 0
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert sweep_until_orphaned(broker, len(OWNED)) < 1.5 * LEASE
    assert broker.renew([held], 600) == [Renewal(LeaseState.CANCEL, OWNER_GONE)]
    settle(broker, ended(held, JobState.CANCELLED))
    for job_id in ("waiting", "later"):
        expect_cancelled(broker, job_id, OWNER_GONE)
    expect_state(broker, JobState.READY, DETACHED)


def test_an_owner_that_was_frozen_for_too_long_is_told(broker: SqliteBroker, owner: subprocess.Popen[str]) -> None:
    next_hold(owner)
    owner.send_signal(signal.SIGSTOP)
    sweep_until_orphaned(broker, len(OWNED))
    owner.send_signal(signal.SIGCONT)
    assert owner.wait(20) == 0  # its next `hold` was answered with False
    assert [stored(broker, job_id).state for job_id in OWNED] == [JobState.CANCELLED] * len(OWNED)
    expect_state(broker, JobState.READY, DETACHED)
