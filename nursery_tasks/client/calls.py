"""How a broker is called: awaited, through its gateway, or at once.

Where each step is one call to the broker, the rules are written once, as coroutines that await their calls: the async client
awaits those, and the blocking one runs them with calls that return at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from ..brokers.gateway import Gateway
from ..brokers.protocol import Broker

T = TypeVar("T")


class Calls(Protocol):
    """Calls a broker."""

    @property
    def broker(self) -> Broker:
        """The open broker."""
        ...

    def __call__(self, method: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Make one call."""
        ...


class GatewayCalls:
    """Calls a broker through its gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.broker = gateway.broker

    async def __call__(self, method: Callable[..., T], *args: Any) -> T:
        """Make one call."""
        return await self._gateway.call(method, *args)


class DirectCalls:
    """Calls a broker at once."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def __call__(self, method: Callable[..., T], *args: Any) -> T:
        """Make one call."""
        return method(*args)


def run_at_once(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that awaits nothing but `DirectCalls`: it ends at its first step."""
    try:
        steps.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    finally:
        steps.close()
    raise AssertionError("a coroutine of blocking calls has waited for a loop")
