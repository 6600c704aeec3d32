"""What `nursery-tasks doctor` finds."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..model.listing import WorkerRecord

RUN: Final = "nursery-tasks run module:app"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        step: What to do next, where there is something to do.
    """

    level: Level
    what: str
    text: str
    step: str = ""


def is_gone(worker: WorkerRecord) -> bool:
    """Say whether a worker of this machine was killed."""
    if worker.node != socket.gethostname():
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
