"""What a URL says of a server and its places, and what a place's name means.

`orders` is a queue, and to send to it a routing key of the default exchange (or of `?exchange=`). `shop/orders.new` is a
routing key of the exchange `shop`, which can only be sent to. A queue with a `/` in its name has one more in front: `/a/b`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from ...brokers.amqp.address import QUEUE, Address, read_address
from ...brokers.amqp.topology import QueueTopology
from ...errors import InvalidChannelUrl, InvalidOptions
from ...shown import redacted

Declare = Literal["receive", "yes", "no"]

_NOT_HERE: Final = ("prefix", "store", "api_port", "global_qos")  # of the broker
_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_.:@#,/+ -]+")  # as the driver takes it
_MOST: Final = 255  # bytes of a queue's name, and of a routing key


@dataclass(frozen=True, slots=True)
class Target:
    """Where a message is published; *queue* says how to make what is missing there, None: nothing is made."""

    exchange: str
    key: str
    queue: QueueTopology | None = None


class Places:
    """The places of one server.

    Attributes:
        declare: Whether a queue that is missing is made: when it is read from, also when it is sent to, or never.
    """

    def __init__(self, url: str) -> None:
        name = redacted(url).partition("?")[0]
        options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        for option in _NOT_HERE:
            if option in options:
                raise InvalidChannelUrl(url, f"a channel has no option {option!r}")
        declare = options.pop("declare", "receive")
        if declare not in ("receive", "yes", "no"):
            raise InvalidChannelUrl(url, f"declare={declare!r} is neither receive nor yes nor no")
        self.declare: Final[Declare] = "receive" if declare == "receive" else "yes" if declare == "yes" else "no"
        defaults = {"exchange": "", "queue": QUEUE, "routing_key": QUEUE}
        self.address: Address = read_address(url, {**defaults, **options}, name)

    def queue(self, place: str) -> QueueTopology:
        """Return the queue that a place to read from means.

        Raises:
            InvalidOptions: It means none.
        """
        name = place.removeprefix("/")
        if (
            not _QUEUE_NAME.fullmatch(name)
            or len(name) > _MOST
            or name.startswith("amq.rabbitmq.reply-to")
            or ("/" in name and name is place)
        ):
            raise InvalidOptions(
                "place", place, "the name of a queue: letters, digits and _.:@#,+-; with / in it, one more stands in front"
            )
        return self.address.topology(name)

    def target(self, place: str) -> Target:
        """Return where to publish what is sent to a place.

        Raises:
            InvalidOptions: There can be no such place.
        """
        exchange, slash, key = place.partition("/")
        if not place or len(key.encode()) > _MOST or len(exchange.encode()) > _MOST or "\0" in place or place == "/":
            raise InvalidOptions("place", place, "a queue, or exchange/routing.key, of at most 255 bytes each")
        if exchange and slash:
            return Target(exchange, key)
        name = key if slash else place
        can_be_made = self.declare == "yes" and _QUEUE_NAME.fullmatch(name) and not name.startswith("amq.")
        topology = self.address.topology(name)
        return Target(topology.exchange, topology.key, topology if can_be_made else None)


def to_place(reply_to: str) -> str:
    """Return the place that a `reply_to` of AMQP means, which is always a routing key of the default exchange."""
    return f"/{reply_to}" if "/" in reply_to else reply_to


def to_reply_to(place: str) -> str:
    """Return what other programs are to reply to, for a place of ours."""
    return place.removeprefix("/")
