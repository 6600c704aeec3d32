"""`rediss://`: a server that speaks TLS, and a certificate that must be right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import anyio
import pytest
from redis_server import RedisServer, free_port, need_server
from redis_topologies import SLOTS, free_node_port, told, wait_for

from nursery_tasks.brokers.gateway import Gateway
from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.brokers.redis.wire import RedisWire
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnreachable
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.outgoing import Outgoing


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*words.split(), *files], check=True, capture_output=True)
    return certificate, key


def test_a_server_is_used_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    need_server()
    port = free_port()
    files = ("--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1]), "--tls-auth-clients", "no")
    with RedisServer(tmp_path, "--appendonly", "yes", "--tls-port", str(port), *files):
        broker = open_broker(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate[0]}")
        assert broker.submit([Submission(id="a", queue="work", task="t", payload=b"{}")])[0].created
        broker.listen(["work"], lambda hint: None).close()
        anyio.run(carry_much, broker)
        broker.close()
        with pytest.raises(BrokerUnreachable, match="certificate"):
            open_broker(f"rediss://127.0.0.1:{port}/0")
        with pytest.raises(BrokerUnreachable):
            open_broker(f"redis://127.0.0.1:{port}/0?timeout=0.5")


async def carry_much(broker: Broker) -> None:
    """Send and read, on the event loop, more than goes into one record of TLS and into one buffer of a socket."""
    outbox, body = broker.outbox, b"x" * 900_000
    assert outbox is not None
    gateway = Gateway(broker)
    async with gateway.on_loop():
        await gateway.call(outbox.put_outgoing, [Outgoing("to:here", body)] * 3)
        rows = await gateway.call(outbox.next_outgoing, "to:here", 3)
        assert [row[1] for row in rows] == [body] * len(rows)
        assert rows
        [link] = gateway._carrier._links.values()
        assert isinstance(link._wire, RedisWire)
        assert "SSL" in type(link._wire._socket).__name__
    gateway.close()


def test_a_cluster_is_used_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """One node with all slots is a cluster; asked over TLS, it names the port on which it speaks that."""
    need_server()
    port = free_node_port()
    files = ("--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1]), "--tls-auth-clients", "no")
    tls = ("--tls-port", str(port), "--tls-cluster", "yes", "--tls-ca-cert-file", str(certificate[0]), *files)
    settings = ("--appendonly", "yes", "--cluster-enabled", "yes", *tls)
    with RedisServer(tmp_path, *settings, port=free_node_port()) as node:
        told(node, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_for(lambda: b"cluster_state:ok" in node.command("CLUSTER", "INFO"), "a cluster that is up")
        broker = open_broker(f"rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={certificate[0]}")
        assert broker.submit([Submission(id="a", queue="work", task="t", payload=b"{}")])[0].created
        broker.listen(["work"], lambda hint: None).close()
        broker.close()
        with pytest.raises(BrokerUnreachable, match="certificate"):
            open_broker(f"rediss+cluster://127.0.0.1:{port}")


def test_sentinels_and_their_servers_are_asked_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    need_server()
    sentinel_port, port = free_port(), free_port()
    files = ("--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1]), "--tls-auth-clients", "no")
    verified = (*files, "--tls-ca-cert-file", str(certificate[0]), "--tls-replication", "yes")
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor jobs 127.0.0.1 {port} 1\n")
    with (
        RedisServer(tmp_path, "--appendonly", "yes", "--tls-port", str(port), *files),
        RedisServer(tmp_path, "--sentinel", "--tls-port", str(sentinel_port), *verified, config=config),
    ):
        broker = open_broker(f"rediss+sentinel://127.0.0.1:{sentinel_port}/jobs?ssl_ca_certs={certificate[0]}")
        assert broker.submit([Submission(id="a", queue="work", task="t", payload=b"{}")])[0].created
        broker.close()
        with pytest.raises(BrokerUnreachable, match="certificate"):
            open_broker(f"rediss+sentinel://127.0.0.1:{sentinel_port}/jobs")
