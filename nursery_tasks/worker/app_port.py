"""What a worker needs of the app that it works for. The app satisfies it; the worker does not know the app."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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


class WorkerStages(Protocol):
    """What the worker runs beside its own intake: what brings messages of channels, and what makes some."""

    @property
    def closed(self) -> Collection[str]:
        """The queues of which no job is to begin now."""
        ...

    async def serve(self) -> None:
        """Run until cancelled, which is when the worker stops claiming."""
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

    def make_stages(
        self, queues: Sequence[str], processed: Callable[[], int], on_opened: Callable[[], None]
    ) -> WorkerStages | None:
        """Return the stages of a worker that serves *queues*; None: there are none.

        Args:
            processed: Says how many attempts have ended in the worker.
            on_opened: Called when some are not `closed` any more.
        """
        ...

    @property
    def node(self) -> str:
        """This machine's name."""
        ...

    @property
    def max_payload_bytes(self) -> int:
        """Larger results fail their job."""
        ...
