"""After an attempt that failed: whether another one follows, and when. Pure rules, for workers and for runs without one."""

from __future__ import annotations

from dataclasses import dataclass

from .failure import ForeignError
from .retry import UNLIMITED_WAIT_SECONDS, RetryRule, asked_retry


@dataclass(frozen=True, slots=True)
class Again:
    """Run it again after a wait."""

    wait_seconds: float


def decide_retry(error: BaseException, attempt: int, rule: RetryRule | None, fraction: float) -> Again | None:
    """Say whether another attempt follows number *attempt*, and when; None: this was the last.

    A task that raises `Retry` asks for another attempt whatever its policy's filters say; the number of attempts still counts.
    Its own numbers apply where the task has no policy or the exception gives a wait.
    """
    if isinstance(error, ForeignError) and error.final:
        return None
    asked, wait_given = _asked_rule(error)
    if asked is not None:
        limits = rule or asked
        waits = asked if wait_given or rule is None else rule
        return _again(limits, waits, attempt, fraction) if limits.allows(attempt) else None
    if rule is None or not rule.allows(attempt):
        return None
    # A timeout is an error like others, but its class is ours: `on=TimeoutError` means it, too.
    if not (error.matches if isinstance(error, ForeignError) else rule.matches(error)):
        return None
    return _again(rule, rule, attempt, fraction)


def _again(limits: RetryRule, waits: RetryRule, attempt: int, fraction: float) -> Again:
    # Rules may come from other programs, and a handler may ask for no wait under a policy without an end.
    least = UNLIMITED_WAIT_SECONDS if limits.attempts is None else 0.0
    return Again(max(waits.wait_seconds(attempt, fraction), least))


def _asked_rule(error: BaseException) -> tuple[RetryRule | None, bool]:
    """Return the policy of a `Retry` that the handler raised, and whether it gave a wait."""
    if isinstance(error, ForeignError):
        return error.asked, error.wait_given
    asked = asked_retry(error)
    return (None, False) if asked is None else (asked.to_rule(), asked.wait_given)
