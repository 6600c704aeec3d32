"""Environment variables that the commands read."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from typing import Final

from .http import TOKENS_VARIABLE
from .output import note

VARIABLES_BEGIN: Final = "NURSERY_TASKS_"
VARIABLES: Final = ("NURSERY_TASKS_BROKER", "NURSERY_TASKS_NODE", TOKENS_VARIABLE)


def warn_of_variables() -> None:
    """Say which environment variables look like ours and are none: a slip there is silent otherwise."""
    if any(arg.startswith("--member=") for arg in sys.argv):  # its supervisor has said so
        return
    for name in sorted(os.environ):
        if name.startswith(VARIABLES_BEGIN) and name not in VARIABLES:
            close = get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
            meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(VARIABLES[:-1])} and {VARIABLES[-1]}"
            note(f"warning: nobody reads the environment variable {name}; {meant}")
