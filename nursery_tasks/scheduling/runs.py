"""The job of one run: the job of its schedule, with an id, and with the slot in its message."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from ..model.codec import Codec
from ..model.delivery import Submission
from .schedule import Definition, limits_of_run


def job_of_run(
    name: str, definition: Definition, job_id: str, slot: datetime | None, codec: Codec, sent_at: float
) -> Submission:
    """Make the job of a run.

    Args:
        slot: None: it is run by hand.
        sent_at: This moment, in epoch seconds; for display only.

    Raises:
        Undecodable: The message cannot be read any more; see `Codec.decode_message`.
    """
    message = replace(codec.decode_message(definition.job.payload), slot=slot, sent_at=sent_at)
    payload = codec.encode(f"an argument of {message.task}", message)
    return replace(definition.job, id=job_id, payload=payload, limits=limits_of_run(name, definition))
