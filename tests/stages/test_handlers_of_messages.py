"""Handlers and listeners: messages in, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from process_stages import app as process_app
from process_stages import channel
from stage_tools import StagedApp, bodies, message
from support import until, working

from nursery_tasks import App
from nursery_tasks.channels import ChannelMessage
from nursery_tasks.errors import InvalidOptions
from nursery_tasks.testing.channels import MemoryChannel


@dataclass
class Order:
    what: str
    pieces: int


async def test_a_message_goes_in_and_another_one_comes_out(staged: StagedApp) -> None:
    app = staged.app
    a, b = staged.a, staged.b

    @app.handler("a:orders", reply="b:bills")
    async def bill(order: Order) -> dict[str, int]:
        return {order.what: 2 * order.pieces}

    @app.handler("a:names", reply="b:greetings")
    def greet(name: str) -> str:
        return f"hello {name}"

    @app.handler("a:bytes", reply="b:bytes")
    async def turn(body: bytes) -> bytes:
        return body[::-1]

    a.put("orders", message({"what": "nails", "pieces": 3}, id="1", correlation_id="c1"))
    a.put("names", message(b"Ada"))
    a.put("bytes", message(b"\xff\0"))
    async with working(app):
        assert await bodies(b, "bills", 1) == [b'{"nails":6}']
        assert await bodies(b, "greetings", 1) == [b"hello Ada"]
        assert await bodies(b, "bytes", 1) == [b"\0\xff"]
        [bill_message] = b.waiting("bills")
        assert (bill_message.content_type, bill_message.correlation_id) == ("application/json", "c1")
        assert bill_message.id
        await until(lambda: not a.unsettled("orders"))


async def test_a_whole_message_is_taken_and_given(staged: StagedApp) -> None:
    app = staged.app
    a, b = staged.a, staged.b

    @app.handler("a:in", reply="b:out")
    async def copy(given: ChannelMessage) -> ChannelMessage:
        return ChannelMessage(body=given.body, headers={**given.headers, "seen": "yes"}, id=f"{given.id}-copy")

    a.put("in", message(b"x", id="7", headers={"colour": "red"}))
    async with working(app):
        await bodies(b, "out", 1)
    [out] = b.waiting("out")
    assert (out.body, out.headers, out.id) == (b"x", {"colour": "red", "seen": "yes"}, "7-copy")


async def test_one_message_becomes_many_in_their_order_and_goes_to_many(staged: StagedApp) -> None:
    app = staged.app
    a, b = staged.a, staged.b

    @app.handler("a:n", reply=["b:evens", "a:evens"], many=True)
    async def evens(n: int) -> AsyncIterator[int]:
        for number in range(1, 4):
            yield n * number

    @app.handler("a:m", reply="b:odds", many=True)
    def odds(n: int) -> Iterator[int]:
        yield from (n, n + 2)

    a.put("n", message(2))
    a.put("m", message(1))
    async with working(app):
        assert await bodies(b, "evens", 3) == [b"2", b"4", b"6"]
        assert await bodies(staged.a, "evens", 3) == [b"2", b"4", b"6"]
        assert await bodies(b, "odds", 2) == [b"1", b"3"]


async def test_the_same_message_again_is_one_job(staged: StagedApp) -> None:
    app = staged.app
    a = staged.a
    seen: list[int] = []

    @app.listener("a:events")
    async def note(number: int) -> None:
        seen.append(number)

    @app.listener("a:bare", same_by=lambda message: message.body.decode())
    async def note_bare(number: int) -> None:
        seen.append(number)

    def odd(given: ChannelMessage) -> str:
        raise KeyError("no name")

    @app.listener("a:odd", same_by=odd)
    async def note_odd(number: int) -> None:
        seen.append(number)

    a.put("odd", message(9))
    a.put("events", message(1, id="1"), message(1, id="1"), message(2, id="2"))
    a.put("bare", message(7), message(7))
    async with working(app):
        await until(lambda: not a.waiting("events") and not a.unsettled("events") and len(seen) >= 4)
        await until(lambda: not a.waiting("bare") and not a.unsettled("bare"))
    assert sorted(seen) == [1, 2, 7, 9]


async def test_a_poison_message_is_a_dead_letter_with_its_bytes_and_the_next_one_runs(staged: StagedApp) -> None:
    app = staged.app
    a, b = staged.a, staged.b

    @app.handler("a:orders", reply="b:bills")
    async def bill(order: Order) -> str:
        return order.what

    a.put("orders", message(b"\xff not an order", id="bad"), message({"what": "nails", "pieces": 1}))
    async with working(app):
        assert await bodies(b, "bills", 1) == [b"nails"]
        [dead] = await app.jobs.list(states=["dead"])
        record = await app.connection.gateway.call(app.connection.gateway.admin.job, dead.id)
        assert record is not None
        assert record.payload.endswith(b"\n\xff not an order")


async def test_who_awaits_an_answer_gets_it_on_the_channel_of_the_question(staged: StagedApp) -> None:
    app = staged.app
    a = staged.a

    @app.handler("a:rpc")
    async def double(n: int) -> int | None:
        if n == 0:
            raise ValueError("zero")
        return 2 * n if n < 100 else None

    a.put("rpc", message(4, reply_to="me", correlation_id="x"), message(100, reply_to="me"))
    a.put("rpc", message(0, reply_to="me", correlation_id="y"), message(b"?", reply_to="me", correlation_id="z"))
    async with working(app):
        await bodies(a, "me", 3)
        await until(lambda: not a.unsettled("rpc"))
    answers = {each.correlation_id: each for each in a.waiting("me")}
    assert answers["x"].body == b"8"
    assert b'"text":"zero"' in answers["y"].body
    assert answers["y"].headers == {"nursery-tasks-state": "failed"}
    assert answers["z"].headers == {"nursery-tasks-state": "dead"}
    assert len(answers) == 3


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_handlers_run_in_processes(anyio_backend: object) -> None:
    for place in ("turned", "signed", "halves"):  # of another loop's run
        channel._line(place).items.clear()
    channel.put("bodies", message(b"\0\xff"))
    channel.put("messages", message(b"\xfe", headers={"colour": "red"}))
    channel.put("numbers", message(7))
    async with working(process_app, processes=1):
        assert await bodies(channel, "turned", 1) == [b"\xff\0"]
        assert await bodies(channel, "signed", 1) == [b"\xfe"]
        assert await bodies(channel, "halves", 2) == [b"3", b"4"]
    [signed] = channel.waiting("signed")
    assert signed.headers == {"colour": "red", "seen": "yes"}


def test_what_cannot_be_a_stage_is_refused_where_it_is_declared() -> None:
    app = App("memory:", channels={"a": MemoryChannel()})

    @app.handler("a:taken")
    async def first(body: bytes) -> None: ...

    with pytest.raises(InvalidOptions, match="app's channels \\(a:\\)"):
        app.handler("b:x")
    with pytest.raises(InvalidOptions, match="app's channels \\(a:\\)"):
        app.publisher("b:x")
    with pytest.raises(InvalidOptions, match="an annotation of 'body'"):

        @app.listener("a:bare")
        async def bare(body): ...  # type: ignore[no-untyped-def]

    with pytest.raises(InvalidOptions, match="many=True for a function that yields"):

        @app.handler("a:few")  # type: ignore[arg-type]
        def few(body: bytes) -> Iterator[int]:
            yield 1

    with pytest.raises(InvalidOptions, match=r"^source='a:taken': expected another place for second; the stage first"):

        @app.handler("a:taken")
        async def second(body: bytes) -> None: ...

    with pytest.raises(InvalidOptions, match="no queue= for a listener"):
        app.listener("a:x", queue="y")(first.spec.function)  # type: ignore[call-arg]
    with pytest.raises(InvalidOptions, match="every"):
        app.collector("a:x", every=0)

    def counts(total: dict[str, int], word: str) -> dict[str, int]:
        return total

    with pytest.raises(InvalidOptions, match=r"^initial=0: expected what the total of counts is, by its annotation"):
        app.collector("a:words")(counts)
    app.collector("a:words", initial={})(counts)  # the place is still free
