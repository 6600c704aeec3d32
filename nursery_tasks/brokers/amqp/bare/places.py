"""What is at the server beside the queues of jobs, and what those queues need where no store has the jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from ..address import Address, Place

DEAD_MS: Final = 14 * 86_400_000  # how long what has failed for good is kept
DEAD_MOST: Final = 100_000  # messages in one queue of them; then the oldest goes


@dataclass(frozen=True, slots=True)
class BareAddress(Address):
    """Where the server is, for jobs that live in their messages.

    A quorum queue of RabbitMQ 4 throws away what was delivered 20 times; here that would be a job, so it goes to the dead.
    """

    def place(self, queue: str) -> Place:
        place = Address.place(self, queue)
        if place.arguments["x-queue-type"] != "quorum" or "x-dead-letter-exchange" in place.arguments:
            return place
        more = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead(queue).name}
        return replace(place, arguments={**place.arguments, **more})

    def queues_among(self, names: Iterable[str]) -> list[str]:
        own = (f"{self.prefix}.delay.", f"{self.prefix}.box.", f"{self.prefix}.crashes.")
        return Address.queues_among(self, (name for name in names if not name.startswith(own)))

    def dead(self, queue: str) -> Place:
        """Return where the jobs of a queue go that have failed for good."""
        arguments = {**self._kind(), "x-message-ttl": DEAD_MS, "x-max-length": DEAD_MOST}
        return self._own(f"dead.{queue}", arguments)

    def rung(self, level: int, milliseconds: int) -> Place:
        """Return the queue of one step of a delay."""
        to = f"{self.prefix}.delay.{level - 1}" if level else self.due
        arguments = {**self._kind(), "x-message-ttl": milliseconds, "x-dead-letter-exchange": to}
        if arguments["x-queue-type"] == "quorum":
            arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        return self._own(f"delay.{level}", arguments)

    @property
    def due(self) -> str:
        """The exchange to which delays lead."""
        return f"{self.prefix}.due"

    @property
    def control(self) -> str:
        """The exchange that everybody hears."""
        return f"{self.prefix}.control"

    @property
    def is_durable(self) -> bool:
        """Whether what is declared outlives a restart of the server."""
        return self.options.get("durable", "yes") == "yes"

    def _kind(self) -> dict[str, Any]:
        return {"x-queue-type": self.options.get("queue_type", "quorum")}

    def _own(self, name: str, arguments: dict[str, Any]) -> Place:
        return Place(
            queue=name,
            exchange="",
            exchange_type="direct",
            name=f"{self.prefix}.{name}",
            key=f"{self.prefix}.{name}",
            durable=self.is_durable,
            arguments=arguments,
            declare=True,
            prefetch=None,
            global_qos=False,
        )


def to_bare(address: Address) -> BareAddress:
    """Return the same address for a broker without a store."""
    return BareAddress(address.url, address.name, address.prefix, address.timeout_seconds, address.options, address.api_port)
