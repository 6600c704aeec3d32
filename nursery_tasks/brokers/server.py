"""The parts of a broker whose messages are moved by a server of their own, and the users of such a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..model.listing import PermissionRecord, ServerMessage, TransportQueue, UserRecord


@runtime_checkable
class Queues(Protocol):
    """Queues that are things at a server, which are made and deleted there.

    Every method may also raise `BrokerRefused`: the server does not do it, or this broker was told not to.
    """

    def queue_names(self) -> list[str]:
        """List the queues at the server that are this broker's, by name.

        Raises:
            BrokerUnreachable: The server does not say; a queue whose name is known can be asked about all the same.
        """
        ...

    def create_queue(self, queue: str) -> bool:
        """Make a queue, with all that leads to it, as the broker's URL wants it. False: it was there already.

        Raises:
            BrokerUnavailable: One is there and is different.
        """
        ...

    def delete_queue(self, queue: str, force: bool) -> bool:
        """Delete a queue, and with *force* also the messages and waiting jobs in it. False: there was none.

        What workers hold of it goes on. A worker that serves it makes it again.

        Raises:
            BrokerRefused: Without *force*: somebody serves it, or there is something in it.
        """
        ...

    def drop_messages(self, queue: str) -> int:
        """Delete the messages of a queue that wait, and say how many; jobs that are stored elsewhere stay there."""
        ...

    def peek(self, queue: str, limit: int) -> list[ServerMessage]:
        """Look at up to *limit* messages that wait, the next one first, and leave them there.

        While somebody looks nobody else gets them, and the server counts it as a delivery.

        Raises:
            BrokerRefused: There is no such queue.
        """
        ...

    def transport_queue(self, queue: str) -> TransportQueue | None:
        """Return what that server knows of a queue; None: there is no such queue there."""
        ...


@runtime_checkable
class Postbox(Protocol):
    """Messages as other programs send them, which know nothing of this package."""

    def send_message(self, queue: str, message: ServerMessage) -> str:
        """Send a message to where a queue's messages go; returns the id of its job. The server has it on return."""
        ...


class Users(Protocol):
    """The users of a server and what they may do; `brokers/url.py` makes this from a URL, without opening a broker.

    Every method may raise `BrokerUnreachable`, and `BrokerRefused`: this user may not do that, or a name is unknown.
    """

    def users(self) -> list[UserRecord]:
        """List the users, by name."""
        ...

    def add_user(self, user: str, password: str, tags: Sequence[str]) -> None:
        """Make a user, who may do nothing yet. It is an error that there is one of that name."""
        ...

    def set_password(self, user: str, password: str) -> None:
        """Give a user another password."""
        ...

    def delete_user(self, user: str) -> None:
        """Delete a user and its permissions."""
        ...

    def permissions(self, user: str | None) -> list[PermissionRecord]:
        """List what one user may do, or all of them."""
        ...

    def set_permissions(self, user: str, vhost: str | None, configure: str, write: str, read: str) -> str:
        """Set all that a user may do in a virtual host (None: that of the URL); returns its name."""
        ...

    def clear_permissions(self, user: str, vhost: str | None) -> str:
        """Take all of that away; returns the virtual host."""
        ...
