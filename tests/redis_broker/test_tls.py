"""`rediss://`: a server that speaks TLS, and a certificate that must be right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from redis_server import RedisServer, free_port, need_server

from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnreachable
from nursery_tasks.model.delivery import Submission


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
        broker.close()
        with pytest.raises(BrokerUnreachable, match="certificate"):
            open_broker(f"rediss://127.0.0.1:{port}/0")
        with pytest.raises(BrokerUnreachable):
            open_broker(f"redis://127.0.0.1:{port}/0?timeout=0.5")
