"""A Cluster, and servers that a Sentinel watches: of the tests' own, on free ports, in folders that go with them.

`shared_cluster()` starts three primaries once for the whole test process, when the first test asks for them. Tests that move
slots or kill nodes start their own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from redis_server import RedisServer, clean_up, free_port, need_server, numbers

SLOTS = 16384
START_SECONDS = 30.0
NODE_TIMEOUT_MS = 1000  # how long a node must be silent until a replica takes over
DOWN_AFTER_MS = 500  # how long a primary must be silent until its Sentinel lets a replica take over
PATIENT_MS = 60_000  # the same while nobody is to take over
LOGGED = ("--appendonly", "yes", "--appendfsync", "no", "--repl-diskless-sync-delay", "0")
PORTS = range(20_000, 32_000)  # below those that the system gives to clients; each node takes the one 10 000 above as well


class Cluster:
    """Three primaries that share the slots, and a replica for the first *replicas* of them.

    Args:
        folder: Where the nodes keep their files.
    """

    def __init__(self, folder: Path, replicas: int = 0) -> None:
        self.nodes = [_node(folder, number) for number in range(3 + replicas)]

    @property
    def primaries(self) -> list[RedisServer]:
        return self.nodes[:3]

    @property
    def url(self) -> str:
        return url_of(self.primaries)

    def start(self) -> None:
        """Start the nodes, and return when all agree that they are a cluster."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes, 1):
            told(node, "CLUSTER", "SET-CONFIG-EPOCH", number)
        for number, node in enumerate(self.primaries):
            told(node, "CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
        for number, node in enumerate(self.nodes):
            for other in self.nodes[:number]:  # all pairs: hearing of each other takes them seconds
                told(node, "CLUSTER", "MEET", "127.0.0.1", other.port)
        wait_for(lambda: all(self._knows_all(node) for node in self.nodes), "nodes that know each other")
        for primary, replica in zip(self.primaries, self.nodes[3:], strict=False):
            told(replica, "CLUSTER", "REPLICATE", node_id(primary))
        wait_for(lambda: all(self._is_up(node) for node in self.nodes), "a cluster that is up")
        for replica in self.nodes[3:]:
            wait_for(lambda replica=replica: b"master_link_status:up" in asked(replica, "INFO", "replication"), "a replica")  # type: ignore[misc]
        self.be_patient(True)

    def be_patient(self, patient: bool) -> None:
        """Wait for nodes that are slow because the machine is busy; or let a replica take over soon."""
        for node in self.nodes:
            if node.process is not None:
                told(node, "CONFIG", "SET", "cluster-node-timeout", PATIENT_MS if patient else NODE_TIMEOUT_MS)

    def owner(self, slot: int) -> RedisServer:
        """Return the node to which a slot belongs at first."""
        return next(node for number, node in enumerate(self.primaries) if slot < SLOTS * (number + 1) // 3)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _knows_all(self, node: RedisServer) -> bool:
        lines = [line for line in asked(node, "CLUSTER", "NODES").splitlines() if b" " in line]
        return len(lines) == len(self.nodes) and not any(b"handshake" in line for line in lines)

    def _is_up(self, node: RedisServer) -> bool:
        said = asked(node, "CLUSTER", "INFO")
        slaves = asked(node, "CLUSTER", "NODES").count(b"slave")
        return b"cluster_state:ok" in said and b"cluster_slots_ok:16384" in said and slaves == len(self.nodes) - 3


class Watched:
    """A primary and a replica, and a Sentinel that makes the one that is left the primary.

    Args:
        folder: Where the servers keep their files.
        settings: More settings for the two servers.
        password: What they ask for.
        sentinel_password: What the Sentinel asks for.
    """

    service = "jobs"

    def __init__(self, folder: Path, *settings: str, password: str = "", sentinel_password: str = "") -> None:
        self._folder, self._password, self._sentinel_password = folder, password, sentinel_password
        (folder / "one").mkdir()
        (folder / "two").mkdir()
        one = RedisServer(folder / "one", *LOGGED, *settings)
        two = RedisServer(folder / "two", *LOGGED, *settings, "--replicaof", "127.0.0.1", str(one.port))
        self.servers = [one, two]
        self.sentinel = self._sentinel(one.port)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{self.service}/0"

    def start(self) -> None:
        for server in self.servers:
            server.start()
        wait_for(lambda: b"state=online" in self._info(self.servers[0], self._password), "the replica")
        self.sentinel.start()
        wait_for(lambda: b"slaves=1" in self._info(self.sentinel, self._sentinel_password), "a Sentinel that knows the replica")

    def be_patient(self, patient: bool) -> None:
        """Wait for servers that are slow because the machine is busy; or let the replica take over soon."""
        milliseconds = PATIENT_MS if patient else DOWN_AFTER_MS
        told(self.sentinel, "SENTINEL", "SET", self.service, "down-after-milliseconds", milliseconds)

    def primary(self) -> int:
        """Return the port of the one that the Sentinel names."""
        with client(self.sentinel) as sentinel:
            answer: Any = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            return int(answer[1])

    def asks_for_failover(self) -> bool:
        """Tell the Sentinel to change the primary, and say whether it does: the replica must have answered it lately."""
        try:
            told(self.sentinel, "SENTINEL", "FAILOVER", self.service)
        except redis.ResponseError as error:
            if "NOGOODSLAVE" not in str(error):
                raise
            return False
        return True

    def wait_for_failover(self, old: RedisServer) -> RedisServer:
        """Wait until another server is the primary, and return it."""
        wait_for(lambda: self.primary() != old.port, "another primary")
        new = next(server for server in self.servers if server.port == self.primary())
        wait_for(lambda: b"role:master" in asked(new, "INFO", "replication"), "its new role")
        return new

    def stop(self) -> None:
        for server in (self.sentinel, *self.servers):
            server.kill()

    def __enter__(self) -> Watched:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _info(self, server: RedisServer, password: str) -> bytes:
        connection: Any = redis.Connection(port=server.port, protocol=2, password=password or None)
        try:
            connection.send_command("INFO")
            return bytes(connection.read_response(disable_decoding=True))
        finally:
            connection.disconnect()

    def _sentinel(self, port: int) -> RedisServer:
        folder = self._folder / "sentinel"
        folder.mkdir()
        config = folder / "sentinel.conf"
        lines = (
            f"sentinel monitor {self.service} 127.0.0.1 {port} 1",
            f"sentinel down-after-milliseconds {self.service} {PATIENT_MS}",
            f"sentinel failover-timeout {self.service} 5000",
            *([f"sentinel auth-pass {self.service} {self._password}"] if self._password else []),
            *([f"requirepass {self._sentinel_password}"] if self._sentinel_password else []),
        )
        config.write_text("\n".join(lines) + "\n")
        return RedisServer(folder, "--sentinel", config=config)


@cache
def shared_cluster() -> Cluster:
    """Return the cluster of this test process; it ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="nursery-tasks-cluster-"))
    stack = ExitStack()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(stack.close)
    return stack.enter_context(Cluster(folder))


@contextmanager
def fresh_cluster_url() -> Generator[str, None, None]:
    """Give a URL with a prefix that nobody else has, and see to it that nothing is left on any node."""
    need_server()
    cluster = shared_cluster()
    prefix = f"test-{os.getpid()}-{next(numbers)}"
    try:
        yield f"{cluster.url}?prefix={prefix}"
    finally:
        left_elsewhere = [key for node in cluster.primaries for key in clean_up(node, prefix)]
    assert not left_elsewhere, f"keys outside of the prefix {prefix}: {left_elsewhere}"


def url_of(nodes: Sequence[RedisServer]) -> str:
    return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in nodes)}"


@contextmanager
def client(server: RedisServer) -> Generator[redis.Redis, None, None]:
    """Give a client of the driver's own, for this one server."""
    with redis.Redis(port=server.port, protocol=2) as found:
        yield found


def told(server: RedisServer, *words: Any) -> None:
    """Tell a server something that it answers with OK."""
    with client(server) as found:
        answer: Any = found.execute_command(*words)
    assert answer in (True, b"OK"), (words, answer)


def asked(server: RedisServer, *words: str) -> bytes:
    """Return the answer of a server as it came."""
    return server.command(*words)


def node_id(node: RedisServer) -> str:
    return asked(node, "CLUSTER", "MYID").split()[1].decode()


def wait_for(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Look until *condition* holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)


def _node(folder: Path, number: int) -> RedisServer:
    place = folder / f"node-{number}"
    place.mkdir()
    settings = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *LOGGED)
    return RedisServer(place, *settings, port=free_node_port())


def free_node_port() -> int:
    """Return a port that is free, as is the one 10 000 above it, on which nodes speak to each other."""
    begin = PORTS.start + (os.getpid() * 37) % len(PORTS)
    for port in (*range(begin, PORTS.stop), *PORTS):
        try:
            for each in (port, port + 10_000):
                with socket.create_server(("127.0.0.1", each)):
                    pass
        except OSError:
            continue
        if port not in _given:
            _given.add(port)
            return port
    return free_port()


_given: set[int] = set()
