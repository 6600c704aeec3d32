"""Messages as other programs send them, through each broker that takes any."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anyio import fail_after, sleep, to_thread

from nursery_tasks import App
from nursery_tasks.brokers.common.foreign import to_inbox
from nursery_tasks.brokers.needed import postbox_of
from nursery_tasks.errors import InvalidOptions, NotSupported
from nursery_tasks.model.listing import ServerMessage
from nursery_tasks.model.raw import ForeignHead, put_head, unwrap_raw

SECONDS = 40.0


async def test_a_message_that_was_sent_is_run_and_answered(url: str) -> None:
    app = App(url)

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(queue="notes", raw=True)
    async def note(body: bytes) -> str:
        return f"res-{body.decode()}"

    message = b'{"task": "add", "args": [1, 2]}'
    with fail_after(SECONDS):
        async with app:
            if url == "memory:":
                with pytest.raises(NotSupported, match="has no messages to send"):
                    _ = postbox_of(app.connection.gateway.broker)
                return
            send = postbox_of(app.connection.gateway.broker).send_message
            async with app.open_worker(queues=["default", "notes"]):
                call = app.connection.gateway.call
                assert await call(send, "default", ServerMessage(body=message, id="mine", reply_to="answers")) == "mine"
                await call(send, "notes", ServerMessage(body=b"hello", reply_to="answers", correlation_id="c1"))
                await call(send, "default", ServerMessage(body=message))
                broker: Any = app.connection.gateway.broker
                answers: list[bytes] = []
                while len(answers) < 2:
                    answers += await to_thread.run_sync(broker.replies.take_replies, "answers", 10)
                    await sleep(0.01)
                assert sorted(answers) == [b"res-hello", b'{"id":"mine","response":3}']
                assert await app.handle("mine") == 3


def test_a_head_says_what_the_message_does_not() -> None:
    head = ForeignHead("answers", "7")
    assert json.loads(put_head(b'{"task": "add"}', head) or b"") == {"task": "add", "reply_to": "answers", "id": "7"}
    whole = {"task": "add", "reply_to": "there", "id": 0}
    assert json.loads(put_head(json.dumps(whole).encode(), head) or b"") == whole
    packed = msgspec.msgpack.encode({"task": "add"})
    assert msgspec.msgpack.decode(put_head(packed, head) or b"") == {"task": "add", "reply_to": "answers", "id": "7"}
    for body in (b'{"task": 5}', b"[]", b"not json", b"\x81\xa4task\x07", b"\xff"):
        assert put_head(body, head) is None
        name, payload, raw = to_inbox(ServerMessage(body=body, reply_to="answers", correlation_id="7"))
        assert (name, raw) == ("7", True)
        assert unwrap_raw(payload) == (ForeignHead("answers", "7", "7"), body)
    with pytest.raises(InvalidOptions, match="correlation_id='c 1'"):
        to_inbox(ServerMessage(body=b"hello", correlation_id="c 1"))
