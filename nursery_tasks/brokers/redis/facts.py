"""Facts about the server, for a person who looks for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

from .checks import read_info
from .link import Link


class RedisFacts:
    """The calls of `Facts`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def describe(self) -> dict[str, str]:
        info = read_info(self._link)
        version = info.get("valkey_version")
        aof = "every write is logged" if info.get("aof_enabled") == "1" else "no log of writes (appendonly no)"
        room = "without a limit" if info.get("maxmemory", "0") == "0" else f"of {info.get('maxmemory_human', '?')}"
        return {
            "Valkey" if version else "Redis": version or info.get("redis_version", "?"),
            **self._topology(info),
            "prefix": self._link.address.prefix,
            "persistence": aof,
            "memory": f"{info.get('used_memory_human', '?')} {room}",
            "when it is full": info.get("maxmemory_policy", "?"),
            "clients": info.get("connected_clients", "?"),
        }

    def _topology(self, info: Mapping[str, str]) -> dict[str, str]:
        address = self._link.address
        found = address.route.describe()
        if found or address.replicas:
            waits = f"what is accepted is on {address.replicas} of them" if address.replicas else "nothing waits for them"
            found["replicas"] = f"{info.get('connected_slaves', '?')}, and {waits}"
        return found
