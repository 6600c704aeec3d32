"""The scripts: one per transition, each with the pieces before it that all have in common."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from ...model.delivery import JOB_OWNER_SECONDS, KEPT_SECONDS
from ...model.limits import ORDER, no_room
from ...model.options import DEAD_TTL_SECONDS, HARD_PAYLOAD_BYTES, MAX_CRASHES, RESULT_TTL_SECONDS
from ...model.pauses import PAUSED
from ...model.reasons import OWNER_ENDED, OWNER_GONE
from ..common.states import NUMBERS
from ..protocol import CLAIM_LOOKS, CRASH_STEP, OWNED_GRACE_SECONDS, PARKED_LOOKS, REPLIES_KEPT, REPLY_SECONDS, SHARE_STEP
from .layout import LAYOUT

# While the server has no memory left (`maxmemory`), new jobs are refused, and those that exist go on to their end.
_NEEDS_MEMORY: Final = frozenset({"submit", "fire", "reschedule", "beat", "put", "append"})
# What somebody relies on when the call has returned; with `?replicas=` it waits for them.
_PROMISES: Final = frozenset({"submit", "fire", "reschedule", "settle", "cancel", "requeue", "lock", "put", "pause_task"})
_ALLOW: Final = "#!lua flags=allow-oom\n"  # since 7.0; before that the server refuses what writes
_NAMES: Final = (
    *("submit", "claim", "settle", "renew", "cancel", "hold", "outcomes", "sweep"),
    *("job", "jobs", "queues", "purge", "pause", "requeue", "beat", "workers"),
    *("parked", "pause_task", "pauses", "limits", "lock", "relock", "unlock", "locks"),
    *("fire", "reschedule", "look", "schedule", "schedules"),
    *("put", "next", "drop", "outboxes", "states", "forget"),
    *("append", "read"),
    "open",
)
_TOLD: Final = frozenset({"submit", "claim", "settle", "cancel", "hold", "sweep"})  # they end with `told`
_INCLUDE: Final = re.compile(r"^-- include (\w+)\.lua\n", re.MULTILINE)  # a line that stands for the text of a piece


# What each script begins with. All but the first stand in one function, which makes a call cheap: whenever Lua makes a
# function, it searches all locals of the function around it for what that uses, and has at once what is of a function further
# out. For the same reason constants are put into the text.
_PIECES: Final = ("begin", "finding", "placing", "gating", "parking", "writing", "moving", "owning", "locking")
_CONSTANTS: Final = re.compile(r"^([A-Z_, ]+) = ([-0-9, ]*[0-9])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One script, as text and as the name by which the server knows it.

    Attributes:
        promises: Somebody relies on what it has done.
        tells: It answers with what it has to say, and with the jobs that it has ended.
    """

    text: str
    sha: str
    promises: bool = False
    tells: bool = False


def read_scripts(version: tuple[int, ...]) -> dict[str, Script]:
    """Put the scripts together for a server of this version."""
    folder = files(__name__.rpartition(".")[0]) / "lua"
    constants = _read_constants((folder / "constants.lua").read_text())
    word = re.compile(rf"'[^'\n]*'|--[^\n]*|\b(?:{'|'.join(constants)})\b")  # not in a text, nor in a comment

    def read(name: str) -> str:
        text = word.sub(lambda found: constants.get(found[0], found[0]), (folder / f"{name}.lua").read_text())
        return _INCLUDE.sub(lambda line: read(line[1]), text)

    first, *functions = [read(piece) for piece in _PIECES]
    common = f"{first}return (function()\n{''.join(functions)}"
    scripts: dict[str, Script] = {}
    for name in _NAMES:
        begin = _ALLOW if version >= (7,) and name not in _NEEDS_MEMORY else ""
        text = f"{begin}{common}{read(name)}end)()\n"
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        scripts[name] = Script(text, sha, name in _PROMISES, name in _TOLD)
    return scripts


def _read_constants(text: str) -> dict[str, str]:
    """Return what stands for each name: those of the model, and those that only scripts know."""
    numbers: dict[str, float] = {state.upper(): number for state, number in NUMBERS.items()}
    numbers |= {"RESULT_TTL_SECONDS": RESULT_TTL_SECONDS, "DEAD_TTL_SECONDS": DEAD_TTL_SECONDS, "KEPT_SECONDS": KEPT_SECONDS}
    numbers |= {"DEFAULT_MAX_CRASHES": MAX_CRASHES, "HARD_PAYLOAD_BYTES": HARD_PAYLOAD_BYTES, "CLAIM_LOOKS": CLAIM_LOOKS}
    numbers |= {"REPLIES_KEPT": REPLIES_KEPT, "REPLY_SECONDS": REPLY_SECONDS, "OWNED_GRACE_SECONDS": OWNED_GRACE_SECONDS}
    numbers |= {"JOB_OWNER_SECONDS": JOB_OWNER_SECONDS, "CRASH_STEP": CRASH_STEP, "SHARE_STEP": SHARE_STEP}
    numbers |= {"PARKED_LOOKS": PARKED_LOOKS}
    texts = {"OWNER_GONE": OWNER_GONE, "OWNER_ENDED": OWNER_ENDED, "NO_ROOM": no_room(""), "ORDER": ORDER, "PAUSED": PAUSED}
    texts |= {"LAYOUT": LAYOUT}
    constants = {name: str(int(number)) for name, number in numbers.items()}
    constants |= {name: repr(value) for name, value in texts.items()}
    for names, values in _CONSTANTS.findall(text):
        constants |= dict(zip(names.split(", "), values.split(", "), strict=True))
    return constants
