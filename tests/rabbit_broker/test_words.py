"""What the server or the driver says reaches people as text: which name, which right, and what to do."""

from __future__ import annotations

import inspect
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import pytest
from aiormq import exceptions
from pamqp import commands
from pamqp.header import ContentHeader

from nursery_tasks.brokers.amqp.errors import to_broker_error, to_driver_error
from nursery_tasks.brokers.url import open_broker
from nursery_tasks.errors import BrokerError, BrokerRefused, BrokerUnavailable, InvalidBrokerUrl
from nursery_tasks.model.delivery import Submission
from nursery_tasks.model.listing import ServerMessage

from .conftest import SECONDS, Host

NAME = "amqp://guest:***@host/"


def check_words(text: str, *words: str) -> None:
    assert " object at 0x" not in text
    assert "Errno 3" not in text  # a code of AMQP is no number of the system's
    assert len(text.splitlines()) <= 3
    for word in words:
        assert word in text


@pytest.fixture
def poor(host: Host) -> Generator[str, None, None]:
    """A user without any rights."""
    name = f"poor-{host.name}"
    host.server.api("PUT", f"users/{name}", {"password": "poor", "tags": ""})
    yield name
    host.server.api("DELETE", f"users/{name}")


def url(host: Host, user: str = "guest:guest", vhost: str = "") -> str:
    return host.url().replace("guest:guest", user).replace(f"/{host.name}?", f"/{vhost or host.name}?")


def test_what_stands_in_the_url_and_is_wrong(host: Host, poor: str) -> None:
    cases: list[tuple[str, str, str]] = [
        (url(host, vhost="nowhere"), "the server refuses this virtual host", "vhost nowhere not found"),
        (url(host, f"{poor}:poor"), "the server refuses this virtual host", f"refused for user '{poor}'"),
        (url(host, "guest:wrong"), "the server refuses the user or the password", "ACCESS_REFUSED"),
        (url(host, "nobody:guest"), "the server refuses the user or the password", "ACCESS_REFUSED"),
    ]
    for wrong, *words in cases:
        with pytest.raises(BrokerUnavailable) as caught:
            open_broker(wrong).close()
        check_words(str(caught.value), *words)


@pytest.mark.parametrize("missing", ["configure", "write", "read"])
def test_a_right_that_the_user_has_not(host: Host, poor: str, missing: str) -> None:
    rights = {"configure": ".*", "write": ".*", "read": ".*", missing: "nothing"}
    host.server.api("PUT", f"permissions/{host.name}/{poor}", rights)
    broker = open_broker(url(host, f"{poor}:poor"))

    def use() -> None:
        broker.submit([Submission("a", "work", "t", b"{}")])
        broker.claim(["work"], 1, "w", 15.0)

    with pytest.raises(BrokerUnavailable) as caught:
        use()
    check_words(str(caught.value), "this user may not do that", f"refused for user '{poor}'", "list_permissions")
    broker.close()


def test_a_connection_that_the_operator_closes(host: Host) -> None:
    broker = open_broker(host.url())
    host.server.api("DELETE", f"permissions/{host.name}/guest")  # so that it cannot come back at once
    host.close_all_connections()
    end = time.monotonic() + SECONDS
    text = ""
    while "refuses this virtual host" not in text and time.monotonic() < end:
        with suppress(BrokerError):
            broker.submit([Submission("a", "work", "t", b"{}")])
            continue
        try:
            broker.submit([Submission("a", "work", "t", b"{}")])
        except BrokerError as error:
            text = str(error)
            check_words(text)
    check_words(text, "access to vhost", "refused for user 'guest'")
    broker.close()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("queue.work=a*b", "queue.work='a*b'"),
        ("exchange=a*b", "exchange='a*b'"),
        (f"exchange={'e' * 200}", "of 1 to 127 letters"),
        ("prefix=%C3%A9", "prefix="),
        (f"routing_key={'k' * 300}", "more than 255 bytes"),
    ],
)
def test_a_name_that_the_driver_does_not_take_is_refused_with_the_url(option: str, expected: str) -> None:
    with pytest.raises(InvalidBrokerUrl) as caught:
        open_broker(f"amqp://localhost/?{option}&store=memory%3A")
    check_words(str(caught.value), expected)


def made(kind: type[Exception]) -> list[Exception]:
    """Make the errors of a class as the driver does."""
    returned = commands.Basic.Return(312, "NO_ROUTE", "an-exchange", "a-key")
    if kind is exceptions.PublishError:

        class Message:
            delivery, header, body = returned, ContentHeader(), b""

        return [kind(Message(), returned)]
    if kind is exceptions.DeliveryError:
        return [kind(None, commands.Basic.Nack())]
    if issubclass(kind, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        return [kind(320, "CONNECTION_FORCED - a test"), kind("a text"), kind(None, None), kind(0, "normal closed")]
    frame = commands.Connection.Close(530, "no")
    return [kind(f"Expected one of ['Connection.OpenOk'], got {frame!r}"), kind("a text"), kind()]


KINDS = {kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)}


@pytest.mark.parametrize(
    "kind", [*sorted(KINDS, key=str), ssl.SSLError, OSError, TimeoutError, ValueError, LookupError, EOFError]
)
def test_every_error_of_the_driver_is_text(kind: type[Exception]) -> None:
    for error in made(kind):
        text = str(to_broker_error(NAME, error))
        check_words(text)
        assert text.startswith(NAME)
        assert "(None" not in text
        assert "()" not in text


@pytest.mark.parametrize(
    "properties", [{"id": "x" * 300}, {"type": "\u00e9" * 200}, {"headers": {"a": "\udcff"}}], ids=["id", "type", "header"]
)
def test_a_message_that_amqp_has_no_form_for_is_refused_and_breaks_nothing(host: Host, properties: dict[str, Any]) -> None:
    broker = open_broker(host.url())
    assert broker.postbox
    with pytest.raises(BrokerRefused) as caught:
        broker.postbox.send_message("work", ServerMessage(body=b"x", **properties))
    check_words(str(caught.value), "no message of AMQP can be made of it", "255 bytes")
    for number in range(3):  # the confirms that follow are those of the right messages
        assert broker.submit([Submission(f"job-{number}", "work", "t", b"{}")])[0].created
    broker.close()


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (530, "NOT_ALLOWED - vhost x not found", "refuses this virtual host"),
        (530, "NOT_ALLOWED - access to vhost 'x' refused for user 'y': connection limit (1) is reached", "no more connections"),
        (403, "ACCESS_REFUSED - Login was refused", "the user or the password"),
        (541, "INTERNAL_ERROR", "has closed the connection (541, INTERNAL_ERROR)"),
    ],
)
def test_what_the_server_says_when_it_refuses_a_connection(code: int, said: str, expected: str) -> None:
    words: Callable[[BaseException], str] = lambda error: str(to_broker_error(NAME, error))  # noqa: E731
    check_words(words(to_driver_error(commands.Connection.Close(code, said))), expected, said)
