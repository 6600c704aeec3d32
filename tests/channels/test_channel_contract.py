"""Channels keep their contract."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from broken_channels import MUTANTS, LastFirst
from memory_harness import harness_of

from nursery_tasks.errors import ChannelUnavailable
from nursery_tasks.testing.channels import ChannelCheck, ChannelHarness, MemoryChannel, checks, deliver, run_check, run_contract


@pytest.mark.parametrize("check", checks, ids=lambda check: check.name)
async def test_the_channel_in_memory(check: ChannelCheck) -> None:
    result = await run_check(check, harness_of(MemoryChannel()))
    assert result.verdict == "kept", str(result)


@pytest.mark.parametrize("cls", MUTANTS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_broken_channel_is_caught_by_the_check_made_for_it(cls: type[MemoryChannel]) -> None:
    [check] = [check for check in checks if check.name == MUTANTS[cls]]
    result = await run_check(check, harness_of(cls(), seconds=0.3))
    assert isinstance(result.error, AssertionError | ChannelUnavailable | ConnectionResetError | anyio.EndOfStream), str(result)


def test_each_check_catches_something_and_says_what() -> None:
    assert {check.name for check in checks} == set(MUTANTS.values())
    assert [check.name for check in checks if not check.sentence[0].isupper() or len(check.sentence) < 20] == []


def test_a_report_says_what_is_broken_and_what_was_left_out() -> None:
    def new_harness() -> ChannelHarness:
        return replace(harness_of(LastFirst(), seconds=0.2), end=None)

    report = anyio.run(run_contract, new_harness, deliver.topic.checks)
    with pytest.raises(AssertionError, match="the channel breaks its contract") as caught:
        report.raise_if_broken()
    assert "broken    deliver: Messages come in the order" in str(caught.value)
    assert "the harness has no end" in str(caught.value)
    assert str(report).endswith("left out")
