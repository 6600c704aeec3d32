"""The queues at the server as things that a person makes, looks into, and takes away."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from ...errors import BrokerRefused
from ...model.listing import ServerMessage, TransportQueue
from ...shown import command_line
from ..common.foreign import id_of
from .management import Api, quoted, read_queue
from .publishing import OutgoingMessage
from .topology import QueueTopology
from .transport import Transport

_PROPERTIES: Final = ("content_type", "reply_to", "correlation_id", "priority")


class AmqpPostbox:
    """The calls of `Postbox`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send_message(self, queue: str, message: ServerMessage) -> str:
        topology = self._transport.address.topology(queue)
        given: dict[str, Any] = {name: getattr(message, name) for name in _PROPERTIES}
        properties = {name: value for name, value in given.items() if value is not None}
        if message.headers:
            properties["headers"] = dict(message.headers)
        if message.type is not None:
            properties["message_type"] = message.type
        message_id = message.id or uuid4().hex
        self._transport.send(
            [(topology, [OutgoingMessage(topology.exchange, topology.key, message.body, message_id, properties)])]
        )
        return message_id if message.type is not None else id_of(message.body) or message_id


class AmqpReplies:
    """The calls of `Replies`: at a server with its own queues for answers these are fetched from there."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def take_replies(self, name: str, limit: int) -> list[bytes]:
        return self._transport.take_answers(name, limit)


class AmqpQueues:
    """The calls of `Queues`.

    Args:
        name: How the broker is called in errors.
    """

    def __init__(self, name: str, transport: Transport) -> None:
        self._name = name
        self._transport = transport

    def transport_queue(self, queue: str) -> TransportQueue | None:
        topology = self._transport.address.topology(queue)
        found = read_queue(self._transport.address, queue)
        return self._transport.look(topology) if found is None else found

    def queue_names(self) -> list[str]:
        address = self._transport.address
        api = Api(address)
        found: Any = api.call("GET", f"queues/{quoted(api.vhost)}?columns=name") or []
        return address.queues_among(each["name"] for each in found)

    def create_queue(self, queue: str) -> bool:
        topology = self._transport.address.topology(queue)
        if not topology.declare:
            raise BrokerRefused(
                self._name, "its URL says declare=no, so nothing is made here", "leave that out, or make the queue elsewhere"
            )
        is_new = self._transport.look(topology) is None
        self._transport.depth(topology)  # declares all of it
        return is_new

    def delete_queue(self, queue: str, force: bool) -> bool:
        topology = self._transport.address.topology(queue)
        if not force:
            self._check_unused(topology)
        # A quorum queue knows neither if_empty nor if_unused: what comes between the look and this is lost.
        return self._transport.with_channel(lambda channel: _delete(channel, topology)) is not None

    def drop_messages(self, queue: str) -> int:
        topology = self._transport.address.topology(queue)
        return self._transport.with_channel(lambda channel: _purge(channel, topology))

    def peek(self, queue: str, limit: int) -> list[ServerMessage]:
        topology = self._transport.address.topology(queue)
        found = self._transport.with_channel(lambda channel: _peek(channel, topology, limit))
        if found is None:
            raise BrokerRefused(
                self._name,
                f"there is no queue {topology.name!r}",
                f"{command_line('queues --create', queue)}, or a worker, makes it",
            )
        return found

    def _check_unused(self, topology: QueueTopology) -> None:
        """Refuse to delete what somebody uses.

        Raises:
            BrokerRefused: Somebody does.
        """
        found = self._transport.look(topology)  # the management plugin's counts are some seconds old
        if found is not None and (found.ready or found.consumers):
            problem = f"the queue {topology.name!r} is in use: messages {found.ready}, consumers {found.consumers}"
            raise BrokerRefused(
                self._name, problem, "--force deletes it with what waits in it; workers that serve it make it again"
            )


async def _delete(channel: AbstractChannel, topology: QueueTopology) -> int | None:
    try:
        await channel.queue_declare(topology.name, passive=True)
    except ChannelNotFoundEntity:
        return None
    return (await channel.queue_delete(topology.name)).message_count or 0


async def _purge(channel: AbstractChannel, topology: QueueTopology) -> int:
    try:
        return (await channel.queue_purge(topology.name)).message_count or 0
    except ChannelNotFoundEntity:
        return 0


async def _peek(channel: AbstractChannel, topology: QueueTopology, limit: int) -> list[ServerMessage] | None:
    """Fetch messages and acknowledge none: they go back to their places when the channel is closed."""
    found: list[ServerMessage] = []
    try:
        while len(found) < limit:
            message: Any = await channel.basic_get(topology.name)
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
