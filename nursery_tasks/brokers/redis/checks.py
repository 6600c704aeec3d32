"""What is looked at before a server is used, so that each thing that can be wrong has a sentence and a next step of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from ...errors import BrokerFull, BrokerUnavailable, BrokerUnreachable
from .link import Link

MINIMUM: Final = (6, 2)
_log = logging.getLogger(__name__)
_warned: set[str] = set()  # names of brokers: once in a process is enough


def check_server(link: Link) -> tuple[int, ...]:
    """Look at the server and return its version.

    Raises:
        BrokerUnreachable: It does not answer, or is not to be used like this.
    """
    try:
        info = read_info(link)
        saves = _saves(link, info)
    except BrokerUnavailable as error:
        if isinstance(error, BrokerFull):
            raise
        raise unreachable(error) from None
    version = tuple(int(part) for part in info.get("redis_version", "0").split(".") if part.isdigit())
    problem, step = find_problem(info, version, durable=link.address.durable, cluster=link.address.cluster)
    if problem:
        raise BrokerUnreachable(link.name, problem, step)
    try:
        link.call("PUBLISH", f"{link.key}hint:opening", b"")  # where a user may not, nobody would hear of anything
    except BrokerUnavailable as error:
        raise unreachable(error) from None
    if not saves and link.name not in _warned:
        _warned.add(link.name)
        _log.warning("%s: the server keeps jobs in memory only, and they are gone when it stops; set appendonly yes", link.name)
    elif info.get("aof_enabled") != "1" and link.name not in _warned:
        _warned.add(link.name)
        _log.warning("%s: when the server crashes, what came after its last snapshot is lost; set appendonly yes", link.name)
    return version


def unreachable(error: BrokerUnavailable) -> BrokerUnreachable:
    """Return what is said when a broker cannot be opened."""
    return BrokerUnreachable(error.broker, error.problem, error.step)


def find_problem(info: Mapping[str, str], version: tuple[int, ...], *, durable: bool, cluster: bool = False) -> tuple[str, str]:
    """Return why a server is refused, and the setting to change; empty: it is not."""
    policy = info.get("maxmemory_policy", "noeviction")
    if version < MINIMUM:
        found = ".".join(map(str, version))
        return f"the server's version is {found}, and 6.2 is the first that can do this", "update the server"
    if info.get("redis_mode") == "sentinel":
        return "this is a Sentinel", "write the URL as redis+sentinel://host:26379/SERVICE/0"
    if info.get("cluster_enabled") == "1" and not cluster:
        return "the server is a part of a Cluster", "write the URL as redis+cluster://host:port"
    if info.get("role", "master") != "master":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        return f"the server is a replica of {primary} and takes no writes", "name the primary in the URL"
    if policy != "noeviction":  # the volatile ones only take keys with a time to live: here those are answers for others
        what = "answers to other programs" if policy.startswith("volatile") else "keys"
        return (
            f"the server throws {what} away when its memory is full (maxmemory-policy {policy})",
            "set maxmemory-policy noeviction",
        )
    if durable and info.get("aof_enabled") != "1":
        return "durable=yes, and the server does not log what it accepts", "set appendonly yes"
    return "", ""


def read_info(link: Link) -> dict[str, str]:
    """Return what the server says of itself."""
    found: dict[str, str] = {}
    for line in bytes(link.call("INFO")).decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value
    return found


def _saves(link: Link, info: Mapping[str, str]) -> bool:
    """Say whether the server writes to a disk at all, as far as it lets us look."""
    if info.get("aof_enabled") == "1":
        return True
    try:
        answer = link.call("CONFIG", "GET", "save")
    except BrokerUnavailable:  # many services that rent servers do not allow it
        return True
    return len(answer) < 2 or bool(answer[1])
