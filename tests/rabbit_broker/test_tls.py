"""TLS, with a CA of the test's own that nobody else trusts."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest
from anyio import fail_after
from proxy import Proxy
from rabbit_server import write_certificates

from nursery_tasks import App
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerUnreachable, InvalidBrokerUrl

from .command import command
from .conftest import Host

SECONDS = 40.0


def tls_url(host: Host, server: str = "localhost", port: int = 0, **options: object) -> str:
    words = {"store": host.store, "api_port": host.server.api_tls_port, **options}
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in words.items())
    return f"amqps://guest:guest@{server}:{port or host.server.tls_port}/{host.name}?{query}"


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder with another CA, and what that one has signed."""
    folder = tmp_path / "strange"
    folder.mkdir()
    write_certificates(folder)
    return folder


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_jobs_run_over_tls_and_the_server_knows_who_asks(host: Host, anyio_backend: str) -> None:
    own = host.server.folder
    app = App(tls_url(host, cafile=own / "ca.pem", certfile=own / "client.pem", keyfile=own / "client.pem"))

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    with fail_after(SECONDS):
        async with app, app.open_worker(queues=["default"]):
            assert await add.run(1, 2) == 3
            found = host.server.api("GET", f"vhosts/{host.name}/connections?columns=ssl,peer_cert_subject")
            assert all(each["ssl"] for each in found)


def test_the_management_api_is_asked_over_tls(host: Host, strange: Path) -> None:
    ours = open_broker(tls_url(host, cafile=host.server.folder / "ca.pem", queue_type="classic"))
    assert ours.queues
    command(tls_url(host, cafile=host.server.folder / "ca.pem"), "queues", "--create", "work")
    found = ours.queues.transport_queue("work")
    assert found is not None
    assert found.in_per_second is not None  # the plugin has answered
    ours.close()
    assert command(tls_url(host, cafile=host.server.folder / "ca.pem"), "rabbitmq", "users").code == 0
    distrusted = command(tls_url(host, cafile=strange / "ca.pem"), "rabbitmq", "users")
    distrusted.assert_error("does not answer", "certificate verify failed")


def test_whoever_has_no_reason_to_trust_does_not(host: Host, strange: Path) -> None:
    own = host.server.folder
    for options in ({}, {"cafile": strange / "ca.pem"}, {"cafile": strange / "ca.pem", "no_verify_ssl": "no"}):
        with pytest.raises(BrokerUnreachable, match=r"certificate is not trusted .*; cafile= in the URL names the file"):
            open_broker(tls_url(host, **options))
    with pytest.raises(BrokerUnreachable, match=r"certificate is for another name .* '127\.0\.0\.1'.*; use that name"):
        open_broker(tls_url(host, "127.0.0.1", cafile=own / "ca.pem"))
    open_broker(tls_url(host, "127.0.0.1", no_verify_ssl="yes")).close()
    foreign = {"certfile": strange / "client.pem", "keyfile": strange / "client.pem"}
    with pytest.raises(BrokerUnreachable, match=r"the server (does not )?trust"):
        open_broker(tls_url(host, cafile=own / "ca.pem", **foreign))
    command(tls_url(host), "jobs").assert_error("the server's certificate is not trusted", "cafile=")


def test_a_port_or_a_file_that_is_wrong_is_named(host: Host, tmp_path: Path) -> None:
    with pytest.raises(BrokerUnreachable, match="what answers speaks no TLS"):
        open_broker(tls_url(host, port=host.server.port, cafile=host.server.folder / "ca.pem"))
    with pytest.raises(InvalidBrokerUrl, match=f"cafile='nowhere.pem' names nothing that can be read, seen from {os.getcwd()}"):
        open_broker(tls_url(host, cafile="nowhere.pem"))
    with pytest.raises(InvalidBrokerUrl, match="no_verify_ssl='maybe' is neither yes nor no"):
        open_broker(tls_url(host, no_verify_ssl="maybe"))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(BrokerUnreachable, match=r"no TLS .*; check the files and the port"):
        open_broker(tls_url(host, cafile=tmp_path / "empty.pem"))


def test_a_server_that_says_no_goodbye_leaves_no_socket_open(host: Host) -> None:
    """TLS ends with a word from both sides; what waits for it must not outlive the broker."""
    with Proxy(host.server.tls_port) as proxy:
        broker = open_broker(tls_url(host, port=proxy.port, no_verify_ssl="yes"))
        proxy.stall_all()
        gc.collect()
        with warnings.catch_warnings(record=True) as left:
            warnings.simplefilter("always", ResourceWarning)
            broker.close()
            del broker
            gc.collect()
    assert [str(each.message) for each in left if "unclosed" in str(each.message)] == []
