"""Draws the table of moves in the documentation from the one in the code, so that the two cannot differ."""

from __future__ import annotations

from typing import Any

from nursery_tasks.model.states import MOVES, JobState, status_elsewhere

MARK = "<!-- moves -->"
ELSEWHERE_MARK = "<!-- elsewhere -->"
WHO = {
    "due": "the broker's clock",
    "claim": "a worker",
    "start": "the worker that holds it",
    "finish": "the worker that holds it",
    "retry": "the worker that holds it",
    "release": "the worker that holds it",
    "lease over": "a sweep: the worker has not been heard of",
    "cancel": "anybody; the broker, when the owner is gone",
    "expire": "the broker's clock",
    "requeue": "a person",
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where a page has their marks."""
    return markdown.replace(MARK, table()).replace(ELSEWHERE_MARK, elsewhere_table())


def table() -> str:
    """Return the moves as a Markdown table."""
    rows = ["| move | who makes it | from | to |", "| --- | --- | --- | --- |"]
    for move, ways in MOVES.items():
        groups: dict[frozenset[JobState], list[JobState]] = {}
        for before in JobState:
            if before in ways:
                groups.setdefault(ways[before], []).append(before)
        for after, befores in groups.items():
            rows.append(f"| {move} | {WHO[move]} | {_words(befores)} | {_words(s for s in JobState if s in after)} |")
    return "\n".join(rows)


def elsewhere_table() -> str:
    """Return the states' names in other systems as a Markdown table."""
    rows = ["| here | Celery | pulsar-queue | its number |", "| --- | --- | --- | --- |"]
    states = [(state, 0, "") for state in JobState]
    states.insert(2, (JobState.SCHEDULED, 1, ", for its next attempt"))
    for state, attempts, beside in states:
        status = status_elsewhere(state, attempts)
        rows.append(f"| `{state}`{beside} | `{status.celery}` | `{status.pulsar}` | {status.number} |")
    return "\n".join(rows)


def _words(states: Any) -> str:
    return ", ".join(f"`{state}`" for state in states)
