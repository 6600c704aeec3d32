"""What a job of a stage sends out when it ends: its result, in one step with its outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import PayloadTooLarge
from ..execution.results import Encoded
from ..model.channel_message import ChannelMessage
from ..model.delivery import Delivery
from ..model.outcome import Outcome
from ..model.outgoing import Outgoing
from ..model.raw import unwrap_raw
from ..model.reply import Address, pack_error
from ..model.sent import JSON, named, to_channel_message, to_outgoing
from ..model.stage import Place, Stage
from ..model.states import JobState
from ..registry import Registry, TaskSpec
from .foreign import raw_task

STATE_HEADER = "nursery-tasks-state"  # of an answer that is no result: how the job ended


class Sending:
    """Makes outgoing messages of results, for one worker.

    Args:
        limit_bytes: A larger message fails its job.
    """

    def __init__(self, registry: Registry, limit_bytes: int) -> None:
        self.registry = registry
        self._limit_bytes = limit_bytes

    def of_result(self, spec: TaskSpec, stage: Stage, delivery: Delivery, value: Any) -> tuple[Outgoing, ...]:
        """Return what goes out of a job that has succeeded; None of a handler is silence.

        Raises:
            NotSerializable, PayloadTooLarge: It cannot travel.
        """
        if stage.kind != "handler":
            return ()
        items = (value or ()) if stage.many else (value,)
        return tuple(message for _, messages in self.of_items(spec, stage, delivery, items) for message in messages)

    def of_items(
        self, spec: TaskSpec, stage: Stage, delivery: Delivery, items: Sequence[Any], first: int = 0
    ) -> Iterator[tuple[int, list[Outgoing]]]:
        """Yield each item's number and its messages, one for each destination. Raises as `of_result` does.

        Args:
            first: The number of the first item.
        """
        head, _ = unwrap_raw(delivery.payload) if delivery.raw else (None, b"")
        places, correlation_id = stage.reply, None if head is None else head.id
        if not places and stage.source.channel and head is not None and head.reply_to is not None:
            places = (Place(stage.source.channel, head.reply_to),)
        for number, item in enumerate(items, first):
            if item is None or not places:
                yield number, []
            else:
                message = self._message(spec, item, f"{delivery.id}.{number}", correlation_id)
                yield number, [to_outgoing(place, message) for place in places]

    def decoded(self, spec: TaskSpec, stage: Stage, value: Any) -> Any:
        """Return a result as the handler has made it, also where that was in another process."""
        if type(value) is not Encoded:
            return value
        wanted = list[stage.gives] if stage.many else stage.gives  # type: ignore[name-defined]
        return self.registry.codec.decode_value(value.body, self.registry.codec.form, wanted)

    def of_end(self, delivery: Delivery, outcome: Outcome) -> tuple[Outgoing, ...]:
        """Return what who awaits an answer is told of a job that has not succeeded."""
        if outcome.state is JobState.SUCCEEDED or not delivery.raw:
            return ()
        spec = raw_task(self.registry, delivery)
        if spec is None or spec.stage is None or not spec.stage.answers or not spec.stage.source.channel:
            return ()
        head, _ = unwrap_raw(delivery.payload)
        if head.reply_to is None:
            return ()
        message = ChannelMessage(
            body=pack_error(Address(head.reply_to, head.id or delivery.id), outcome),
            content_type=JSON,
            id=f"{delivery.id}.end",
            correlation_id=head.id,
            headers={STATE_HEADER: outcome.state.value},
        )
        return (to_outgoing(Place(spec.stage.source.channel, head.reply_to), message),)

    def _message(self, spec: TaskSpec, value: Any, message_id: str, correlation_id: str | None) -> ChannelMessage:
        what = f"the result of {spec.name}"
        made = to_channel_message(value, lambda each: self.registry.codec.to_json(what, each))
        message = named(made, message_id, correlation_id)
        if len(message.body) > self._limit_bytes:
            raise PayloadTooLarge(what, len(message.body), self._limit_bytes)
        return message
