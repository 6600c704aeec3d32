"""`global_qos`: one prefetch for all queues of a worker together, which is a limit of the channel that they share.

Any `basic.qos` without `global` ends it, and while it is absent messages come without a limit: so none is said while it holds.

So it holds for all queues that a worker serves or for none, with one number; and RabbitMQ has it for classic queues only, from
4.3 on only where it is allowed. All of that is found out when a worker begins, while somebody hears of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import BrokerRefused
from .connection import Connection
from .publishing import Declared
from .topology import QueueTopology


async def check_global_qos(name: str, topologies: Sequence[QueueTopology], connection: Connection, declared: Declared) -> None:
    """Refuse what cannot be had, after a trial on a channel of its own. On the portal's loop.

    Args:
        name: The broker's, for the error.

    Raises:
        BrokerRefused: The queues do not agree.
        aiormq.AMQPError: The server does not have it.
    """
    shared = [topology for topology in topologies if topology.global_qos]
    if not shared:
        return
    others = [topology for topology in topologies if not topology.global_qos or topology.prefetch != shared[0].prefetch]
    if others:
        first, other = shared[0].queue, others[0].queue
        raise BrokerRefused(
            name,
            f"global_qos=yes of the queue {first!r} is one prefetch for all queues of a worker, and that of {other!r} differs",
            "give all of them global_qos=yes and the same prefetch=, or serve them with workers of their own",
        )
    if connection.current is None:  # it opens later; nobody waits for that here
        return
    for topology in shared:
        await declared.declare(topology, connection)
    async with connection.scratch() as channel:  # what comes here meanwhile goes back when it is closed
        await channel.basic_qos(prefetch_count=1, global_=True)
        for topology in shared:
            await channel.basic_consume(topology.name, _ignore)


async def _ignore(message: Any) -> None:
    return
