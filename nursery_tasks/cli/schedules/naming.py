"""Schedules by the names that people type."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Annotated, Final

import typer

from ... import App
from ...errors import UnknownSchedule
from ..trouble import Trouble

_NAMES_SHOWN: Final = 5
_LIKE_ENOUGH: Final = 0.5  # of 1

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


@asynccontextmanager
async def naming_near(app: App) -> AsyncGenerator[None, None]:
    """Say what was probably meant when a block asks for a schedule that there is none of.

    Raises:
        Trouble: It does.
    """
    try:
        yield
    except UnknownSchedule as error:
        raise await unknown(app, error.name) from None


async def unknown(app: App, name: str) -> Trouble:
    """Return the error for a name that there is no schedule of."""
    names = [info.name for info in await app.schedules.list()]
    near = get_close_matches(name, names, n=3, cutoff=_LIKE_ENOUGH)
    if near:
        step = f"did you mean {' or '.join(near)}?"
    elif names:
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        step = f"there are {', '.join(names[:_NAMES_SHOWN])}{more}"
    else:
        step = "there are none; those in an app's code are put when its first worker starts"
    return Trouble(f"no schedule is named {name!r}", step, "nursery-tasks schedules list shows all")
