"""A Cluster, of which this broker uses one slot: that of its prefix.

The slot's owner is found by asking any node, and followed when a node says `MOVED`, when it fails and a replica takes over, and
when the slot goes to another node.

**While a slot moves, nothing is done.** Its keys are on two nodes then, and a script would see half of them. All scripts
declare one key that never exists, so the old owner refuses each with `ASK` before it begins, and nobody follows that to the new
owner, where the script would find queues that look empty. A call waits a moment for the end of it, and then fails as in an
outage. (Servers that move a slot in one step show none of this.)
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import redis
from redis import exceptions

from .route import ELSEWHERE, LATER, LEAVE, NO, Connection, NoRoute, Open, Place, Verdict, ask, is_alone, shown

NODE_SECONDS: Final = 1.0  # for connecting to a node that is asked where the slot is, and for its answer; there are others
_SLOTS: Final = 16384
_LATER: Final = (exceptions.AskError, exceptions.TryAgainError)


def slot_of(prefix: str) -> int:
    """Return the slot of all keys of a prefix: CRC-16/XMODEM of what stands in the braces."""
    return crc_hqx(prefix.encode(), 0) % _SLOTS


def hashed_part(key: str) -> str:
    """Return what of a key the slot is made of: what stands in its first braces, else all of it."""
    begin = key.find("{")
    end = key.find("}", begin + 1)
    return key[begin + 1 : end] if 0 <= begin < end - 1 else key


class ClusterRoute:
    """The way to the owner of a slot.

    Args:
        places: The nodes that the URL names; others are learned.
        open_node: Makes a connection for asking where the slot is.
        open_server: Makes a connection to the owner.
    """

    def __init__(self, places: Sequence[Place], slot: int, open_node: Open, open_server: Open) -> None:
        self.epoch = 0
        self._named = tuple(places)
        self._nodes = tuple(places)  # replaced, never changed; asked in this order
        self._slot = slot
        self._open_node, self._open_server = open_node, open_server
        self._owner: Place | None = None  # None: look for it
        self._last: Place | None = None

    def connect(self) -> Connection:
        owner = self._owner
        if owner is None:
            owner = self._owner = self._find()
        if owner != self._last:
            self._last = owner
            self.epoch += 1
        return self._open_server(owner)

    def lost(self) -> None:
        self._owner = None
        self._nodes = (*self._nodes[1:], *self._nodes[:1])  # the first may be cut off from the rest, and not know it

    def judge(self, error: redis.ResponseError) -> Verdict:
        if isinstance(error, exceptions.MovedError):
            asked = self._last or self._named[0]
            self._owner = _moved_to(error, asked)
            return ELSEWHERE
        if isinstance(error, _LATER):
            return LATER
        if isinstance(error, exceptions.ClusterDownError):
            self.lost()  # it may be on the wrong side of a network that is in two parts
            return ELSEWHERE
        if is_alone(error):
            self.lost()
            return LEAVE
        return NO

    def describe(self) -> dict[str, str]:
        owner = shown(self._last) if self._last else "?"
        return {"Cluster": f"{len(self._nodes)} nodes known, slot {self._slot} of this prefix on {owner}"}

    def _find(self) -> Place:
        """Ask one node after the other for the slot's owner.

        Raises:
            NoRoute: None answers, or one is no part of a Cluster.
        """
        silent: list[str] = []
        for place in dict.fromkeys((*self._nodes, *self._named)):
            try:
                rows = self._ask(place)
            except NoRoute:  # the URL is wrong, and no other node makes it right
                raise
            except (redis.RedisError, OSError) as error:
                silent.append(f"{shown(place)}: {error}")
                continue
            owner = self._read(rows, place)
            if owner is not None:
                return owner
            silent.append(f"{shown(place)}: nobody serves slot {self._slot}")
        raise NoRoute(f"no node of the Cluster tells where to go: {'; '.join(silent)}", "see redis-cli --cluster check")

    def _ask(self, place: Place) -> list[Any]:
        node = self._open_node(place)
        try:
            rows: list[Any] = ask(node, "CLUSTER", "SLOTS")
            return rows
        except redis.ResponseError as error:
            if "cluster support disabled" in str(error):
                raise NoRoute("it is no part of a Cluster", "write the URL as redis://host:port/0") from None
            raise
        finally:
            with suppress(redis.RedisError, OSError):
                node.disconnect()

    def _read(self, rows: list[Any], asked: Place) -> Place | None:
        """Note the nodes, and return the owner."""
        nodes: dict[Place, None] = {asked: None}
        owner: Place | None = None
        for begin, end, *servers in rows:
            places = list(_places(servers, asked))
            nodes |= dict.fromkeys(places)
            if begin <= self._slot <= end and places:
                owner = places[0]
        self._nodes = tuple(nodes)
        return owner


def _moved_to(error: Any, asked: Place) -> Place:
    """Read the driver's error; when it names no host, that of the node that was asked is meant."""
    return error.host or asked[0], error.port


def _places(servers: Sequence[Any], asked: Place) -> Iterator[Place]:
    for host, port, *_ in servers:
        name = host.decode() if host else ""
        yield (asked[0] if name in ("", "?") else name, int(port))
