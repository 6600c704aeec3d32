"""What jobs are chosen by, checked before a broker is asked: of a wrong type it finds nothing, or its driver raises."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidOptions
from ..model.listing import JobFilter
from ..model.states import JobState


def to_filter(
    states: Iterable[JobState | str] = (),
    *,
    queue: str | None = None,
    task: str | None = None,
    tag: str | None = None,
    parent: str | None = None,
) -> JobFilter:
    """Make a filter of what a user chooses by.

    Raises:
        InvalidOptions: A state is none, or something else than a name is given.
    """
    for option, given in (("queue", queue), ("task", task), ("tag", tag), ("parent", parent)):
        check_text(option, given)
    return JobFilter(states=to_states(states), queue=queue, task=task, tag=tag, parent=parent)


def to_states(states: Iterable[JobState | str]) -> frozenset[JobState]:
    """Read states.

    Raises:
        InvalidOptions: One of them is none.
    """
    try:
        return frozenset(JobState(state) for state in ([states] if isinstance(states, str) else states))
    except (ValueError, TypeError):
        raise InvalidOptions("states", states, f"some of {', '.join(JobState)}") from None


def to_ids(ids: Iterable[str]) -> list[str]:
    """Read ids, each of them once; one text is one id, and not its letters.

    Raises:
        InvalidOptions: One of them is none.
    """
    given: object = ids  # what a caller without a type checker has given
    if isinstance(ids, str):
        return [ids]
    if not isinstance(given, Iterable):
        raise InvalidOptions("ids", given, "an id, or a list of them, such as [job.id]")
    listed = [*ids]
    for one in listed:
        check_id("ids", one)
    return list(dict.fromkeys(listed))


def check_id(option: str, given: object) -> None:
    """Check that *given* may be an id; a handle is none."""
    if not isinstance(given, str):
        raise InvalidOptions(option, given, "the id of a job, such as job.id")


def check_count(option: str, given: object) -> None:
    """Check a whole number that is not below 0."""
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise InvalidOptions(option, given, "a whole number, 0 or more")


def check_task(option: str, given: object, call: str) -> str:
    """Return the name of a task; *call* is what the task itself has in its place, with types."""
    if isinstance(given, str):
        return given
    name: object = getattr(given, "name", None)
    meant = f"; where the task is at hand, {name}.{call} is the same" if isinstance(name, str) else ""
    raise InvalidOptions(option, given, f"a task's name{meant}")


def check_text(option: str, given: object) -> None:
    """Check that *given* may be a name, or is None; a task is none."""
    if given is None or isinstance(given, str):
        return
    name: object = getattr(given, "name", None)
    meant = f", such as {name!r}" if option == "task" and isinstance(name, str) else ""
    raise InvalidOptions(option, given, f"{'an id' if option == 'parent' else 'a name'}{meant}")
