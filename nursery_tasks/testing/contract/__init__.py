"""What every broker does, as checks that can be run against any of them; pytest is not needed.

    from nursery_tasks.testing.contract import ContractHarness, ManualClock, run_contract

    def new_harness() -> ContractHarness:
        clock = ManualClock()
        return ContractHarness(lambda: MyBroker(clock=clock), clock=clock)

    report = run_contract(new_harness)
    print(report)
    report.raise_if_broken()

A broker that cannot do something does not declare the feature, or has no such part, and the suite leaves out, by name, what
needs it. With pytest, parametrize over `checks`: each has a `topic`, a `name`, a `sentence`, and `run(harness)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import (
    awaited,
    back,
    bounds,
    cancel,
    close,
    dedup,
    delay,
    deliver,
    detach,
    ends,
    event_log,
    expiry,
    firing,
    foreign,
    hints,
    lease,
    limits,
    listing,
    locks,
    once,
    order,
    outbox,
    outcomes,
    owners,
    parked,
    pauses,
    queues,
    rates,
    requeue,
    schedules,
    settle,
    shares,
    stale,
    states,
    turns,
    windows,
    workers,
    workflows,
)
from .harness import Ability as Ability
from .harness import Check as Check
from .harness import ContractClock as ContractClock
from .harness import ContractHarness as ContractHarness
from .harness import ManualClock as ManualClock
from .harness import Part as Part
from .harness import abilities_of as abilities_of
from .report import CheckResult as CheckResult
from .report import ContractReport as ContractReport
from .report import run_check as run_check
from .report import run_checks as _run_checks

__all__ = [
    "Ability",
    "Check",
    "CheckResult",
    "ContractClock",
    "ContractHarness",
    "ContractReport",
    "ManualClock",
    "Part",
    "abilities_of",
    "checks",
    "run_check",
    "run_contract",
]

_TOPICS = (
    deliver,
    order,
    settle,
    stale,
    back,
    parked,
    pauses,
    lease,
    once,
    delay,
    expiry,
    dedup,
    windows,
    bounds,
    shares,
    cancel,
    owners,
    awaited,
    detach,
    outcomes,
    ends,
    queues,
    listing,
    requeue,
    workers,
    workflows,
    limits,
    rates,
    turns,
    locks,
    schedules,
    firing,
    event_log,
    foreign,
    outbox,
    states,
    hints,
    close,
)

checks: tuple[Check, ...] = tuple(check for module in _TOPICS for check in module.topic.checks)


def run_contract(new_harness: Callable[[], ContractHarness], wanted: Sequence[Check] = checks) -> ContractReport:
    """Run the contract against a broker.

    Args:
        new_harness: Called once per check: each begins with an empty broker of its own.
        wanted: Which checks; all, where nothing is said.
    """
    return _run_checks(wanted, new_harness)
