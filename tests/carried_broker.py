"""A broker whose calls an event loop carries, for code that blocks: so the contract can be asked of the link on the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from nursery_tasks.brokers.gateway import Gateway
from nursery_tasks.brokers.protocol import Broker, Emit, Listener
from nursery_tasks.model.delivery import Topic

TRANSITIONS = ("submit", "claim", "settle", "renew", "cancel", "renew_owners", "outcomes", "sweep")
PARTS = ("outbox", "states", "locks")  # some of their calls are carried, too


class Loop:
    """An event loop in a thread, which carries the calls of brokers."""

    def __init__(self, backend: str) -> None:
        self._stack = ExitStack()
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal(backend))

    def carry(self, broker: Broker) -> Broker:
        """Return *broker*, with its calls carried by this loop."""
        return CarriedBroker(broker, self._portal)

    def close(self) -> None:
        self._stack.close()


class CarriedBroker(Broker):
    """A broker as those who block see it."""

    def __init__(self, broker: Broker, portal: BlockingPortal) -> None:
        self._broker = broker
        self._portal = portal
        self._gateway = portal.call(Gateway, broker)
        self._on_loop = portal.wrap_async_context_manager(self._gateway.on_loop())
        self._on_loop.__enter__()
        self._closed = False
        for name in Broker.__annotations__:
            setattr(self, name, getattr(broker, name))
        for name in PARTS:
            setattr(self, name, _Carried(getattr(broker, name), self._call))
        for name in TRANSITIONS:
            setattr(self, name, getattr(_Carried(broker, self._call), name))

    def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
        return self._broker.listen(topics, emit)

    def close(self) -> None:
        self._broker.close()
        if not self._closed:
            self._closed = True
            self._on_loop.__exit__(None, None, None)
            self._portal.call(self._gateway.close)

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        return method(*args) if self._closed else self._portal.call(self._gateway.call, method, *args)


class _Carried:
    def __init__(self, owner: Any, call: Callable[..., Any]) -> None:
        self._owner, self._call = owner, call

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._owner, name)
        return lambda *args, **more: self._call(lambda: method(*args, **more)) if more else self._call(method, *args)
