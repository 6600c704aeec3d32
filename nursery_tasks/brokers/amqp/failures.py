"""From the driver's errors to ours. No exception of `aiormq` leaves this package."""

from __future__ import annotations

import re
import ssl
from typing import Final

from aiormq import exceptions

from ...errors import BrokerError, BrokerFull, BrokerUnavailable
from .portal import LinkLost

# What the driver raises; LookupError and ValueError are what it makes of an answer that is no AMQP.
DriverError: Final = (
    exceptions.AMQPError,
    exceptions.ChannelInvalidStateError,
    LinkLost,
    OSError,
    EOFError,
    LookupError,
    ValueError,
)

# What is in the text of an error -> the problem, the next step. The first row that fits counts; then those below.
_TEXTS: Final[tuple[tuple[str, str, str], ...]] = (
    (r"global.qos", "the server has no prefetch for all queues of a worker together", "leave out global_qos=yes"),
    (r"transient_nonexcl_queues", "the server has no queues that do not outlive it", "leave out durable=no"),
    (r"certificate is not valid for", "the server's certificate is for another name", "use that name in the URL"),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the server's certificate is not trusted",
        "cafile= in the URL names the file of the CA that has signed it",
    ),
    (
        r"ALERT_UNKNOWN_CA|ALERT_CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE|ALERT_HANDSHAKE_FAILURE",
        "the server does not trust our certificate",
        "certfile= and keyfile= in the URL name one that it does",
    ),
    (
        r"^amqps:.*[Cc]onnection ?[Rr]eset",  # what is left of an alert that came too late
        "the connection broke",
        "if it never was there: does the server trust what certfile= names, or want one? see its log",
    ),
    (r"WRONG_VERSION_NUMBER|record layer failure", "what answers speaks no TLS", "amqps:// has a port of its own, often 5671"),
)

# What the driver raises -> the problem, the next step. The first row that fits counts.
_TABLE: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (exceptions.AuthenticationError, "the server offers no way to log in that the driver knows", "see ?auth="),
    (exceptions.ProbableAuthenticationError, "the server refuses the user or the password", "check those in the URL"),
    (
        exceptions.ConnectionNotAllowed,
        "the server refuses this virtual host",
        "check the end of the URL; rabbitmqctl list_vhosts",
    ),
    (exceptions.ChannelAccessRefused, "this user may not do that", "see rabbitmqctl list_permissions"),
    (exceptions.ChannelLockedResource, "somebody else uses this queue alone", "name another queue in the URL"),
    (exceptions.ChannelNotFoundEntity, "something that should be there is missing", "declare it, or leave out declare=no"),
    (exceptions.InvalidFrameError, "the server refuses this virtual host, or the user in it", "check the end of the URL"),
    (exceptions.IncompatibleProtocolError, "what answers is no AMQP 0-9-1 server", "check the address and the port"),
    (exceptions.ProtocolSyntaxError, "what answers is no AMQP 0-9-1 server", "check the address and the port"),
    (ssl.SSLError, "no TLS", "check the files and the port in the URL"),
    (TimeoutError, "no answer in time", "is the server busy, or the network broken? see ?timeout="),
    (exceptions.ConnectionClosed, "the server has closed the connection", "look into its log"),
    (exceptions.AMQPConnectionError, "no connection", "is the server running, and is this its address?"),
    (OSError, "no connection", "is the server running, and is this its address?"),
    (LinkLost, "the connection broke", "it is opened again"),
)
_INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<what>\w+) '(?P<name>[^']*)' in vhost '[^']*': "
    r"received (?P<wanted>.*) but current is (?P<current>.*)"
)


def to_broker_error(name: str, error: BaseException) -> BrokerError:
    """Return the error that says *error* in our words; *name* is the broker's, without its password."""
    if isinstance(error, BrokerError):
        return error
    text = str(error)
    if isinstance(error, exceptions.ChannelPreconditionFailed):
        return _inequivalent(name, text)
    if isinstance(error, exceptions.PublishError):
        return BrokerUnavailable(
            name, f"no queue takes the message ({text})", "bind one to the exchange, or leave out declare=no"
        )
    if isinstance(error, exceptions.DeliveryError):
        return BrokerFull(name, "the server's queue takes no more messages", "see its x-max-length")
    for pattern, problem, step in _TEXTS:
        if re.search(pattern, f"{name} {text}"):
            return BrokerUnavailable(name, f"{problem} ({text})", step)
    for driver_error, problem, step in _TABLE:
        if isinstance(error, driver_error):
            return BrokerUnavailable(name, f"{problem} ({text})" if text else problem, step)
    return BrokerUnavailable(name, f"{type(error).__name__}: {text}")


def blocked(name: str) -> BrokerUnavailable:
    """Say that the server takes no messages for now."""
    return BrokerUnavailable(
        name, "the server takes no messages: it has raised an alarm", "see rabbitmqctl status; its memory or its disk is full"
    )


def _inequivalent(name: str, text: str) -> BrokerUnavailable:
    """Say which argument of a queue or an exchange is another one than ours."""
    found = _INEQUIVALENT.search(text)
    if found is None:
        return BrokerUnavailable(name, f"the server refuses a declaration ({text})", "declare=no uses what exists")
    argument, what, whose = found["argument"], found["what"], found["name"]
    option = {"type": "exchange_type", "x-queue-type": "queue_type"}.get(argument, argument)
    return BrokerUnavailable(
        name,
        f"the {what} {whose!r} exists with {argument} {_shown(found['current'])}, and {_shown(found['wanted'])} was asked for",
        f"set {option}= in the URL to what it has, or declare=no to use it as it is, or delete the {what}",
    )


def _shown(value: str) -> str:
    """Return a value as the server puts it, without its type."""
    quoted = re.search(r"'([^']*)'", value)
    return quoted[1] if quoted else "none" if value.startswith("none") else value
