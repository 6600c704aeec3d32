"""The server's management plugin: its HTTP API, where it is there.

Counts of queues are asked for only when a person looks, are of the last few seconds, and are left out when nobody answers: the
plugin is no part of a server, and its user may not look. Users and permissions are nowhere else, so there an error says why.
"""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from ...errors import BrokerRefused, BrokerUnreachable
from ...model.listing import TransportQueue
from .address import Address

API_PORT: Final = 15672
API_TLS_PORT: Final = 15671
API_SECONDS: Final = 3.0
MOST_BYTES: Final = 1 << 24  # of one answer

_NO_LOGIN: Final = ("Login failed", "Not_Authorized")  # RabbitMQ 3, and 4
_AUTHORISE: Final = "the user in the URL needs the tag administrator: rabbitmqctl set_user_tags NAME administrator"


class _Rate(msgspec.Struct, frozen=True):
    rate: float = 0.0


class _Stats(msgspec.Struct, frozen=True):
    publish_details: _Rate = _Rate()
    ack_details: _Rate = _Rate()


class _Queue(msgspec.Struct, frozen=True):
    messages_ready: int = 0
    messages_unacknowledged: int = 0
    consumers: int = 0
    memory: int | None = None
    message_stats: _Stats = _Stats()


class _Problem(msgspec.Struct, frozen=True):
    error: str = ""
    reason: Any = ""


_decode: Final = msgspec.json.Decoder(_Queue).decode


class Api:
    """The API of one server, as the user of the broker's URL. Nothing is kept open.

    Attributes:
        vhost: The virtual host of the URL.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        parts = urlsplit(address.url)
        self.vhost = unquote(parts.path[1:]) or "/"
        self._is_tls = parts.scheme == "amqps"
        self._host = parts.hostname or "localhost"
        self._port = address.api_port or (API_TLS_PORT if self._is_tls else API_PORT)
        user = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}", "Content-Type": "application/json"}

    def exchange(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Make one call, and return the status and what came with it.

        Raises:
            OSError, http.client.HTTPException: Nobody answers, or nothing that can be read.
        """
        connection = self._connect()
        try:
            content = None if body is None else msgspec.json.encode(body)
            connection.request(method, f"/api/{path}", body=content, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read(MOST_BYTES)
        finally:
            connection.close()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Make one call, and return what it answers; None: there is no such thing, or no answer is needed.

        Raises:
            BrokerUnreachable: The plugin does not answer.
            BrokerRefused: It does not do it.
        """
        name, where = self._address.name, f"{self._host}:{self._port}"
        try:
            status, content = self.exchange(method, path, body)
            if status == 404 or not content:
                return None
            if status < 300:
                return msgspec.json.decode(content)
            problem = msgspec.json.decode(content, type=_Problem)
        except (OSError, http.client.HTTPException) as error:
            step = "rabbitmq-plugins enable rabbitmq_management; api_port= in the URL says where it is"
            raise BrokerUnreachable(name, f"the management API does not answer at {where} ({error})", step) from error
        except msgspec.MsgspecError as error:
            step = "check api_port= in the URL"
            raise BrokerUnreachable(name, f"what answers at {where} is no management API", step) from error
        if status in (401, 403):
            if problem.reason in _NO_LOGIN:
                raise BrokerRefused(
                    name, "the management API refuses the user or the password", "check those in the broker's URL"
                )
            raise BrokerRefused(name, f"this user may not do that ({problem.reason or problem.error})", _AUTHORISE)
        raise BrokerRefused(name, f"the management API refuses that ({_shown(problem)})")

    def _connect(self) -> Any:
        if self._is_tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=API_SECONDS, context=_context(self._address))
        return http.client.HTTPConnection(self._host, self._port, timeout=API_SECONDS)


def read_queue(address: Address, queue: str) -> TransportQueue | None:
    """Ask for one queue, by its name among the jobs; None: nobody answers, or there is no such queue."""
    api = Api(address)
    try:
        status, content = api.exchange("GET", f"queues/{quoted(api.vhost)}/{quoted(address.topology(queue).name)}")
        found = _decode(content) if status == 200 else None
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return None
    if found is None:
        return None
    return TransportQueue(
        ready=found.messages_ready,
        unacknowledged=found.messages_unacknowledged,
        consumers=found.consumers,
        memory_bytes=found.memory,
        in_per_second=found.message_stats.publish_details.rate,
        out_per_second=found.message_stats.ack_details.rate,
    )


def quoted(name: str) -> str:
    """Return a name as a part of a path."""
    return quote(name, safe="")


def _context(address: Address) -> ssl.SSLContext:
    """Trust for HTTPS whom the URL trusts for AMQP."""
    given = {name: values[0] for name, values in parse_qs(urlsplit(address.url).query).items()}
    context = ssl.create_default_context(cafile=given.get("cafile"), capath=given.get("capath"))
    if given.get("certfile"):
        context.load_cert_chain(given["certfile"], given.get("keyfile"))
    if given.get("no_verify_ssl", "0") != "0":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _shown(problem: _Problem) -> str:
    return problem.reason if isinstance(problem.reason, str) and problem.reason else problem.error or "it does not say why"
