"""From the driver's errors to ours. No exception of `aiormq` leaves this package."""

from __future__ import annotations

import re
import ssl
from typing import Final

from aiormq import exceptions
from pamqp import commands

from ...errors import BrokerError, BrokerFull, BrokerRefused, BrokerUnavailable
from .portal import LinkLost


class Unsendable(Exception):
    """What was to be sent cannot be said in AMQP: a name that is too long, for example. The connection is in order."""


class Unconfirmed(Exception):
    """A queue does not confirm a message in time, and the server answers everything else. Unknown whether it has it."""


# What the driver raises; LookupError and ValueError are what it makes of an answer that is no AMQP.
DriverError: Final = (
    exceptions.AMQPError,
    exceptions.ChannelInvalidStateError,
    LinkLost,
    Unsendable,
    Unconfirmed,
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
    (r"connection limit", "the server takes no more connections", "close some; rabbitmqctl list_connections"),
    (r"WRONG_VERSION_NUMBER|record layer failure", "what answers speaks no TLS", "amqps:// has a port of its own, often 5671"),
)

# What the driver raises -> the problem, the next step. The first row that fits counts.
_TABLE: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (exceptions.AuthenticationError, "the server offers no way to log in that the driver knows", "see ?auth="),
    (exceptions.ProbableAuthenticationError, "the server refuses the user or the password", "check those in the URL"),
    (
        exceptions.ConnectionNotAllowed,
        "the server refuses this virtual host",
        "check the end of the URL; rabbitmqctl list_vhosts, and list_user_permissions",
    ),
    (exceptions.ChannelAccessRefused, "this user may not do that", "see rabbitmqctl list_permissions"),
    (exceptions.ChannelLockedResource, "somebody else uses this queue alone", "name another queue in the URL"),
    (exceptions.ChannelNotFoundEntity, "something that should be there is missing", "declare it, or leave out declare=no"),
    (exceptions.IncompatibleProtocolError, "what answers is no AMQP 0-9-1 server", "check the address and the port"),
    (exceptions.ProtocolSyntaxError, "what answers is no AMQP 0-9-1 server", "check the address and the port"),
    (ssl.SSLError, "no TLS", "check the files and the port in the URL"),
    (Unconfirmed, "no confirm in time", "has the queue a leader? see rabbitmqctl list_queues name leader"),
    (TimeoutError, "no answer in time", "is the server busy, or the network broken? see ?timeout="),
    (exceptions.ConnectionClosed, "the server has closed the connection", "look into its log"),
    (exceptions.AMQPConnectionError, "no connection", "is the server running, and is this its address?"),
    (OSError, "no connection", "is the server running, and is this its address?"),
    (LinkLost, "the connection broke", "it is opened again"),
)
# What is about one queue, one exchange, one message; the rest is about the connection.
_OF_ONE_PLACE: Final = (
    exceptions.ChannelPreconditionFailed,
    exceptions.ChannelAccessRefused,
    exceptions.ChannelLockedResource,
    exceptions.ChannelNotFoundEntity,
    exceptions.DeliveryError,
    Unsendable,
)
_ACCESS_REFUSED, _NOT_ALLOWED = 403, 530  # codes of AMQP
_AN_OBJECT: Final = re.compile(r"<(?:[\w.]+\.)?(\w+) object at 0x[0-9a-fA-F]+>")
_INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<what>\w+) '(?P<name>[^']*)' in vhost '[^']*': "
    r"received (?P<wanted>.*) but current is (?P<current>.*)"
)


def to_broker_error(name: str, error: BaseException) -> BrokerError:
    """Return the error that says *error* in our words; *name* is the broker's, without its password."""
    if isinstance(error, BrokerError):
        return error
    found = _translated(name, error)
    found.refused = isinstance(error, _OF_ONE_PLACE)
    return found


def _translated(name: str, error: BaseException) -> BrokerError:
    text = _words_of(error)
    if isinstance(error, exceptions.ChannelPreconditionFailed):
        return _inequivalent(name, text)
    if isinstance(error, exceptions.PublishError):
        return BrokerUnavailable(
            name, f"no queue takes the message ({text})", "bind one to the exchange, or leave out declare=no"
        )
    if isinstance(error, exceptions.DeliveryError):
        return BrokerFull(name, "the server's queue takes no more messages", "see its x-max-length")
    if isinstance(error, Unsendable):
        return BrokerRefused(name, text, "an id, a type or a header of AMQP has 255 bytes at most, all of them text")
    for pattern, problem, step in _TEXTS:
        if re.search(pattern, f"{name} {text}"):
            return BrokerUnavailable(name, f"{problem} ({text})", step)
    for driver_error, problem, step in _TABLE:
        if isinstance(error, driver_error):
            return BrokerUnavailable(name, f"{problem} ({text})" if text else problem, step)
    return BrokerUnavailable(name, f"{type(error).__name__}: {text}" if text else type(error).__name__)


def to_driver_error(frame: commands.Connection.Close) -> exceptions.AMQPError:
    """Return the driver's error for what the server has said when it closed a connection that was not open yet."""
    code, text = frame.reply_code, frame.reply_text or ""
    if code == _ACCESS_REFUSED:
        return exceptions.ProbableAuthenticationError(text)
    return exceptions.ConnectionNotAllowed(text) if code == _NOT_ALLOWED else exceptions.ConnectionClosed(code, text)


def _words_of(error: BaseException) -> str:
    """Return what an error says, for people: without its numbers' brackets, and without objects that have only an address."""
    if isinstance(error, exceptions.PublishError) and isinstance(error.frame, commands.Basic.Return):
        return f"exchange {error.frame.exchange!r}, routing key {error.frame.routing_key!r}"
    if isinstance(error, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        return _AN_OBJECT.sub(r"\1", ", ".join(word for word in map(str, error.args) if word not in ("None", "0")))
    return _AN_OBJECT.sub(r"\1", str(error)) if error.args else ""  # an error of TLS with nothing to say would say "()"


def blocked(name: str) -> BrokerUnavailable:
    """Say that the server takes no messages for now."""
    return BrokerUnavailable(
        name, "the server takes no messages: it has raised an alarm", "see rabbitmqctl status; its memory or its disk is full"
    )


def _inequivalent(name: str, text: str) -> BrokerUnavailable:
    """Say which argument of a queue or an exchange is another one than ours."""
    found = _INEQUIVALENT.search(text)
    if found is None:
        return BrokerUnavailable(
            name, f"the server refuses a declaration{f' ({text})' if text else ''}", "declare=no uses what exists"
        )
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
    return quoted[1] or "''" if quoted else "none" if value.startswith("none") else value
