"""What blocking handles and watches share: the app's broker, how a thread waits for its hints, and for which loop it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

from anyio import from_thread

from ..brokers.protocol import Broker
from ..current import check_cancelled, current_job_or_none
from ..log_throttle import LogThrottle
from ..model.delivery import Hint, Topic
from .connection import ConnectedApp, Connection
from .unserved import Unserved

CHECK_SECONDS: Final = 0.02  # how late a waiting handler in a process sees its cancel

_log = logging.getLogger("nursery_tasks.client")


class SyncConnection:
    """The broker of an app, for any thread.

    Args:
        app: Asked for its open connection by a `def` handler of its own, whose calls go through the worker's loop.
        broker: Called for the broker when it is first needed.

    Attributes:
        not_looked: Tells that the broker cannot be asked for a job; for all who wait for one.
        unserved: Tells why a job that somebody waits for has not begun.
    """

    def __init__(self, app: ConnectedApp, broker: Callable[[], Broker]) -> None:
        self.app = app
        self.broker = broker
        self.not_looked = LogThrottle(_log)
        self.unserved = Unserved()

    def of_this_thread(self) -> Connection | None:
        """Return the app's open connection when this thread runs a `def` handler, or other work, for that one's loop."""
        connection = self.app.open_connection
        if connection is None:
            return None
        try:
            thread = from_thread.run_sync(threading.get_ident)
        except RuntimeError:  # no loop waits for this thread
            return None
        return connection if thread == connection.thread else None


@contextmanager
def woken_by(broker: Broker, topics: Sequence[Topic], name: str) -> Generator[threading.Event, None, None]:
    """Give an event that is set whenever the broker has a hint about *name*."""
    woken = threading.Event()

    def emit(hint: Hint) -> None:
        if not hint.names or name in hint.names:
            woken.set()

    listener = broker.listen(topics, emit)
    try:
        yield woken
    finally:
        listener.close()


def pause(woken: threading.Event, seconds: float) -> None:
    """Wait, and in a handler look now and then whether its job has been cancelled."""
    if current_job_or_none() is None:
        woken.wait(seconds)
        return
    check_cancelled()
    woken.wait(min(seconds, CHECK_SECONDS))
