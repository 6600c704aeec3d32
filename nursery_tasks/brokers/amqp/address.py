"""What a URL says: where the server is, and which exchanges and queues of it are ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from ...errors import InvalidBrokerUrl
from .topology import QueueTopology

DEFAULT_PREFIX: Final = "nursery-tasks"
CALL_SECONDS: Final = 4.0  # connecting and calling stay below the gateway's 10 s together
HEARTBEAT_SECONDS: Final = 15
QUEUE: Final = "{queue}"  # stands for the queue's name among the jobs

_WHERE: Final = ("prefix", "store", "timeout", "heartbeat", "api_port")
_TLS: Final = ("cafile", "capath", "certfile", "keyfile", "no_verify_ssl")
_PLACE: Final = (
    "exchange",
    "exchange_type",
    "queue",
    "routing_key",
    "durable",
    "queue_type",
    "declare",
    "prefetch",
    "global_qos",
)
_NAME: Final = re.compile(r"[A-Za-z0-9_.:@#,/+ -]*")  # of a queue or an exchange, as the driver takes them
_NAME_MOST: Final = 127  # characters of an exchange's name, and of a virtual host's
_KEY_MOST: Final = 255  # bytes of a routing key
_EXCHANGE_TYPES: Final = ("direct", "topic", "fanout", "headers")
_QUEUE_TYPES: Final = ("quorum", "classic")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and what is ours there.

    Attributes:
        url: For the driver, with the password.
        name: For people, without it.
        timeout_seconds: How long one step of a call may wait for the server.
        api_port: Where the management plugin answers; None: where it does unless somebody has changed that.
        options: The options about places, as they stand in the URL: `exchange`, or `exchange.mails` for one queue.
    """

    url: str = field(repr=False)
    name: str
    prefix: str = DEFAULT_PREFIX
    timeout_seconds: float = CALL_SECONDS
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    api_port: int | None = None

    def topology(self, queue: str) -> QueueTopology:
        """Return where the messages of *queue* go."""

        def option(name: str, default: str) -> str:
            return self.options.get(f"{name}.{queue}", self.options.get(name, default))

        quorum = option("queue_type", "quorum")
        arguments: dict[str, Any] = {"x-queue-type": quorum}
        for whose in ("", queue):  # what is said of one queue counts more than what is said of all
            for given, value in self.options.items():
                name, _, only = given.partition(".")
                if name.startswith("x-") and only == whose:
                    arguments[name] = _typed(value)
        prefetch = option("prefetch", "")
        return QueueTopology(
            queue=queue,
            exchange=option("exchange", self.prefix).replace(QUEUE, queue),
            exchange_type=option("exchange_type", "direct"),
            name=option("queue", f"{self.prefix}.{QUEUE}").replace(QUEUE, queue),
            key=option("routing_key", QUEUE).replace(QUEUE, queue),
            durable=option("durable", "yes") == "yes",
            arguments=arguments,
            declare=option("declare", "yes") == "yes",
            prefetch=int(prefetch) if prefetch else None,
            global_qos=option("global_qos", "no") == "yes",
        )

    def queues_among(self, names: Iterable[str]) -> list[str]:
        """Return which queues, by their names among the jobs, these names at the server belong to."""
        known = set(names)
        before, _, after = self.options.get("queue", f"{self.prefix}.{QUEUE}").partition(QUEUE)
        found = {option.partition(".")[2] for option in self.options if option.startswith("queue.")}
        found |= {
            name[len(before) : len(name) - len(after)] for name in known if name.startswith(before) and name.endswith(after)
        }
        return sorted(queue for queue in found if queue and self.topology(queue).name in known)


def read_address(url: str, options: Mapping[str, str], name: str) -> Address:
    """Read an `amqp://` or `amqps://` URL; *options* are its query, *name* is the URL without the password.

    Raises:
        InvalidBrokerUrl: It makes no sense.
    """
    parts = urlsplit(url)
    if any("@" in text for text in (parts.path, parts.fragment)):
        raise InvalidBrokerUrl(name, "an @ stands behind the host; is a / ? or # in the password? write %2F, %3F, %23")
    places: dict[str, str] = {}
    known = _WHERE + (_TLS if parts.scheme == "amqps" else ()) + _PLACE
    for option, value in options.items():
        word = option.partition(".")[0]
        if word in _PLACE or word.startswith("x-"):
            places[option] = value
            _check_place(word, option, value, name)
        elif option not in known:
            raise InvalidBrokerUrl(name, f"{parts.scheme}: has no option {option!r}, only {', '.join(known)} and x-...")
    seconds = _number(options.get("timeout", str(CALL_SECONDS)))
    if not 0 < seconds < 3600:
        raise InvalidBrokerUrl(name, f"timeout={options['timeout']!r} is no number of seconds from 0 to 3600")
    heartbeat = _number(options.get("heartbeat", str(HEARTBEAT_SECONDS)))
    if not 1 <= heartbeat < 3600 or heartbeat != int(heartbeat):
        raise InvalidBrokerUrl(name, f"heartbeat={options['heartbeat']!r} is no whole number of seconds from 1 to 3600")
    api_port = options.get("api_port", "")
    if api_port and not (api_port.isdigit() and 0 < int(api_port) < 65536):
        raise InvalidBrokerUrl(name, f"api_port={api_port!r} is no number from 1 to 65535")
    prefix = options.get("prefix", DEFAULT_PREFIX)
    if not 0 < len(prefix) <= 64 or not _NAME.fullmatch(prefix):
        raise InvalidBrokerUrl(name, f"prefix={prefix!r} is no name of 1 to 64 bytes: letters, digits, and _.:@#,/+-")
    if len(unquote(parts.path)) > _NAME_MOST + 1:
        raise InvalidBrokerUrl(name, f"its virtual host has more than {_NAME_MOST} characters")
    try:
        port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    except ValueError:
        raise InvalidBrokerUrl(name, "its port is no number from 1 to 65535") from None
    host = parts.hostname or "localhost"
    user = f"{parts.username or 'guest'}:{parts.password if parts.password is not None else 'guest'}"
    query = {"heartbeat": str(int(heartbeat)), **_read_tls(options, name)}
    vhost = parts.path if unquote(parts.path) not in ("", "/") else "/%2F"
    driver = f"{parts.scheme}://{user}@{f'[{host}]' if ':' in host else host}:{port}{vhost}?{urlencode(query)}"
    address = Address(driver, name, prefix, seconds, places, int(api_port) if api_port else None)
    for queue in {option.partition(".")[2] for option in ("", *places)}:
        _check_global(address.topology(queue), name)
    return address


def _read_tls(options: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the options of TLS for the driver.

    Raises:
        InvalidBrokerUrl: There is no such file, or it cannot be read.
    """
    found = {option: options[option] for option in _TLS if option in options}
    trusts_all = found.pop("no_verify_ssl", "no")
    if trusts_all not in ("yes", "1", "no", "0"):
        raise InvalidBrokerUrl(name, f"no_verify_ssl={trusts_all!r} is neither yes nor no", expected="")
    for option, path in found.items():
        if not os.access(path, os.R_OK):
            raise InvalidBrokerUrl(
                name, f"{option}={path!r} names nothing that can be read, seen from {os.getcwd()}", expected=""
            )
    return {**found, "no_verify_ssl": "1"} if trusts_all in ("yes", "1") else found  # the driver takes any word but 0 for yes


def _check_global(topology: QueueTopology, name: str) -> None:
    """Refuse a prefetch for all queues together where the server has none.

    Raises:
        InvalidBrokerUrl: It has not.
    """
    if topology.global_qos and topology.declare and topology.arguments.get("x-queue-type") == "quorum":
        dot = f".{topology.queue}" if topology.queue else ""
        raise InvalidBrokerUrl(
            name, f"global_qos{dot}=yes: quorum queues have no such thing; add queue_type{dot}=classic", expected=""
        )


def _check_place(word: str, option: str, value: str, name: str) -> None:
    """Refuse what a place cannot have.

    Raises:
        InvalidBrokerUrl: It cannot.
    """
    expected = ""
    if word in ("durable", "declare", "global_qos") and value not in ("yes", "no"):
        expected = "yes nor no"
    elif word == "queue_type" and value not in _QUEUE_TYPES:
        expected = " nor ".join(_QUEUE_TYPES)
    elif word == "exchange_type" and value not in _EXCHANGE_TYPES:
        expected = " nor ".join(_EXCHANGE_TYPES)
    if expected:
        raise InvalidBrokerUrl(name, f"{option}={value!r} is neither {expected}")
    if word == "prefetch" and not (value.isdigit() and 0 < int(value) < 65536):
        raise InvalidBrokerUrl(name, f"{option}={value!r} is no number from 1 to 65535")
    if word == "queue" and not value:
        raise InvalidBrokerUrl(name, f"{option}= names no queue")
    plain = value.replace(QUEUE, "")
    if word in ("queue", "exchange") and not (_NAME.fullmatch(plain) and len(plain) <= _NAME_MOST):
        raise InvalidBrokerUrl(
            name, f"{option}={value!r} is no name of 1 to {_NAME_MOST} letters, digits, and _.:@#,/+-", expected=""
        )
    if word == "routing_key" and len(plain.encode()) > _KEY_MOST:
        raise InvalidBrokerUrl(name, f"{option}= has more than {_KEY_MOST} bytes", expected="")


def _typed(text: str) -> Any:
    """Return the value of an argument: a whole number, true or false, or a text."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.lstrip("-").isdigit() else text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
