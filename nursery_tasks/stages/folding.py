"""What a collector does with its items: one pure step from a state to the next.

A *window* is what one total is made of. It ends after `every` items, after `wait` seconds, or when the pipeline ends; then the
total leaves. A tumbling collector begins the next window from `initial`, a running one goes on from the total.

The state holds the ids of the jobs whose items are in the total and which have not ended yet, as far as is known. A job that
comes again (its worker died between the fold and the end of the job) is found there and not counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec


class FoldState(msgspec.Struct, frozen=True):
    """What is stored of one collector.

    Attributes:
        run: Random; it tells the totals of this state from those of one that was deleted.
        total: The total, encoded.
        count: How many items have come since the last flush.
        window: How many windows have ended.
        opened_at: When the first of those items came, in epoch seconds; None: none has.
        folded: The ids of jobs that are in the total, or in one that has left, and may come again.
    """

    run: str
    total: bytes
    count: int = 0
    window: int = 0
    opened_at: float | None = None
    folded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """How a collector folds.

    Attributes:
        every: After how many items a window ends; None: not by their number.
        wait_seconds: How long after its first item it ends; None: not by time.
        running: Whether the next window goes on from the total.
        initial: What a window begins with, encoded.
    """

    every: int | None
    wait_seconds: float | None
    running: bool
    initial: bytes


@dataclass(frozen=True, slots=True)
class Flushed:
    """A total that leaves: of which window, and encoded."""

    window: int
    total: bytes


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch of items has come to: the next state, what leaves, and for each item None or what it raised."""

    state: FoldState
    flushed: tuple[Flushed, ...]
    errors: list[Exception | None]


def folding(
    rule: Rule,
    state: FoldState,
    items: Sequence[tuple[str, Any]],
    decode: Callable[[bytes], Any],
    encode: Callable[[Any], bytes],
    now: float,
) -> Generator[tuple[Any, Any], Any, Folded]:
    """Fold items into a state. It yields a total and an item for each call of the function, and is sent the next total.

    One bad item is left out, and no other. So if the function raises, or returns a total that cannot be kept, all is folded
    again with a look at each total: the bad one may have changed the total that it was given.

    Args:
        items: Each with the id of its job.
        encode: Raises for a total that cannot be kept.
        now: Epoch seconds.
    """
    try:
        return (yield from _fold(rule, state, items, decode, encode, now, looks=False))
    except Exception:
        return (yield from _fold(rule, state, items, decode, encode, now, looks=True))


def _fold(
    rule: Rule,
    state: FoldState,
    items: Sequence[tuple[str, Any]],
    decode: Callable[[bytes], Any],
    encode: Callable[[Any], bytes],
    now: float,
    *,
    looks: bool,
) -> Generator[tuple[Any, Any], Any, Folded]:
    total, kept, flushed = decode(state.total), state.total, list[Flushed]()
    errors: list[Exception | None] = []
    known, count, window, opened_at = set(state.folded), state.count, state.window, state.opened_at
    for job_id, item in items:
        if job_id in known:
            errors.append(None)
            continue
        try:
            total = yield total, item
            kept = encode(total) if looks else kept
        except Exception as error:  # this item is not counted, the others are
            if not looks:
                raise
            errors.append(error)
            total = decode(kept)
            continue
        errors.append(None)
        known.add(job_id)
        count, opened_at = count + 1, now if opened_at is None else opened_at
        if count == rule.every:
            kept = encode(total)
            flushed.append(Flushed(window, kept))
            if not rule.running:
                total, kept = decode(rule.initial), rule.initial
            count, window, opened_at = 0, window + 1, None
    new = FoldState(state.run, encode(total), count, window, opened_at, (*state.folded, *(known - set(state.folded))))
    return Folded(new, tuple(flushed), errors)


def fold_here(steps: Generator[tuple[Any, Any], Any, Folded], function: Callable[[Any, Any], Any]) -> Folded:
    """Drive `folding` with a plain function."""
    try:
        call = next(steps)
        while True:
            try:
                total = function(*call)
            except Exception as error:
                call = steps.throw(error)
            else:
                call = steps.send(total)
    except StopIteration as end:
        folded: Folded = end.value
        return folded


async def fold_on_loop(
    steps: Generator[tuple[Any, Any], Any, Folded], function: Callable[[Any, Any], Coroutine[Any, Any, Any]]
) -> Folded:
    """Drive `folding` with an async function."""
    try:
        call = next(steps)
        while True:
            try:
                total = await function(*call)
            except Exception as error:
                call = steps.throw(error)
            else:
                call = steps.send(total)
    except StopIteration as end:
        folded: Folded = end.value
        return folded


def flush(rule: Rule, state: FoldState) -> tuple[FoldState, Flushed] | None:
    """End the window that is open; None: nothing has come since the last one."""
    if not state.count:
        return None
    total = state.total if rule.running else rule.initial
    new = msgspec.structs.replace(state, total=total, count=0, window=state.window + 1, opened_at=None)
    return new, Flushed(state.window, state.total)


def forget(state: FoldState, ended: Collection[str]) -> FoldState:
    """Drop the ids of jobs that have ended: they do not come again."""
    return msgspec.structs.replace(state, folded=tuple(job_id for job_id in state.folded if job_id not in ended))
