"""A RabbitMQ node of the tests' own: on free ports, in a folder that goes with it.

A node takes ten seconds to start, so `shared_server()` starts one for the whole run, and the processes of pytest-xdist share
it: whoever needs it first starts it, the others wait. Each test has a prefix of its own on it. Tests that kill a node start
their own. Nobody counts who uses the shared one: each process holds a shared lock on a file, which the system takes back
however the process ends, and a guard that waits for the exclusive lock ends the node when it gets it.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trustme

if TYPE_CHECKING:
    from nursery_tasks.brokers.protocol import Broker

START_SECONDS = 120.0  # three or four on an idle machine, and a shared one may be slow
HOW = "no rabbitmq-server here; tests/install_servers.sh installs it"
PLACES = (
    "/usr/lib/rabbitmq/lib/*/sbin",
    "/usr/local/lib/rabbitmq*/sbin",
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
)
DEBIANS_WRAPPER = "rabbitmq-script-wrapper"
CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {api_port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
management.ssl.ip = 127.0.0.1
management.ssl.port = {api_tls_port}
management.ssl.cacertfile = {folder}/ca.pem
management.ssl.certfile = {folder}/server.pem
management.ssl.keyfile = {folder}/server.pem
log.console = false
log.file.level = warning
vm_memory_high_watermark.absolute = 400MB
disk_free_limit.absolute = 1MB
raft.wal_max_size_bytes = 8000000
"""

numbers = itertools.count(1)
_left = itertools.count(1)


class ServerMissing(Exception):
    """There is no such program here."""


class RabbitServer:
    """One node, with one scheduler that does not spin: the machine is shared with what is tested.

    Args:
        folder: Where it keeps its files, and writes its log.
        advanced: Settings that only Erlang can say.
    """

    erl_args = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"

    def __init__(self, folder: Path, advanced: str = "") -> None:
        self.folder, self.advanced = folder, advanced
        self.port, self.api_port, self.tls_port, self.api_tls_port, self._dist_port, self._epmd_port = free_ports(6)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._guard: subprocess.Popen[bytes] | None = None  # ends the node when this process is killed

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def groups(self) -> list[int]:
        """The process groups that a kill has to end."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._write_settings()
        with (self.folder / "out").open("ab") as out:
            for command in (
                ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                [str(programs() / "rabbitmq-server")],
            ):
                self._processes.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                        env=self._environment(),
                        start_new_session=True,
                    )
                )
        kill = f"read _; kill -9 {' '.join(f'-{group}' for group in self.groups)}"
        self._guard = subprocess.Popen(["sh", "-c", kill], stdin=subprocess.PIPE, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._processes[-1].poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"rabbitmq-server did not start:\n{(self.folder / 'out').read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power failure of the process would: SIGKILL."""
        self.let_go()
        for process in self._processes:
            end_group(process.pid)
            process.wait()
        self._processes = []

    def let_go(self) -> None:
        """Leave it to somebody else to end it."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def restart(self) -> None:
        """Kill it and start it on the same ports and files."""
        self.kill()
        self.start()

    def control(self, *words: str) -> str:
        """Call `rabbitmqctl`, which takes a second or two."""
        command = [str(programs() / "rabbitmqctl"), "--quiet", "--node", self._node, *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), timeout=50, check=False)
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the management API; None where it answers without a body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Basic " + b64encode(b"guest:guest").decode(), "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def queues(self, prefix: str) -> list[str]:
        """Return the names of the queues that begin with *prefix*."""
        return [each["name"] for each in self.api("GET", "queues/%2F?columns=name") if each["name"].startswith(prefix)]

    def clean_up(self, prefix: str) -> None:
        """Delete the queues and exchanges of a prefix."""
        for queue in self.queues(prefix):
            self.api("DELETE", f"queues/%2F/{quote(queue, safe='')}")
        for exchange in self.api("GET", "exchanges/%2F?columns=name"):
            if exchange["name"].startswith(prefix):
                self.api("DELETE", f"exchanges/%2F/{quote(exchange['name'], safe='')}")

    @contextmanager
    def virtual_host(self) -> Generator[str, None, None]:
        """Make a virtual host, and delete it with all that is in it."""
        name = f"host-{os.getpid()}-{next(numbers)}"
        self.api("PUT", f"vhosts/{name}")
        self.api("PUT", f"permissions/{name}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        yield name
        self.api("DELETE", f"vhosts/{name}")

    def describe(self) -> dict[str, Any]:
        """Return what another process needs to use this node."""
        return {
            "folder": str(self.folder),
            "ports": [self.port, self.api_port, self.tls_port, self.api_tls_port, self._dist_port, self._epmd_port],
        }

    @classmethod
    def described(cls, facts: dict[str, Any]) -> RabbitServer:
        """Return a node that another process has started."""
        server = cls(Path(facts["folder"]))
        server.port, server.api_port, server.tls_port, server.api_tls_port, server._dist_port, server._epmd_port = facts[
            "ports"
        ]
        return server

    def __enter__(self) -> RabbitServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def _node(self) -> str:
        return f"tests-{self.port}@localhost"

    def _write_settings(self) -> None:
        ports = {"tls_port": self.tls_port, "api_tls_port": self.api_tls_port}
        settings = CONFIG.format(port=self.port, api_port=self.api_port, folder=self.folder, **ports)
        (self.folder / "rabbitmq.conf").write_text(settings)
        if not (self.folder / "ca.pem").exists():
            write_certificates(self.folder)
        (self.folder / "advanced.config").write_text(f"[{{rabbit, [{self.advanced}]}}].\n")
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),  # of the cookie
            "LANG": "C.UTF-8",
            "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self.erl_args,
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
                link.settimeout(5)
                link.sendall(b"AMQP\x00\x00\x09\x01")
                if not link.recv(1):
                    return False
            self.api("GET", "vhosts?columns=name")
        except (OSError, urllib.error.URLError):
            return False
        return True


@cache
def programs() -> Path:
    """Find the folder with the programs themselves: the one that is first on the PATH, so that another version can be tried.

    Debian has wrappers there, which would go on as another user, in another folder; what they wrap is elsewhere.

    Raises:
        ServerMissing: There is none.
    """
    on_path = shutil.which("rabbitmq-server")
    found = [Path(on_path).resolve()] if on_path else []
    if not found or found[0].name == DEBIANS_WRAPPER:
        found = sorted(path for place in PLACES for path in Path("/").glob(f"{place.lstrip('/')}/rabbitmq-server"))
    if not found or not shutil.which("epmd"):
        raise ServerMissing(HOW)
    return found[-1].parent


@cache
def shared_server() -> RabbitServer:
    """Return the node of this test run; it ends when the last process that uses it does."""
    programs()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{os.urandom(4).hex()}"
    folder = Path(tempfile.gettempdir()) / f"nursery-tasks-rabbit-{run[:24]}"
    folder.mkdir(exist_ok=True)
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        _use(folder)
        if (folder / "server").exists():
            return RabbitServer.described(json.loads((folder / "server").read_text()))
        server = RabbitServer(folder)
        server.start()
        _guards.append(
            subprocess.Popen(
                [sys.executable, "-I", __file__, str(folder), *map(str, server.groups)],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        server.let_go()
        (folder / "server").write_text(json.dumps(server.describe()))
        return server


_used: list[IO[str]] = []
_guards: list[subprocess.Popen[bytes]] = []  # they outlive this process


def _use(folder: Path) -> None:
    users = (folder / "users").open("a")
    fcntl.flock(users, fcntl.LOCK_SH)
    _used.append(users)  # until this process ends


def end_when_unused(folder: Path, groups: list[int]) -> None:
    """Wait until nobody uses the node, and end it: what the guard does."""
    with (folder / "users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        for group in groups:
            end_group(group)
        shutil.rmtree(folder, ignore_errors=True)


def end_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def need_server() -> None:
    """Skip the test where there is no server; where NEED_SERVERS is set that is an error."""
    try:
        programs()
    except ServerMissing as missing:
        if "NEED_SERVERS" in os.environ:
            raise
        pytest.skip(str(missing))


@contextmanager
def fresh_rabbit_url(store: str) -> Generator[str, None, None]:
    """Give a URL with a prefix that nobody else has, and a store, or none; with queues that are quick to make."""
    with _fresh_prefix() as (server, prefix):
        yield f"{server.url}?prefix={prefix}&queue_type=classic&durable=no&timeout=8&store={quote(store, safe='')}"


@contextmanager
def fresh_rabbit(open_store: Callable[[], Broker], queue_type: str = "quorum") -> Generator[Callable[[], Broker], None, None]:
    """Give a function that opens a broker with a prefix that nobody else has; each call opens the store once more."""
    from nursery_tasks.brokers.amqp.address import read_address
    from nursery_tasks.brokers.amqp.stored import StoredBroker

    with _fresh_prefix() as (server, prefix):
        durable = "yes" if queue_type == "quorum" else "no"
        options = {"prefix": prefix, "queue_type": queue_type, "durable": durable, "timeout": "30"}
        yield lambda: StoredBroker(read_address(server.url, options, server.url), open_store())


@contextmanager
def fresh_storeless_rabbit() -> Generator[Callable[[], Broker], None, None]:
    """Give a function that opens a broker without a store on the shared node, with queues that are quick to make."""
    from nursery_tasks.brokers.url import open_broker

    with fresh_rabbit_url("") as url:
        yield lambda: open_broker(url)


@contextmanager
def _fresh_prefix() -> Generator[tuple[RabbitServer, str], None, None]:
    """Give the shared node and a prefix; a virtual host would take longer to make than most tests take.

    What this process has declared is deleted now and then: asking for the list takes longer than a test, too.
    """
    need_server()
    server = shared_server()
    yield server, f"test-{os.getpid()}-{next(numbers)}"
    if next(_left) % 10 == 0:
        server.clean_up(f"test-{os.getpid()}-")


def write_certificates(folder: Path) -> None:
    """Write a CA of the node's own (`ca.pem`), and what it has signed: `server.pem` for localhost, and `client.pem`."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    ca.issue_cert("a-client.example").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


if __name__ == "__main__":
    end_when_unused(Path(sys.argv[1]), [int(group) for group in sys.argv[2:]])
