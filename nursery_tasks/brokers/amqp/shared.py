"""`global_qos`: one prefetch for all queues of a worker together, which is a limit of the channel that they share.

Any `basic.qos` without `global` ends it, and while it is absent messages come without a limit: so none is said while it holds.

So it holds for all queues that a worker serves or for none, with one number; and RabbitMQ has it for classic queues only, from
4.3 on only where it is allowed. All of that is found out when a worker begins, while somebody hears of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import BrokerRefused
from .address import Place
from .line import Line
from .sending import Declared


async def check_shared(name: str, places: Sequence[Place], line: Line, declared: Declared) -> None:
    """Refuse what cannot be had, after a trial on a channel of its own. On the portal's loop.

    Args:
        name: The broker's, for the error.

    Raises:
        BrokerRefused: The queues do not agree.
        aiormq.AMQPError: The server does not have it.
    """
    shared = [place for place in places if place.global_qos]
    if not shared:
        return
    others = [place for place in places if not place.global_qos or place.prefetch != shared[0].prefetch]
    if others:
        first, other = shared[0].queue, others[0].queue
        raise BrokerRefused(
            name,
            f"global_qos=yes of the queue {first!r} is one prefetch for all queues of a worker, and that of {other!r} differs",
            "give all of them global_qos=yes and the same prefetch=, or serve them with workers of their own",
        )
    if line.current is None:  # it opens later; nobody waits for that here
        return
    for place in shared:
        await declared.declare(place, line)
    async with line.scratch() as channel:  # what comes here meanwhile goes back when it is closed
        await channel.basic_qos(prefetch_count=1, global_=True)
        for place in shared:
            await channel.basic_consume(place.name, _ignore)


async def _ignore(message: Any) -> None:
    return
