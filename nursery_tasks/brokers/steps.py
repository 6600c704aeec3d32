"""What a broker is made of whose calls an event loop can carry itself, without a thread.

Most calls of a broker on a server are *encode, one request, decode*. A broker that has `steps` hands out these halves: a
`Request` is a call that is encoded, and a `Wire` is an open connection that never waits. So the broker knows no loop, and
whoever has one needs to know nothing of the server: it says when there is something to read, or room to write.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import BrokerError


@dataclass(frozen=True, slots=True)
class Request:
    """One call, encoded.

    Attributes:
        step: What the wire sends, and how it reads the answer.
        lane: Requests of one lane share a connection. Where an answer may take long they have several, so that they do not
            wait for each other.
    """

    step: Any
    lane: str = ""


@dataclass(slots=True)
class Answer:
    """What came of a request.

    Attributes:
        key: What `Wire.ask` was given with it.
        value: What the call returns.
        error: What it raises instead; a `BrokerError`, or whatever decoding has raised.
        repeat: The server has done nothing, and the request may succeed elsewhere or in a moment.
    """

    key: Hashable
    value: Any = None
    error: BaseException | None = None
    repeat: bool = False


class Wire(Protocol):
    """One open connection, whose input and output are somebody else's to wait for. Answers come in the order of requests.

    Every method but `close` may raise `BrokerUnavailable`: the connection broke. It is of no use then, and what became of the
    requests that are not answered is unknown.
    """

    is_leaving: bool  # the server is the wrong one by now: ask nothing more, and close it after the last answer

    @property
    def is_blocked(self) -> bool:
        """Whether something is left to send, for which there was no room."""
        ...

    @property
    def awaited(self) -> int:
        """How many answers of the server are to come."""
        ...

    def fileno(self) -> int: ...

    def ask(self, key: Hashable, step: Any) -> None:
        """Send a request, as far as there is room."""
        ...

    def send(self) -> None:
        """Send what is left, as far as there is room."""
        ...

    def receive(self) -> Sequence[Answer] | None:
        """Read what has come, a bounded number of bytes; None: nothing has."""
        ...

    def unanswered(self) -> Sequence[Hashable]:
        """Return the keys of the requests that wait for their answers, in their order."""
        ...

    def time_out(self) -> BrokerError:
        """Give the connection up, because nothing has come for `Steps.answer_seconds`; returns what to raise."""
        ...

    def close(self) -> None:
        """Close the connection; does not wait."""
        ...


class Steps(Protocol):
    """The halves of a broker's calls.

    Attributes:
        answer_seconds: How long nothing may come on a wire where answers are awaited.
        follow_seconds: How long a request is repeated that a server refuses because another one should have it.
        pause_seconds: Between two such repetitions.
    """

    answer_seconds: float
    follow_seconds: float
    pause_seconds: float

    def make(self, method: Callable[..., Any], args: tuple[Any, ...]) -> Request | None:
        """Encode a call of one of the broker's methods, or of its parts'; None: it takes a thread.

        Raises:
            Exception: What the method itself raises before it sends anything.
        """
        ...

    def connect(self) -> Wire:
        """Connect to the server; blocks, for a bounded time.

        Raises:
            BrokerUnavailable: It cannot be reached.
        """
        ...
