"""What a worker needs of the app that it works for. The app satisfies it; the worker does not know the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from ..brokers.gateway import Gateway
from ..channels.protocol import Channel
from ..events import Events
from ..registry import Registry
from ..scheduling.schedule import Definition


class WorkerConnection(Protocol):
    """An open connection."""

    @property
    def gateway(self) -> Gateway:
        """To the broker."""
        ...

    @property
    def now(self) -> Callable[[], float]:
        """Epoch seconds, for display."""
        ...


class WorkerApp(Protocol):
    """An app with an open connection."""

    @property
    def connection(self) -> WorkerConnection:
        """The open connection, or `AppNotOpen`."""
        ...

    @property
    def registry(self) -> Registry:
        """The tasks."""
        ...

    @property
    def events(self) -> Events:
        """Who listens."""
        ...

    @property
    def lifespans(self) -> Mapping[str, Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Any]]]:
        """The worker's resources, by name, in the order in which they are opened; each is given those before it."""
        ...

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The doors to the outside, by name."""
        ...

    def schedule_definitions(self) -> Mapping[str, Definition]:
        """Return the schedules that stand in the app's code, by name; made anew each time."""
        ...

    @property
    def node(self) -> str:
        """This machine's name."""
        ...

    @property
    def max_payload_bytes(self) -> int:
        """Larger results fail their job."""
        ...
