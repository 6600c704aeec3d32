"""What is at the server beside the queues of jobs, and what those queues need where no store has the jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from ..address import Address
from ..topology import QueueTopology

DEAD_LETTERS_MS: Final = 14 * 86_400_000  # how long what has failed for good is kept
DEAD_LETTERS_MOST: Final = 100_000  # messages in one queue of them; then the oldest goes
DELIVERIES_MOST: Final = 1_000_000  # of one message; so many that only an option of the URL, or a policy, makes it a limit
SERVERS_OWN: Final = 20  # RabbitMQ 4's, where it is not ours to say


@dataclass(frozen=True, slots=True)
class StorelessAddress(Address):
    """Where the server is, for jobs that live in their messages.

    A quorum queue of RabbitMQ 4 throws away what was delivered 20 times; here that would be a job, so it becomes a dead letter.
    And one that has no limit puts what a worker gives back, because it cannot run it soon, behind all others; one that has a
    limit puts it in front again.
    """

    def topology(self, queue: str) -> QueueTopology:
        topology = Address.topology(self, queue)
        if topology.arguments["x-queue-type"] != "quorum":
            return topology
        more: dict[str, Any] = {"x-delivery-limit": DELIVERIES_MOST}
        dead = None
        if "x-dead-letter-exchange" not in topology.arguments:
            dead = self.dead_letters(queue)
            more |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
        return replace(topology, arguments={**more, **topology.arguments}, dead=dead)

    def fresh_after(self, queue: str) -> int:
        """Return after how many deliveries a copy of a message begins anew, before the server loses patience with it."""
        topology = self.topology(queue)
        most = topology.arguments.get("x-delivery-limit", DELIVERIES_MOST) if topology.declare else SERVERS_OWN
        return max(1, most // 2) if isinstance(most, int) and most >= 0 else DELIVERIES_MOST

    def queues_among(self, names: Iterable[str]) -> list[str]:
        own = (f"{self.prefix}.delay.", f"{self.prefix}.box.", f"{self.prefix}.crashes.")
        return Address.queues_among(self, (name for name in names if not name.startswith(own)))

    def dead_letters(self, queue: str) -> QueueTopology:
        """Return where the jobs of a queue go that have failed for good."""
        arguments = {**self._kind(), "x-message-ttl": DEAD_LETTERS_MS, "x-max-length": DEAD_LETTERS_MOST}
        return self._own(f"dead.{queue}", arguments)

    def delay_level(self, level: int, milliseconds: int) -> QueueTopology:
        """Return the queue of one level of delays, in which messages live for so long."""
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
        """The exchange of control messages that everybody gets."""
        return f"{self.prefix}.control"

    @property
    def workers(self) -> str:
        """The queue from which all processes consume that may hold jobs; there is never anything in it."""
        return f"{self.prefix}.box.workers"

    def reply_queue(self, unique: str) -> str:
        """Return the name of a process's reply queue."""
        return f"{self.prefix}.box.{unique}"

    @property
    def is_durable(self) -> bool:
        """Whether what is declared outlives a restart of the server."""
        return self.options.get("durable", "yes") == "yes"

    def _kind(self) -> dict[str, Any]:
        return {"x-queue-type": self.options.get("queue_type", "quorum")}

    def _own(self, name: str, arguments: dict[str, Any]) -> QueueTopology:
        return QueueTopology(
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


def to_storeless(address: Address) -> StorelessAddress:
    """Return the same address for a broker without a store."""
    return StorelessAddress(
        address.url, address.name, address.prefix, address.timeout_seconds, address.options, address.api_port
    )
