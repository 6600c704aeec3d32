"""Queues of a RabbitMQ server as a channel: the contract, strangers that use them, too, and what is there already."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, cast

import anyio
import pika
import pytest
from anyio import fail_after
from proxy import Proxy
from rabbit_server import RabbitServer, need_server, shared_server

from nursery_tasks.channels import ChannelMessage
from nursery_tasks.channels.amqp import AmqpChannel
from nursery_tasks.channels.amqp.finding import QueueFinder
from nursery_tasks.channels.url import open_channel
from nursery_tasks.errors import ChannelRefused, ChannelUnavailable, InvalidChannelUrl, InvalidOptions
from nursery_tasks.testing.channels import Away, ChannelCheck, ChannelHarness, Need, checks, run_check

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


class Host:
    """A virtual host, and a program there that knows nothing of us."""

    def __init__(self, server: RabbitServer, name: str) -> None:
        self.server, self.name = server, name
        self.connection = pika.BlockingConnection(pika.URLParameters(self.url()))
        self.channel: Any = self.connection.channel()

    def url(self, port: int | None = None, options: str = "") -> str:
        return f"amqp://guest:guest@127.0.0.1:{port or self.server.port}/{self.name}{options}"

    def get(self, queue: str) -> tuple[Any, bytes]:
        """Take one message; returns its properties and its body."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if found is not None:
                return properties, body
        raise AssertionError(f"nothing came to {queue}")


@pytest.fixture(scope="module")
def host() -> Generator[Host, None, None]:
    need_server()
    server = shared_server()
    with server.virtual_host() as name:
        host = Host(server, name)
        yield host
        host.connection.close()


@pytest.fixture
def proxy(host: Host) -> Generator[Proxy, None, None]:
    with Proxy(host.server.port) as proxy:
        yield proxy


def harness_of(host: Host, kind: str, proxy: Proxy | None = None) -> ChannelHarness:
    async def stop() -> None:
        assert proxy is not None
        proxy.refuse()
        proxy.cut_all()

    async def start() -> None:
        assert proxy is not None
        proxy.refuse(False)

    url = host.url(proxy.port if proxy else None, f"?declare=yes&queue_type={kind}")
    return ChannelHarness(
        opener=lambda: open_channel(url),
        makes_ids=True,
        away=Away(stop, start) if proxy else None,
        impossible=["", "/", "a\0b", "x" * 300],
        seconds=50,
    )


KINDS = pytest.mark.parametrize(
    ("anyio_backend", "kind"), [("asyncio", "quorum"), ("trio", "classic")], ids=["asyncio-quorum", "trio-classic"]
)


@KINDS
@pytest.mark.parametrize("check", [each for each in checks if Need.AWAY not in each.needs], ids=lambda check: check.name)
async def test_the_contract(host: Host, check: ChannelCheck, kind: str) -> None:
    result = await run_check(check, harness_of(host, kind))
    assert result.verdict == ("left out" if check.needs & {Need.OCCUPY, Need.END} else "kept"), str(result)


@KINDS
@pytest.mark.parametrize("check", [each for each in checks if Need.AWAY in each.needs], ids=lambda check: check.name)
async def test_the_contract_with_links_that_break(host: Host, proxy: Proxy, check: ChannelCheck, kind: str) -> None:
    result = await run_check(check, harness_of(host, kind, proxy))
    assert result.verdict == "kept", str(result)


@BOTH
async def test_what_strangers_say_beside_a_body(host: Host) -> None:
    host.channel.queue_declare("foreign", durable=False, arguments={"x-max-length": 100})  # not as we would make it
    host.channel.basic_publish(
        "",
        "foreign",
        b"\x00body",
        pika.BasicProperties(
            content_type="application/x-odd",
            message_id="7",
            reply_to="some/where",
            correlation_id="c",
            headers={"X-Text": "a", "number": 7, "table": {"a": [True, None]}, "bytes": b"\xff"},
        ),
    )
    channel = AmqpChannel(host.url())
    with fail_after(30):
        async with channel.open():
            assert await channel.count("nothing") == 0
            while await channel.count("foreign") != 1:  # noqa: ASYNC110 - the server tells nobody
                await anyio.sleep(0.01)
        async with channel.open(), channel.open_source("foreign", prefetch=5) as source:
            assert [message.id for message in await channel.peek("foreign", 5)] in (["7"], [])  # it may be here already
            [received] = await source.receive(5)
            assert received.message == ChannelMessage(
                body=b"\x00body",
                content_type="application/x-odd",
                id="7",
                reply_to="/some/where",
                correlation_id="c",
                headers={"x-text": "a", "number": "7", "table": '{"a":[true,null]}', "bytes": "\\xff"},
            )
            await source.accept([received])


@BOTH
async def test_sending_to_an_exchange_and_answering_a_stranger(host: Host) -> None:
    host.channel.exchange_declare("shop", "topic")
    host.channel.queue_declare("orders")
    host.channel.queue_bind("orders", "shop", "orders.*")
    channel = AmqpChannel(host.url())
    with fail_after(30):
        async with channel.open():
            sent = ChannelMessage(body=b"1", id="8", reply_to="/a/b", correlation_id="c", content_type="t", headers={"a": "b"})
            await channel.send("shop/orders.new", [sent, sent])  # an id that is there twice
            properties, body = host.get("orders")
            assert body == b"1"
            seen = (properties.message_id, properties.reply_to, properties.correlation_id, properties.content_type)
            assert seen == ("8", "a/b", "c", "t")
            assert (properties.headers, properties.delivery_mode) == ({"a": "b"}, 2)
            host.get("orders")
            with pytest.raises(ChannelRefused, match="no queue takes it"):
                await channel.send("shop/nothing.bound", [sent])
            with pytest.raises(ChannelRefused, match="no such queue or exchange"):
                await channel.send("no-shop/x", [sent])
            with pytest.raises(ChannelRefused, match="no queue takes it"):
                await channel.send("not-there", [sent])
            with pytest.raises(ChannelRefused, match="255"):
                await channel.send("shop/orders.new", [ChannelMessage(body=b"", id="x" * 300)])
            with pytest.raises(ChannelRefused, match="a frame of more than"):  # and does not end the connection each time
                await channel.send("shop/orders.new", [ChannelMessage(body=b"", headers={"a": "x" * 200_000})])
            answers = host.channel.queue_declare("", exclusive=True).method.queue
            await channel.send(answers, [ChannelMessage(body=b"answer")])
            assert host.get(answers)[1] == b"answer"


@BOTH
async def test_the_servers_own_queues_for_answers(host: Host) -> None:
    host.channel.queue_declare("questions")
    channel = AmqpChannel(host.url())
    with fail_after(30):
        async with channel.open(), channel.open_source("questions", prefetch=1) as source:
            asker: Any = host.connection.channel()
            asker.basic_consume("amq.rabbitmq.reply-to", lambda *what: answers.append(what[3]), auto_ack=True)
            answers: list[bytes] = []
            asker.basic_publish("", "questions", b"?", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
            [question] = await source.receive(1)
            assert question.message.reply_to is not None
            await channel.send(question.message.reply_to, [ChannelMessage(body=b"!")])
            await source.accept([question])
            while not answers:
                host.connection.process_data_events(0.05)
            assert answers == [b"!"]
            asker.close()


@BOTH
async def test_a_missing_queue_is_made_by_who_reads_unless_the_url_says_no(host: Host, anyio_backend: str) -> None:
    place = f"made-{anyio_backend}"
    with fail_after(30):
        channel = AmqpChannel(host.url(options="?declare=no"))
        async with channel.open(), channel.open_source(place, prefetch=1) as source:
            for _ in range(2):
                with pytest.raises(ChannelRefused, match="no such queue"):
                    await source.receive(1)
        channel = AmqpChannel(host.url(options="?exchange=made&x-max-length=5"))
        async with channel.open(), channel.open_source(place, prefetch=1) as source:
            with anyio.move_on_after(0.01):
                await source.receive(1)
            while True:
                try:
                    await channel.send(place, [ChannelMessage(body=b"by its exchange")])
                    break
                except (ChannelRefused, ChannelUnavailable):
                    continue  # it is being made
            [received] = await source.receive(1)
            assert received.message.body == b"by its exchange"
        found = host.server.api("GET", f"queues/{host.name}/{place}")
        assert (found["type"], found["durable"], found["arguments"]["x-max-length"]) == ("quorum", True, 5)


@BOTH
async def test_a_source_that_is_refused_leaves_the_others_alone(host: Host, anyio_backend: str) -> None:
    locked = host.channel.queue_declare("", exclusive=True).method.queue
    channel = AmqpChannel(host.url())
    place = f"beside-{anyio_backend}"
    host.channel.queue_declare(place)
    with fail_after(30):
        async with (
            channel.open(),
            channel.open_source(locked, prefetch=1) as refused,
            channel.open_source(place, prefetch=1) as source,
        ):
            with pytest.raises(ChannelRefused):
                await refused.receive(1)
            await channel.send(place, [ChannelMessage(body=b"1")])
            await source.accept(await source.receive(1))


@BOTH
async def test_a_queue_that_is_deleted_between_two_messages_is_made_again_for_the_second(
    host: Host, anyio_backend: str
) -> None:
    place = f"between-{anyio_backend}"
    channel = AmqpChannel(host.url(None, "?declare=yes"))
    with fail_after(30):
        async with channel.open():
            await channel.send(place, [ChannelMessage(body=b"1")])
            host.server.api("DELETE", f"queues/{host.name}/{place}")
            await channel.send(place, [ChannelMessage(body=b"2"), ChannelMessage(body=b"3")])
            assert sorted(each.body for each in await channel.peek(place, 10)) == [b"2", b"3"]


@BOTH
async def test_a_queue_that_is_deleted_is_made_again(host: Host, anyio_backend: str) -> None:
    place = f"deleted-{anyio_backend}"
    channel = AmqpChannel(host.url())
    with fail_after(30):
        async with channel.open(), channel.open_source(place, prefetch=1) as source, anyio.create_task_group() as tg:

            async def receive() -> None:
                with pytest.raises(ChannelUnavailable):
                    await source.receive(1)
                [received] = await source.receive(1)
                await source.accept([received])

            tg.start_soon(receive)
            while True:
                try:
                    host.server.api("DELETE", f"queues/{host.name}/{place}")
                    break
                except OSError:
                    await anyio.sleep(0.02)  # not yet made
            while True:
                try:
                    await channel.send(place, [ChannelMessage(body=b"1")])
                    break
                except ChannelRefused:
                    await anyio.sleep(0.02)


@BOTH
@pytest.mark.parametrize("declare", ["receive", "no"])
async def test_a_queue_that_is_deleted_before_it_is_consumed(
    host: Host, monkeypatch: pytest.MonkeyPatch, declare: str, anyio_backend: str
) -> None:
    place = f"gone-{declare}-{anyio_backend}"
    host.server.api("PUT", f"queues/{host.name}/{place}", {"durable": True})
    find = QueueFinder.find
    found = 0

    async def find_and_lose(self: QueueFinder, *args: Any, **options: Any) -> None:
        nonlocal found
        await find(self, *args, **options)
        found += 1
        if found == 1:
            host.server.api("DELETE", f"queues/{host.name}/{place}")

    monkeypatch.setattr(QueueFinder, "find", find_and_lose)
    channel = AmqpChannel(host.url(options=f"?declare={declare}"))
    with fail_after(30):
        async with channel.open(), channel.open_source(place, prefetch=1) as source:
            if declare == "no":
                with pytest.raises(ChannelRefused, match="no such queue"):
                    await source.receive(1)
                return
            with pytest.raises(ChannelUnavailable, match="was deleted"):
                await source.receive(1)
            while True:
                try:
                    await channel.send(place, [ChannelMessage(body=b"1")])
                    break
                except ChannelRefused:
                    await anyio.sleep(0.02)  # it is being made
            await source.accept(await source.receive(1))


def test_wrong_urls_and_places() -> None:
    for options, problem in (
        ("?prefix=x", "no option 'prefix'"),
        ("?declare=maybe", "neither receive nor yes nor no"),
        ("?colour=red", "no option 'colour'"),
        ("?queue_type=heap", "neither quorum nor classic"),
    ):
        with pytest.raises(InvalidChannelUrl, match=problem):
            open_channel(f"amqp://me:secret@host/{options}")
    channel = AmqpChannel("amqp://me:secret@host/")
    assert "secret" not in channel.name
    for place in ("shop/orders", "a\nb", "amq.rabbitmq.reply-to.x"):
        with pytest.raises(InvalidOptions):
            cast(Any, channel)._places.queue(place)


@BOTH
async def test_a_server_that_is_not_there(anyio_backend: str) -> None:
    channel = AmqpChannel("amqp://me:secret@127.0.0.1:1/?timeout=1")
    async with channel.open():
        with pytest.raises(ChannelUnavailable, match="is the server running") as caught:
            await channel.check()
        assert "secret" not in str(caught.value)
