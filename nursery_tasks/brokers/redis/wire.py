"""A connection to the server without waiting: what goes out, what came in, and which answer belongs to whom.

Requests are pipelined. The server answers in their order, so the first that waits is the one whose answer comes next. A
request is one script, and with `?replicas=` a `WAIT` right behind it: then its answer counts when both are there.

The driver opens the connection, with all that belongs to it (TLS, password, database), and hands over its socket. From there on
hiredis reads, and the driver only makes its errors of what the server refuses.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import hiredis
import redis
from redis.exceptions import InvalidResponse, NoScriptError

from ...errors import BrokerError
from ..steps import Answer
from .address import Address
from .failures import DriverError, TooFewReplicas, to_broker_error
from .link import Link, wait_words
from .route import LEAVE
from .running import Step

READ_BYTES: Final = 64 * 1024  # at a time, so that others have their turn; reading into twice as much takes six times as long
_NOTHING_YET: Final = object()


# The words are more than the one that its types speak of.
_pack: Final[Callable[[tuple[Any, ...]], bytes]] = cast("Any", hiredis).pack_command


class Packed:
    """A step as the server is sent it, which is all that can go wrong before it is sent.

    Raises:
        TypeError: Something in it is no text, no number and no bytes.
    """

    __slots__ = ("_key", "_wait", "data", "replicas", "step")

    def __init__(self, step: Step[Any], address: Address, key: str) -> None:
        self.step = step
        self._key = key
        self.replicas = address.replicas if step.script.promises else 0
        self._wait = _pack(wait_words(address, self.replicas)) if self.replicas else b""
        self.data = _pack(("EVALSHA", step.script.sha, 1, key, *step.values)) + self._wait

    def in_full(self) -> bytes:
        """Return the same with the text of the script, for a server that does not know it."""
        return _pack(("EVAL", self.step.script.text, 1, self._key, *self.step.values)) + self._wait


@dataclass(slots=True)
class _Sent:
    """A command whose answer is awaited.

    Attributes:
        packed: What was asked; None: it is the `WAIT` of the command before it.
        by_text: Whether the script was sent in full.
        replicas: Of a `WAIT`: how many must have what was written.
        held: Of a `WAIT`: the answer that counts when it succeeds; None: there is none.
    """

    key: Hashable
    packed: Packed | None
    by_text: bool = False
    replicas: int = 0
    held: Answer | None = None


class RedisWire:
    """The calls of `Wire`.

    Args:
        connection: Open, idle, and nobody else's from now on.
    """

    def __init__(self, link: Link, connection: Any) -> None:
        self._link = link
        self._connection = connection
        self._socket: Any = connection._sock  # the driver has no name for it that is not its own
        self._socket.setblocking(False)
        self._has_more: Callable[[], int] = getattr(self._socket, "pending", int)  # of TLS, what only it knows to be there
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOTHING_YET,
        )
        self._sent: deque[_Sent] = deque()
        self._out: deque[memoryview] = deque()
        self._known: set[str] = set()  # scripts that were sent here in full, of those that wait for replicas
        self.is_leaving = False

    @property
    def is_blocked(self) -> bool:
        return bool(self._out)

    @property
    def awaited(self) -> int:
        return len(self._sent)

    def fileno(self) -> int:
        number: int = self._socket.fileno()
        return number

    def ask(self, key: Hashable, step: Packed) -> None:
        self._put(key, step, by_text=False)
        self.send()

    def send(self) -> None:
        out = self._out
        try:
            while out:
                count = self._socket.send(out[0])
                if count < len(out[0]):
                    out[0] = out[0][count:]
                else:
                    out.popleft()
        except (BlockingIOError, ssl.SSLWantWriteError):
            return
        except OSError as error:  # also a TLS server that wants to shake hands again, which none of them does
            raise self._broken(error) from error

    def receive(self) -> Sequence[Answer] | None:
        try:
            data = self._socket.recv(READ_BYTES)
            while self._has_more():
                data += self._socket.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            raise self._broken(error) from error
        try:
            if not data:
                raise redis.ConnectionError("the server has closed the connection")
            return self._read(data)
        except DriverError as error:
            raise self._broken(error) from error

    def unanswered(self) -> Sequence[Hashable]:
        return [sent.key for sent in self._sent if sent.packed is not None or sent.held is not None]

    def time_out(self) -> BrokerError:
        return self._broken(redis.TimeoutError("nothing came on the connection"))

    def close(self) -> None:
        if not self._link.forked:
            self._connection.disconnect()

    def _put(self, key: Hashable, packed: Packed, *, by_text: bool) -> None:
        script = packed.step.script
        if packed.replicas and script.sha not in self._known:  # or else a script that is not known would wait for them, too
            self._known.add(script.sha)
            by_text = True
        self._out.append(memoryview(packed.in_full() if by_text else packed.data))
        self._sent.append(_Sent(key, packed, by_text))
        if packed.replicas:
            self._sent.append(_Sent(key, None, replicas=packed.replicas))

    def _read(self, data: bytes) -> list[Answer]:
        reader, answers = self._reader, list[Answer]()
        reader.feed(data)
        while (reply := reader.gets(False)) is not _NOTHING_YET:
            if not self._sent:
                raise InvalidResponse("the server has said something that nobody has asked for")
            sent = self._sent.popleft()
            answer = self._replicated(sent, reply) if sent.packed is None else self._answered(sent, sent.packed, reply)
            if answer is not None:
                answers.append(answer)
        if self._out:  # scripts that the server did not know
            self.send()
        return answers

    def _answered(self, sent: _Sent, packed: Packed, reply: Any) -> Answer | None:
        """Take the answer to a script; None: it does not count yet."""
        if isinstance(reply, NoScriptError) and not sent.by_text:
            self._put(sent.key, packed, by_text=True)
            return None
        if isinstance(reply, Exception):
            return self._refused(sent.key, reply)
        try:
            answer = Answer(sent.key, packed.step.decode(reply))
        except Exception as error:  # of the caller's, whose items they are
            answer = Answer(sent.key, error=error)
        if packed.replicas:
            self._sent[0].held = answer  # the WAIT is right behind it
            return None
        return answer

    def _replicated(self, sent: _Sent, reply: Any) -> Answer | None:
        """Take the answer to a `WAIT`: how many replicas have what was written before it."""
        if sent.held is None:  # the script was refused
            return None
        if isinstance(reply, Exception):
            return self._refused(sent.key, reply)
        if reply < sent.replicas:
            few = TooFewReplicas(f"{reply} of {sent.replicas}")
            return Answer(sent.key, error=to_broker_error(self._link.name, few))
        return sent.held

    def _refused(self, key: Hashable, error: Exception) -> Answer:
        verdict = self._link.address.route.judge(error) if isinstance(error, redis.ResponseError) else LEAVE
        if not verdict.keep:
            self.is_leaving = True
            self._link.drop_idle()
        return Answer(key, error=to_broker_error(self._link.name, error), repeat=verdict.repeat)

    def _broken(self, error: Exception) -> BrokerError:
        self._link.drop_idle()  # they lead to the same place
        self._link.address.route.lost()
        return to_broker_error(self._link.name, error)
