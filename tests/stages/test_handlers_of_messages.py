"""Handlers and listeners: messages in, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from stage_tools import StagedApp, bodies, message
from support import until, working

from nursery_tasks.channels import ChannelMessage


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

    a.put("events", message(1, id="1"), message(1, id="1"), message(2, id="2"))
    a.put("bare", message(7), message(7))
    async with working(app):
        await until(lambda: not a.waiting("events") and not a.unsettled("events") and len(seen) >= 3)
        await until(lambda: not a.waiting("bare") and not a.unsettled("bare"))
    assert sorted(seen) == [1, 2, 7]


async def test_a_poison_message_is_a_dead_letter_with_its_bytes_and_the_next_one_runs(staged: StagedApp) -> None:
    app = staged.app
    a, b = staged.a, staged.b

    @app.handler("a:orders", reply="b:bills")
    async def bill(order: Order) -> str:
        return order.what

    a.put("orders", message(b"\xff not an order", id="bad"), message({"what": "nails", "pieces": 1}))
    async with working(app):
        assert await bodies(b, "bills", 1) == [b"nails"]
        dead = await app.jobs.list(states=["dead"])
        assert len(dead) == 1
        info = await app.jobs.get(dead[0].id)
        assert info is not None
        print(info)


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
