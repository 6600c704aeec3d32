"""What every channel does, as checks that can be run against any of them, and a channel in memory; pytest is not needed.

    from nursery_tasks.testing.channels import Away, ChannelHarness, run_contract

    def new_harness() -> ChannelHarness:
        return ChannelHarness(opener=lambda: MyChannel("my://host"), keeps=frozenset({"id", "headers"}))

    report = anyio.run(run_contract, new_harness)
    print(report)
    report.raise_if_broken()

What a harness does not give is left out, by name. With pytest, parametrize over `checks` and await `run_check(check, harness)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import away, cancel, deliver, places, settle
from .harness import FIELDS as FIELDS
from .harness import Away as Away
from .harness import ChannelCheck as ChannelCheck
from .harness import ChannelHarness as ChannelHarness
from .harness import Need as Need
from .hooks import CallStall as CallStall
from .memory import MemoryChannel as MemoryChannel
from .report import ChannelReport as ChannelReport
from .report import ChannelResult as ChannelResult
from .report import run_check as run_check

__all__ = [
    "FIELDS",
    "Away",
    "CallStall",
    "ChannelCheck",
    "ChannelHarness",
    "ChannelReport",
    "ChannelResult",
    "MemoryChannel",
    "Need",
    "checks",
    "run_check",
    "run_contract",
]

checks: tuple[ChannelCheck, ...] = tuple(
    check for module in (deliver, settle, cancel, away, places) for check in module.topic.checks
)


async def run_contract(new_harness: Callable[[], ChannelHarness], wanted: Sequence[ChannelCheck] = checks) -> ChannelReport:
    """Run the contract against a channel.

    Args:
        new_harness: Called once per check: each begins with places of its own.
        wanted: Which checks; all, where nothing is said.
    """
    return ChannelReport(tuple([await run_check(check, new_harness()) for check in wanted]))
