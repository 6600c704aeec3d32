"""Where a handler is: the stack of its coroutine, or of its thread, as Python prints it."""

from __future__ import annotations

import sys
import traceback
from types import FrameType
from typing import Any, Final

from ..current import AttemptContext

MOST_FRAMES: Final = 30
CALLER: Final = "nursery_tasks.execution.in_thread"


def stack_of(context: AttemptContext) -> str:
    """Return the stack of a running handler, outermost frame first; empty when it is between two steps."""
    frames = _frames_of_thread(context.thread_id) if context.thread_id is not None else _frames_of_awaits(context.coroutine)
    shown = [
        traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames[-MOST_FRAMES:]
    ]
    return "".join(traceback.format_list(shown)).rstrip("\n")


def _frames_of_awaits(coroutine: Any) -> list[tuple[FrameType, int]]:
    """Follow what a coroutine awaits, and so on, as long as Python can tell."""
    frames: list[tuple[FrameType, int]] = []
    while coroutine is not None and len(frames) < 200:
        frame = _first(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            frames.append((frame, frame.f_lineno))
        coroutine = _first(coroutine, "cr_await", "gi_yieldfrom", "ag_await")
    return frames


def _frames_of_thread(thread_id: int) -> list[tuple[FrameType, int]]:
    frame = sys._current_frames().get(thread_id)  # pyright: ignore[reportPrivateUsage] - documented, in spite of its name
    frames: list[tuple[FrameType, int]] = []
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    named = list(reversed(frames))
    # From the handler on; what stands before it is AnyIO's thread and ours.
    callers = [place for place, (one, _) in enumerate(named) if one.f_globals.get("__name__") == CALLER]
    return named[callers[-1] + 1 :] if callers else named


def _first(thing: Any, *names: str) -> Any:
    for name in names:
        found = getattr(thing, name, None)
        if found is not None:
            return found
    return None
