"""Run the contract of channels without a test framework, and say what came of it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Literal, cast

from anyio import fail_after, move_on_after

from .harness import ChannelCheck, ChannelHarness

CLEAN_UP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ChannelResult:
    """What one check found. *why* is the reason for leaving it out, or the message of the failure."""

    check: ChannelCheck
    verdict: Literal["kept", "broken", "left out"]
    why: str = ""
    error: BaseException | None = None

    def __str__(self) -> str:
        head = f"{self.verdict:8}  {self.check.topic}: {self.check.sentence}"
        return f"{head}\n          {self.why}" if self.why else head


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """All results, in the order of the checks. `print(report)` shows what a person wants to know."""

    results: tuple[ChannelResult, ...]

    @property
    def broken(self) -> tuple[ChannelResult, ...]:
        return tuple(result for result in self.results if result.verdict == "broken")

    def raise_if_broken(self) -> None:
        """Raise one `AssertionError` that names every broken sentence."""
        if self.broken:
            raise AssertionError(f"the channel breaks its contract\n{self}")

    def __str__(self) -> str:
        count = {verdict: sum(result.verdict == verdict for result in self.results) for verdict in ("kept", "left out")}
        shown = [str(result) for result in self.results if result.verdict != "kept"]
        return "\n".join([*shown, f"{count['kept']} kept, {len(self.broken)} broken, {count['left out']} left out"])


async def run_check(check: ChannelCheck, harness: ChannelHarness) -> ChannelResult:
    """Run one check and close the harness."""
    why_not = check.why_not(harness)
    if why_not is not None:
        return ChannelResult(check, "left out", why_not)
    try:
        try:
            with fail_after(harness.seconds):
                await check.run(harness)
        finally:
            with move_on_after(CLEAN_UP_SECONDS, shield=True):
                await harness.close()
    except TimeoutError as error:
        late = AssertionError(f"it has not ended within {harness.seconds:g} s")
        late.__cause__ = error
        return ChannelResult(check, "broken", str(late), late)
    except Exception as error:  # also what the channel raised: it is the answer, and belongs to this check alone
        alone = _unwrapped(error)
        return ChannelResult(check, "broken", _explain(check, alone), alone)
    return ChannelResult(check, "kept")


def _unwrapped(error: Exception) -> Exception:
    """Return what a group has in it, where that is one."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return _unwrapped(group.exceptions[0]) if len(group.exceptions) == 1 else group
    return error


def _explain(check: ChannelCheck, error: Exception) -> str:
    text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    steps = [step for step in traceback.extract_tb(error.__traceback__) if step.name == check.name]
    return f"{text} ({check.name}, line {steps[-1].lineno})" if steps else text
