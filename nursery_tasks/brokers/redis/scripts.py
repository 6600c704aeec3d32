"""The scripts: one per transition, each with `lua/common.lua` before it and the model's constants before that."""

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
_INCLUDE: Final = re.compile(r"^-- include (\w+\.lua)\n", re.MULTILINE)  # a line that stands for the text of a piece


@dataclass(frozen=True, slots=True)
class Script:
    """One script, as text and as the name by which the server knows it."""

    text: str
    sha: str
    promises: bool = False


def read_scripts(version: tuple[int, ...]) -> dict[str, Script]:
    """Put the scripts together for a server of this version."""
    folder = files(__name__.rpartition(".")[0]) / "lua"
    constants = {state.upper(): number for state, number in NUMBERS.items()}
    constants |= {"RESULT_TTL_SECONDS": int(RESULT_TTL_SECONDS), "DEFAULT_MAX_CRASHES": MAX_CRASHES}
    constants |= {"HARD_PAYLOAD_BYTES": HARD_PAYLOAD_BYTES}
    constants |= {"REPLIES_KEPT": REPLIES_KEPT, "REPLY_SECONDS": int(REPLY_SECONDS)}
    constants |= {"DEAD_TTL_SECONDS": int(DEAD_TTL_SECONDS), "OWNED_GRACE_SECONDS": int(OWNED_GRACE_SECONDS)}
    constants |= {"JOB_OWNER_SECONDS": int(JOB_OWNER_SECONDS), "KEPT_SECONDS": int(KEPT_SECONDS)}
    constants |= {
        "CLAIM_LOOKS": CLAIM_LOOKS,
        "CRASH_STEP": CRASH_STEP,
        "SHARE_STEP": int(SHARE_STEP),
        "PARKED_LOOKS": PARKED_LOOKS,
    }
    head = f"local {', '.join(constants)} = {', '.join(str(value) for value in constants.values())}\n"
    head += f"local OWNER_GONE, OWNER_ENDED, NO_ROOM = {OWNER_GONE!r}, {OWNER_ENDED!r}, {no_room('')!r}\n"
    head += f"local ORDER, PAUSED, LAYOUT = {ORDER!r}, {PAUSED!r}, {LAYOUT!r}\n"
    head += (folder / "common.lua").read_text()
    scripts: dict[str, Script] = {}
    for name in _NAMES:
        begin = _ALLOW if version >= (7,) and name not in _NEEDS_MEMORY else ""
        body = _INCLUDE.sub(lambda line: (folder / line[1]).read_text(), (folder / f"{name}.lua").read_text())
        text = begin + head + body
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        scripts[name] = Script(text, sha, name in _PROMISES)
    return scripts
