"""What this process is: the program itself, or one that AnyIO has started for its handlers.

Such a process imports the program's main module again, under the name `__mp_main__`. A main module without a guard would do
there what the program does, from submitting its jobs twice to starting processes without end.
"""

from __future__ import annotations

import sys

from .errors import MainNotGuarded, NotSupported


class _Process:
    is_host = False


def become_host() -> None:
    """Note that this process runs handlers for a worker."""
    _Process.is_host = True


def check_is_guarded(call: str) -> None:
    """Check that this is not the main module, imported a second time.

    Args:
        call: What was called, for the error.

    Raises:
        MainNotGuarded: It is.
    """
    # AnyIO takes `__main__` away before it imports, and puts it back when that is done.
    if "__main__" not in sys.modules and "__mp_main__" in sys.modules:
        raise MainNotGuarded(call)


def check_can_be_reached(broker: str, is_in_memory: bool) -> None:
    """Check that a broker is the worker's, and not a new and empty one, when it is used in a process for handlers.

    Raises:
        NotSupported: It lives in the memory of the process.
    """
    if is_in_memory and _Process.is_host:
        raise NotSupported(broker, "way from a process for handlers to its worker's memory; use sqlite:///jobs.db")
