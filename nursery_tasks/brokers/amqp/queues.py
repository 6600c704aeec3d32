"""The queues at the server as things that a person makes, looks into, and takes away."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from ...errors import BrokerRefused
from ...model.listing import ServerMessage, TransportQueue
from .address import Place
from .management import Api, quoted, read_queue
from .sending import Letter
from .transport import Transport

_PROPERTIES: Final = ("content_type", "reply_to", "correlation_id", "priority")


class AmqpQueues:
    """The half of the broker behind `ManagesQueues`, `TakesMessages` and `HasTransport`: it needs no store."""

    name: str

    @property
    def transport(self) -> Transport:
        """The server. Implemented by the other half."""
        raise NotImplementedError

    def transport_queue(self, queue: str) -> TransportQueue | None:
        place = self.transport.address.place(queue)
        found = read_queue(self.transport.address, queue)
        return self.transport.look(place) if found is None else found

    def queue_names(self) -> list[str]:
        address = self.transport.address
        api = Api(address)
        found: Any = api.call("GET", f"queues/{quoted(api.vhost)}?columns=name") or []
        return address.queues_among(each["name"] for each in found)

    def create_queue(self, queue: str) -> bool:
        place = self.transport.address.place(queue)
        if not place.declare:
            raise BrokerRefused(
                self.name, "its URL says declare=no, so nothing is made here", "leave that out, or make the queue elsewhere"
            )
        is_new = self.transport.look(place) is None
        self.transport.depth(place)  # declares all of it
        return is_new

    def delete_queue(self, queue: str, force: bool) -> bool:
        place = self.transport.address.place(queue)
        if not force:
            self._check_unused(place)
        # A quorum queue knows neither if_empty nor if_unused: what comes between the look and this is lost.
        return self.transport.with_channel(lambda channel: _delete(channel, place)) is not None

    def drop_messages(self, queue: str) -> int:
        place = self.transport.address.place(queue)
        return self.transport.with_channel(lambda channel: _purge(channel, place))

    def peek(self, queue: str, limit: int) -> list[ServerMessage]:
        place = self.transport.address.place(queue)
        found = self.transport.with_channel(lambda channel: _peek(channel, place, limit))
        if found is None:
            raise BrokerRefused(
                self.name, f"there is no queue {place.name!r}", f"nursery-tasks queues --create {queue}, or a worker, makes it"
            )
        return found

    def send_message(self, queue: str, message: ServerMessage) -> str:
        place = self.transport.address.place(queue)
        given: dict[str, Any] = {name: getattr(message, name) for name in _PROPERTIES}
        properties = {name: value for name, value in given.items() if value is not None}
        if message.headers:
            properties["headers"] = dict(message.headers)
        if message.type is not None:
            properties["message_type"] = message.type
        message_id = message.id or uuid4().hex
        self.transport.send([(place, [Letter(place.exchange, place.key, message.body, message_id, properties)])])
        return message_id

    def _check_unused(self, place: Place) -> None:
        """Refuse to delete what somebody uses.

        Raises:
            BrokerRefused: Somebody does.
        """
        found = self.transport.look(place)  # the management plugin's counts are some seconds old
        if found is not None and (found.ready or found.consumers):
            problem = f"the queue {place.name!r} is in use: messages {found.ready}, consumers {found.consumers}"
            raise BrokerRefused(
                self.name, problem, "--force deletes it with what waits in it; workers that serve it make it again"
            )


async def _delete(channel: AbstractChannel, place: Place) -> int | None:
    try:
        await channel.queue_declare(place.name, passive=True)
    except ChannelNotFoundEntity:
        return None
    return (await channel.queue_delete(place.name)).message_count or 0


async def _purge(channel: AbstractChannel, place: Place) -> int:
    try:
        return (await channel.queue_purge(place.name)).message_count or 0
    except ChannelNotFoundEntity:
        return 0


async def _peek(channel: AbstractChannel, place: Place, limit: int) -> list[ServerMessage] | None:
    """Fetch messages and acknowledge none: they go back to their places when the channel is closed."""
    found: list[ServerMessage] = []
    try:
        while len(found) < limit:
            message: Any = await channel.basic_get(place.name)
            if not isinstance(message.delivery, commands.Basic.GetOk):
                break
            found.append(_to_record(message))
    except ChannelNotFoundEntity:
        return None
    return found


def _to_record(message: Any) -> ServerMessage:
    properties = message.header.properties
    return ServerMessage(
        body=message.body,
        id=properties.message_id,
        type=properties.message_type,
        headers=dict(properties.headers or {}),
        redelivered=bool(message.delivery.redelivered),
        **{name: getattr(properties, name) for name in _PROPERTIES},
    )
