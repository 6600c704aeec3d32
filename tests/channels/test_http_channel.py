"""Webhooks: what goes over the wire, what answers mean, and where they do not go."""

from __future__ import annotations

import base64
import hmac
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
import trustme

from nursery_tasks.channels import ChannelMessage
from nursery_tasks.channels.http import HttpChannel
from nursery_tasks.channels.http import request as http_request
from nursery_tasks.channels.http.addresses import is_public
from nursery_tasks.channels.http.channel import read_retry_after
from nursery_tasks.channels.url import open_channel
from nursery_tasks.errors import ChannelRefused, ChannelUnavailable, InvalidChannelUrl, InvalidOptions, NotSupported

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


@dataclass
class Requests:
    """A server that takes requests, and answers as a test says.

    Attributes:
        taken: The path, the headers and the body of each.
        answers: The status and the headers of those to come; then 204.
    """

    port: int = 0
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)


def serve(requests: Requests, context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.taken.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status, headers = requests.answers.pop(0) if requests.answers else (204, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *what: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    requests.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def requests() -> Generator[Requests, None, None]:
    requests = Requests()
    server = serve(requests)
    yield requests
    server.shutdown()
    server.server_close()


def url_of(requests: Requests, options: str = "", path: str = "/hooks") -> str:
    return f"http://127.0.0.1:{requests.port}{path}?allow_private=yes{options}"


@BOTH
async def test_a_message_is_a_signed_request(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", f"{SECRET} {SECRET}")
    channel = open_channel(url_of(requests, "&secret_env=HOOK_SECRET&tenant=7").replace("//", "//me:pass%40@"))
    message = ChannelMessage(
        body=b'{"a": 1}\x00\xff',
        content_type="application/json",
        id="m-1",
        reply_to="answers",
        correlation_id="c",
        headers={"x-shop": "ключ", "host": "elsewhere", "content-length": "7"},
    )
    async with channel.open():
        await channel.send("orders/new", [message, ChannelMessage(body=b"")])
        assert "can be connected to; signed" in await channel.check()
    (path, headers, body), (_, plain, nothing) = requests.taken
    assert (path, body, nothing) == ("/hooks/orders/new?tenant=7", message.body, b"")
    assert (headers["content-type"], headers["webhook-id"], headers["host"]) == (
        "application/json",
        "m-1",
        f"127.0.0.1:{requests.port}",
    )
    assert headers["x-shop"].encode("latin-1").decode() == "ключ"
    assert (headers["x-reply-to"], headers["x-correlation-id"]) == ("answers", "c")
    assert headers["authorization"] == "Basic " + base64.b64encode(b"me:pass@").decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    key = base64.b64decode(SECRET.removeprefix("whsec_"))  # as the receiver's library does it
    signed = b".".join([b"m-1", headers["webhook-timestamp"].encode(), message.body])
    expected = "v1," + base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
    assert headers["webhook-signature"] == f"{expected} {expected}"
    assert plain["webhook-id"]
    assert "pass" not in channel.name
    assert "whsec" not in repr(channel) + channel.name


@BOTH
async def test_what_answers_mean(requests: Requests) -> None:
    channel = HttpChannel(url_of(requests))
    message = ChannelMessage(body=b"x" * 1_000_000)
    refused = {301: "redirects are not followed", 400: "answered 400", 404: "answered 404", 410: "wants no more"}
    for status, problem in refused.items():
        requests.answers.append((status, {"location": "http://elsewhere/"}))
        with pytest.raises(ChannelRefused, match=problem):
            await channel.send("/", [message])
    later = {408: None, 429: "7", 500: None, 503: formatdate(time.time() + 100, usegmt=True)}
    waits: list[float | None] = []
    for status, after in later.items():
        requests.answers.append((status, {"retry-after": after} if after else {}))
        with pytest.raises(ChannelUnavailable, match=f"answered {status}") as caught:
            await channel.send("/", [message])
        waits.append(caught.value.retry_seconds)
    assert waits[:3] == [None, 7.0, None]
    assert waits[3] is not None
    assert 90 < waits[3] < 101
    count = len(requests.taken)
    requests.answers += [(200, {}), (500, {})]
    with pytest.raises(ChannelUnavailable):
        await channel.send("/", [message] * 3)
    assert len(requests.taken) == count + 2  # what stands behind one that has failed is not sent
    assert requests.taken[0][0] == "/hooks"


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("soon", None), ("-5", None), ("1e9", None), ("99999999999", 86_400.0), ("0", 0.0)]
)
def test_the_reading_of_retry_after(text: str | None, seconds: float | None) -> None:
    assert read_retry_after(text) == seconds


@BOTH
async def test_addresses_that_are_not_public_are_not_called(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"):
        channel = HttpChannel(f"http://{host}:{requests.port}/")
        with pytest.raises(ChannelRefused, match="no address of the public internet"):
            await channel.send("x", [ChannelMessage(body=b"")])
        with pytest.raises(ChannelRefused, match="no address of the public internet"):
            await channel.check()
    looked_up: list[str] = []

    async def changing(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["93.184.216.34"] if len(looked_up) == 1 else ["127.0.0.1"]

    async def connect(address: str, port: int) -> Any:
        assert address == "93.184.216.34"
        raise ConnectionRefusedError

    monkeypatch.setattr(http_request, "find_addresses", changing)
    monkeypatch.setattr(http_request, "connect_tcp", connect)
    with pytest.raises(ChannelUnavailable, match="no connection"):
        await HttpChannel(f"http://rebinding.example:{requests.port}/").send("x", [ChannelMessage(body=b"")])
    assert looked_up == ["rebinding.example"]  # once; what was checked is what was connected to
    assert requests.taken == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds tell their machines' secrets
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("nonsense", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


@BOTH
async def test_tls_knows_the_server(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    requests = Requests()
    server = serve(requests, context)
    try:
        url = f"https://localhost:{requests.port}/?allow_private=yes"
        await HttpChannel(f"{url}&cafile={tmp_path}/ca.pem").send("x", [ChannelMessage(body=b"1")])
        with pytest.raises(ChannelUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await HttpChannel(url).send("x", [ChannelMessage(body=b"2")])
    finally:
        server.shutdown()
        server.server_close()
    assert [body for _, _, body in requests.taken] == [b"1"]


@BOTH
async def test_a_server_that_does_not_answer_or_says_nonsense() -> None:
    async def silent(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await anyio.sleep(60)

    async def endless(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    await stream.send(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000)

    for serve_one, problem in ((silent, "no answer within 0.2 s"), (endless, "ProtocolError|no answer of HTTP")):
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as tg:
            tg.start_soon(listener.serve, serve_one)
            seconds = 0.2 if serve_one is silent else 10
            channel = HttpChannel(f"http://127.0.0.1:{port}/?allow_private=yes&timeout={seconds}")
            with pytest.raises(ChannelUnavailable, match=problem):
                await channel.send("x", [ChannelMessage(body=b"")])
            tg.cancel_scope.cancel()


async def test_what_cannot_be_said_is_refused() -> None:
    channel = HttpChannel("https://host.example/base/")
    for headers in ({"a b": "c"}, {"x": "a\r\nevil: 1"}, {"x": "\x00"}):
        with pytest.raises(ChannelRefused, match="no header of HTTP"):
            await channel.send("x", [ChannelMessage(body=b"", headers=headers)])
    for place in ("../x", "a/%2e%2e/b", "a?b", "a#b", "a\r\nb", ""):
        with pytest.raises(InvalidOptions):
            await channel.send(place, [])
    with pytest.raises(NotSupported, match="HTTP door"):
        channel.open_source("x", prefetch=1)


def test_wrong_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    for rest, problem in (
        ("host/?secret_env=NOT_SET", "environment variable NOT_SET is not set; expected a signing secret there"),
        ("host/?secret=whsec_%21", "secret= is no secret"),
        ("host/?secret=whsec_c2hvcnQ=", "secret of 5 bytes"),
        ("host/?timeout=never", "no number of seconds"),
        ("host/?allow_private=perhaps", "neither yes nor no"),
        ("host:99999/", "makes no sense"),
        ("/path", "names no host"),
        ("host/?cafile=/not/there", "can be read"),
    ):
        with pytest.raises(InvalidChannelUrl, match=problem) as caught:
            open_channel(f"https://{rest}")
        assert "c2hvcnQ" not in str(caught.value)
