"""What a broker says of itself, and to its server of the workers here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...model.options import is_inbox
from ..common.subscription import Listener
from .transport import Transport


class AmqpFacts:
    """The calls of `Facts`.

    Args:
        of_store: Returns what is to be said of the store.
    """

    def __init__(self, transport: Transport, of_store: Callable[[], Mapping[str, str]]) -> None:
        self._transport, self._of_store = transport, of_store

    def describe(self) -> dict[str, str]:
        server = self._transport.server
        return {
            str(server.get("product", "AMQP server")): str(server.get("version", "?")),
            "cluster": str(server.get("cluster_name", "?")),
            "prefix": self._transport.address.prefix,
            **self._of_store(),
        }


class AmqpPrefetch:
    """The calls of `Prefetch`: messages of these queues are pushed here ahead of the claims.

    Args:
        on_end: Called with queues that a worker serves no more, before the server hears of it; None: nothing is to be done.
    """

    def __init__(self, transport: Transport, on_end: Callable[[Sequence[str]], None] | None = None) -> None:
        self._transport, self._on_end = transport, on_end

    def feed(self, queues: Sequence[str], slots: int) -> Listener:
        served = tuple(queue for queue in dict.fromkeys(queues) if not is_inbox(queue))
        self._transport.feed(served, slots)
        return _Feed(self, served)

    def end(self, queues: Sequence[str]) -> None:
        """End what `feed` began."""
        if self._on_end is not None:
            self._on_end(queues)
        self._transport.unfeed(queues)


class _Feed:
    """The queues of one worker."""

    def __init__(self, prefetch: AmqpPrefetch, queues: Sequence[str]) -> None:
        self._prefetch, self._queues = prefetch, queues
        self._closed = False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._prefetch.end(self._queues)
