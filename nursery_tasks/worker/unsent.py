"""Messages that the other side has refused: dead letters, which are sent again when a person puts them back."""

from __future__ import annotations

import hashlib
from typing import Final

from ..brokers.needed import outbox_of
from ..model.codec import pack_outcome
from ..model.delivery import Submission
from ..model.message import Message
from ..model.options import JobOptions
from ..model.outcome import Outcome
from ..model.outgoing import Outgoing
from ..model.states import JobState
from ..registry import Registry, make_spec
from .app_port import WorkerApp

UNSENT: Final = "nursery_tasks.unsent"  # what messages call the task of such a letter


def register_unsent(app: WorkerApp) -> None:
    """Let the workers of *app* send dead letters again."""

    async def send_again(destination: str, message: bytes) -> None:
        """Put a message at the end of its line."""
        gateway = app.connection.gateway
        await gateway.call(outbox_of(gateway.broker).put_outgoing, [Outgoing(destination, message)])

    app.registry.own[UNSENT] = make_spec(send_again, UNSENT, None, JobOptions())


def to_letter(registry: Registry, queue: str, destination: str, position: int, packed: bytes, problem: str) -> Submission:
    """Return a message as a job that is dead; for one position of a line it is always the same job.

    Args:
        queue: Where it waits when an operator runs it again.
    """
    name = hashlib.sha256(b"%s\0%d\0%s" % (destination.encode(), position, packed)).hexdigest()[:32]
    message = Message(task=UNSENT, args=[destination, packed])
    payload = registry.codec_for("msgpack").encode("a message", message)  # not JSON: the bytes stand in it as they are
    outcome = pack_outcome(Outcome(state=JobState.DEAD, reason=f"not sent to {destination}: {problem}"))
    return Submission(name, queue, UNSENT, payload, ended=JobState.DEAD, outcome=outcome)
