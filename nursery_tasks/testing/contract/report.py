"""Run the contract without a test framework, and say what came of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from .harness import Check, ContractHarness

Verdict = Literal["kept", "broken", "left out"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found. *why* is the reason for leaving it out, or the message of the failure."""

    check: Check
    verdict: Verdict
    why: str = ""
    error: BaseException | None = None

    def __str__(self) -> str:
        head = f"{self.verdict:8}  {self.check.topic}: {self.check.sentence}"
        return f"{head}\n          {self.why}" if self.why else head


@dataclass(frozen=True, slots=True)
class ContractReport:
    """All results, in the order of the checks. `print(report)` shows what a person wants to know."""

    results: tuple[CheckResult, ...]

    @property
    def kept(self) -> tuple[CheckResult, ...]:
        return self._with("kept")

    @property
    def broken(self) -> tuple[CheckResult, ...]:
        return self._with("broken")

    @property
    def left_out(self) -> tuple[CheckResult, ...]:
        return self._with("left out")

    def raise_if_broken(self) -> None:
        """Raise one `AssertionError` that names every broken sentence."""
        if self.broken:
            raise AssertionError(f"the broker breaks its contract\n{self}")

    def __str__(self) -> str:
        lines = [str(result) for result in (*self.left_out, *self.broken)]
        total = f"{len(self.kept)} kept, {len(self.broken)} broken, {len(self.left_out)} left out"
        return "\n".join([*lines, total])

    def _with(self, verdict: Verdict) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if result.verdict == verdict)


def run_check(check: Check, harness: ContractHarness) -> CheckResult:
    """Run one check and close the harness."""
    try:
        why_not = check.why_not(harness)
        if why_not is not None:
            return CheckResult(check, "left out", why_not)
        check.run(harness)
    except Exception as error:  # also what the broker raised: it is the answer, and belongs to this check alone
        return CheckResult(check, "broken", _explain(check, error), error)
    finally:
        harness.close()
    return CheckResult(check, "kept")


def run_checks(wanted: Iterable[Check], new_harness: Callable[[], ContractHarness]) -> ContractReport:
    """Run checks one after the other, each with a harness of its own."""
    return ContractReport(tuple(run_check(check, new_harness()) for check in wanted))


def _explain(check: Check, error: Exception) -> str:
    text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    steps = [step for step in traceback.extract_tb(error.__traceback__) if step.name == check.name]
    return f"{text} ({check.name}, line {steps[-1].lineno})" if steps else text
