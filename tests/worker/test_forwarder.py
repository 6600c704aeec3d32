"""Messages that leave by the outbox: sent in order, dropped when they were confirmed, and never lost on the way."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import msgspec
import pytest
from support import DEADLINE, until, working

from nursery_tasks import App, JobState
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.needed import locks_of, outbox_of
from nursery_tasks.channels import ChannelMessage
from nursery_tasks.errors import ChannelRefused, ChannelUnavailable
from nursery_tasks.model.delivery import Finished
from nursery_tasks.model.outgoing import Outgoing
from nursery_tasks.testing import FaultyBroker
from nursery_tasks.testing.channels import MemoryChannel
from nursery_tasks.testing.contract.steps import packed
from nursery_tasks.worker.forwarder import LINES
from nursery_tasks.worker.unsent import UNSENT


@pytest.fixture(autouse=True)
def quick_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.backoff.FIRST_SECONDS", 0.005)
    monkeypatch.setattr("nursery_tasks.worker.forward_line.TAKEN_SECONDS", 0.1)


@pytest.fixture
def channel() -> MemoryChannel:
    return MemoryChannel()


def message(text: str, message_id: str | None = "", **fields: str) -> ChannelMessage:
    return ChannelMessage(body=text.encode(), id=text if message_id == "" else message_id, **fields)  # type: ignore[arg-type]


def pack(message: ChannelMessage) -> bytes:
    return msgspec.msgpack.encode(message)


async def put(app: App, destination: str, *messages: ChannelMessage) -> None:
    gateway = app.connection.gateway
    await gateway.call(outbox_of(gateway.broker).put_outgoing, [Outgoing(destination, pack(each)) for each in messages])


async def left(app: App) -> dict[str, int]:
    gateway = app.connection.gateway
    records = await gateway.call(outbox_of(gateway.broker).list_outboxes, 100)
    return {record.destination: record.count for record in records}


async def until_sent(app: App, **kept: int) -> None:
    """Wait until nothing is left but what is named."""
    with anyio.fail_after(DEADLINE):
        while await left(app) != kept:  # noqa: ASYNC110 - what is looked at has no event
            await anyio.sleep(0.01)


def texts(channel: MemoryChannel, place: str = "place") -> list[str]:
    return [each.body.decode() for each in channel.waiting(place)]


async def test_messages_arrive_with_all_they_have_in_order(url: str, channel: MemoryChannel) -> None:
    app = App(url, channels={"out": channel})
    full = ChannelMessage(
        body=b"\x00\xff", id="full", content_type="a/b", reply_to="there", correlation_id="c", headers={"x": "y"}
    )
    numbers = [message(f"{number}") for number in range(250)]
    async with working(app):
        await put(app, "out:place", *numbers, full)
        await put(app, "out:other", message("elsewhere"))
        await until_sent(app)
    assert channel.waiting("place") == [*numbers, full]
    assert texts(channel, "other") == ["elsewhere"]


async def test_what_an_outcome_sends_leaves_before_the_worker_ends(url: str, channel: MemoryChannel) -> None:
    """A stop lets what the last outcomes have brought leave, without a look that comes later."""
    app = App(url, channels={"out": channel})

    @app.task(queue="held")
    async def held() -> None: ...

    async with app:
        await held.enqueue()
        gateway = app.connection.gateway
        [delivery] = await gateway.claim(["held"], 1, "by hand", 15.0)
        async with app.open_worker(queues=["other"]):
            outgoing = (Outgoing("out:place", pack(message("last"))),)
            await gateway.settle([Finished(delivery, JobState.SUCCEEDED, packed(), outgoing=outgoing)])
        assert texts(channel) == ["last"]
        assert await left(app) == {}


async def test_a_channel_that_is_away_holds_up_no_other(memory_app: App, channel: MemoryChannel) -> None:
    here = MemoryChannel()
    app = App("memory:", channels={"away": channel, "here": here})
    channel.go_away()
    async with working(app, fraction=lambda: 0.0):
        await put(app, "away:place", message("1"), message("2"))
        await put(app, "here:place", message("3"))
        await until(lambda: texts(here) == ["3"])
        assert channel.waiting("place") == []
        channel.come_back()
        await until_sent(app)
    assert texts(channel) == ["1", "2"]


async def test_many_places_of_a_channel_that_is_away_take_no_room_of_others(
    channel: MemoryChannel, caplog: pytest.LogCaptureFixture
) -> None:
    here = MemoryChannel()
    app = App("memory:", channels={"away": channel, "here": here})
    channel.go_away()
    async with working(app):
        for number in range(LINES + 10):
            await put(app, f"away:place-{number}", message("1"))
        await until(lambda: channel.calls["send"] >= LINES)
        await put(app, "here:place", message("2"))
        await until(lambda: texts(here) == ["2"])
    assert caplog.text.count("cannot send to away:") == 1


async def test_an_answer_that_was_lost_sends_the_same_ids_again(channel: MemoryChannel) -> None:
    """Doubles have equal ids, also those of messages that were given none."""
    app = App("memory:", channels={"out": channel})
    channel.fail("send", error=ChannelUnavailable("memory:", "the answer was lost"), times=1, effect=True)
    async with working(app):
        await put(app, "out:place", message("1"), message("2", None), message("2", None))
        await until_sent(app)
    assert texts(channel) == ["1", "2", "2"] * 2
    ids = [each.id for each in channel.waiting("place")]
    assert ids[:3] == ids[3:]
    assert len(set(ids) - {None}) == 3


async def test_the_wish_to_wait_longer_is_heeded(channel: MemoryChannel) -> None:
    app = App("memory:", channels={"out": channel})
    channel.fail("send", error=ChannelUnavailable("memory:", "not now", retry_seconds=0.3), times=1)
    async with working(app, fraction=lambda: 0.0):
        began = anyio.current_time()
        await put(app, "out:place", message("1"))
        await until_sent(app)
        assert anyio.current_time() - began >= 0.3
    assert texts(channel) == ["1"]


class Picky(MemoryChannel):
    """Refuses batches with a message that says so, until it is repaired."""

    repaired = False

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        if not self.repaired and any(each.body == b"bad" for each in messages):
            raise ChannelRefused(self.name, "we do not take this")
        await super().send(place, messages)


async def test_what_is_refused_is_a_dead_letter_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    channel = Picky()
    app = App("memory:", channels={"out": channel})
    bad = message("bad", "7", content_type="a/b")
    async with working(app):
        await put(app, "out:place", message("1"), bad, message("2"), message("3"))
        gateway = app.connection.gateway
        await gateway.call(outbox_of(gateway.broker).put_outgoing, [Outgoing("out:place", b"\xc1 no message")])
        await until_sent(app)
        letters = await app.jobs.list(states=[JobState.DEAD])
        found = [await gateway.call(gateway.admin.job, letter.id) for letter in letters]
        channel.repaired = True
        await app.jobs.retry(letters[0].id)
        await until(lambda: len(channel.waiting("place")) == 4)
    assert texts(channel) == ["1", "2", "3", "bad"]
    assert channel.waiting("place")[-1] == bad
    bodies = (pack(bad), b"\xc1 no message")
    assert [(each.task, body in each.payload) for each, body in zip(found, bodies, strict=True) if each] == [(UNSENT, True)] * 2
    assert letters[0].reason == "not sent to out:place: we do not take this"
    assert [record.levelname for record in caplog.records].count("ERROR") == 2


async def test_a_place_that_cannot_be_is_a_dead_letter(channel: MemoryChannel) -> None:
    app = App("memory:", channels={"out": channel})
    async with working(app):
        await put(app, "out:", message("1"))
        await put(app, "not a queue", message("2"))
        await until_sent(app)
        assert len(await app.jobs.list(states=[JobState.DEAD])) == 2


async def test_a_channel_with_a_fault_loses_nothing(channel: MemoryChannel, caplog: pytest.LogCaptureFixture) -> None:
    app = App("memory:", channels={"out": channel})
    channel.fail("send", error=ZeroDivisionError("a slip"), times=2)
    async with working(app):
        await put(app, "out:place", message("1"))
        await until_sent(app)
    assert texts(channel) == ["1"]
    assert "has raised what no channel should" in caplog.text


async def test_a_queue_of_the_app_gets_each_message_once(app: App) -> None:
    """Without a channel's name it is a queue of the broker: a job for the task that takes what is raw there."""
    seen: list[bytes] = []

    @app.task(queue="raw", raw=True)
    async def take(body: bytes) -> None:
        seen.append(body)

    @app.task(queue="plain")
    async def add(a: int) -> None:
        seen.append(b"%d" % a)

    async with working(app):
        await put(app, "raw", message("1"), message("2"), message("1"))
        await put(app, "plain", ChannelMessage(body=b'{"task": "%s", "args": [3]}' % add.name.encode(), id="x"))
        await until(lambda: len(seen) >= 3)
        await until_sent(app)
        await put(app, "raw", message("2"), message("4"))
        await until(lambda: b"4" in seen)
    assert Counter(seen) == Counter([b"1", b"2", b"3", b"4"])


async def test_what_is_for_another_app_is_left_alone(channel: MemoryChannel) -> None:
    app = App("memory:", channels={"out": channel})
    async with working(app):
        await put(app, "their:place", message("theirs"))
        await put(app, "out:place", message("ours"))
        await until_sent(app, **{"their:place": 1})
    assert texts(channel) == ["ours"]


@pytest.mark.parametrize("method", ["next_outgoing", "drop_outgoing", "list_outboxes", "lock", "unlock"])
@pytest.mark.parametrize("effect", [False, True], ids=["not made", "answer lost"])
async def test_a_broker_that_fails_for_a_while_loses_nothing(channel: MemoryChannel, method: str, effect: bool) -> None:
    app = App("memory:", channels={"out": channel})
    inner = MemoryBroker()
    broker = FaultyBroker(inner, threads=True)
    broker.fail(method, times=2, effect=effect)
    with app.use_broker(broker):
        async with working(app, fraction=lambda: 0.0):
            await put(app, "out:place", *(message(f"{number}") for number in range(150)))
            await until(lambda: not inner.outbox.list_outboxes(1))
    assert texts(channel) == [f"{number}" for number in range(150)]


async def test_hints_that_get_lost_cost_time_and_nothing_else(channel: MemoryChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.forwarder.LOOK_SECONDS", 0.1)
    app = App("memory:", channels={"out": channel})
    broker = FaultyBroker(MemoryBroker(), threads=True)
    broker.hints = False
    with app.use_broker(broker):
        async with working(app):
            for number in range(3):
                await put(app, "out:place", message(f"{number}"))
                await until_sent(app)
    assert texts(channel) == ["0", "1", "2"]


async def test_a_stop_waits_for_no_channel_that_is_away(channel: MemoryChannel) -> None:
    app = App("memory:", channels={"out": channel})
    channel.go_away()
    async with working(app, fraction=lambda: 0.999) as worker:
        await put(app, "out:place", message("1"), message("2"))
        await until(lambda: channel.calls["send"] >= 3)  # the pauses have grown
        began = anyio.current_time()
        worker.stop()
        await worker.wait_drained()
    assert anyio.current_time() - began < 1.5
    async with app:
        assert channel.waiting("place") == []


async def test_a_stop_cuts_a_send_that_does_not_end(channel: MemoryChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.worker.forwarder.FINISH_SECONDS", 0.2)
    app = App("memory:", channels={"out": channel})
    stall = channel.stall("send")
    broker = MemoryBroker()
    with app.use_broker(broker):
        async with working(app):
            await put(app, "out:place", message("1"))
            await stall.wait_until_reached()
        assert [record.count for record in broker.outbox.list_outboxes(10)] == [1]
        assert broker.locks.list_locks(10) == []
        stall.release()
        async with working(app):
            await until_sent(app)
    assert texts(channel) == ["1"]


class OneByOne(MemoryChannel):
    """Sends one message after the other, as HTTP does, and is away for a while at each 50th."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = Counter[str | None]()

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        for each in messages:
            self.tries[each.id] += 1
            if int(each.body) % 50 == 49 and self.tries[each.id] <= 20:
                raise ChannelUnavailable(self.name, "not now")
            await super().send(place, [each])


async def test_what_fails_in_the_middle_of_a_batch_does_not_send_the_beginning_for_ever() -> None:
    channel = OneByOne()
    app = App("memory:", channels={"out": channel})
    async with working(app, fraction=lambda: 0.0):
        await put(app, "out:place", *(message(f"{number}") for number in range(200)))
        await until_sent(app)
    assert list(dict.fromkeys(texts(channel))) == [f"{number}" for number in range(200)]
    assert len(channel.waiting("place")) < 200 + 4 * 80


class Watched(MemoryChannel):
    """Notes when two send to one place at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sending = self.most = 0

    async def send(self, place: str, messages: Sequence[ChannelMessage]) -> None:
        self.sending += 1
        self.most = max(self.most, self.sending)
        await anyio.sleep(0.002)
        await super().send(place, messages)
        self.sending -= 1


async def test_of_several_workers_one_sends_at_a_time(url: str) -> None:
    channel = Watched()
    app = App(url, channels={"out": channel})
    async with working(app), AsyncExitStack() as workers:
        for _ in range(3):
            await workers.enter_async_context(app.open_worker())
        for number in range(40):
            await put(app, "out:place", message(f"{number:02}"))
        await until_sent(app)
    assert texts(channel) == [f"{number:02}" for number in range(40)]
    assert channel.most == 1


async def test_who_has_lost_the_lock_drops_nothing_that_it_has_not_sent(
    channel: MemoryChannel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarder that was away for longer than its lease is told to end, and the line goes on elsewhere."""
    monkeypatch.setattr("nursery_tasks.worker.forward_line.LEASE_SECONDS", 0.3)

    class Shared(MemoryBroker):
        features = MemoryBroker.features | {"sharing between processes"}  # type: ignore[operator]

    broker = Shared()
    app = App("memory:", channels={"out": channel})
    stall = channel.stall("send")
    caplog.set_level(logging.WARNING, "nursery_tasks.worker")
    with app.use_broker(broker):
        async with working(app):
            await put(app, "out:place", message("1"))
            await stall.wait_until_reached()
            [record] = broker.locks.list_locks(10)
            for hold in list(broker._state.locks._lines[record.name]):  # as if its lease had been over
                broker.locks.unlock([(record.name, hold)])
            assert locks_of(broker).lock(record.name, b"another", 0.5, False)
            await until(lambda: "is lost, another worker may send it" in caplog.text)
            await put(app, "out:place", message("2"))
            stall.release()
            await until_sent(app)
    assert list(dict.fromkeys(texts(channel))) == ["1", "2"]


async def test_nothing_is_asked_of_the_broker_where_nothing_is_sent(memory_app: App, faulty: FaultyBroker) -> None:
    """Jobs without messages cost no call."""

    @memory_app.task
    async def work() -> None: ...

    async with working(memory_app):
        for _ in range(5):
            await work.run()
        assert {name: faulty.calls[name] for name in ("next_outgoing", "drop_outgoing", "lock")} == {
            "next_outgoing": 0,
            "drop_outgoing": 0,
            "lock": 0,
        }
        assert faulty.calls["list_outboxes"] <= 1


async def test_a_busy_line_is_kept_for_a_moment(memory_app: App) -> None:
    """A steady stream does not take and give back the lock for each message."""
    channel = MemoryChannel()
    app = App("memory:", channels={"out": channel})
    broker = FaultyBroker(MemoryBroker(), threads=True)
    with app.use_broker(broker):
        async with working(app):
            for number in range(20):
                await put(app, "out:place", message(f"{number}"))
                await until(lambda number=number: len(channel.waiting("place")) > number)
    assert broker.calls["lock"] <= 5
