"""What other programs put into a queue's lists becomes jobs, and the same ones as in every broker with an inbox."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import msgspec
import pytest
import redis
from redis_server import fresh_url, open_redis_broker, shared_server
from support import DEADLINE

from nursery_tasks.brokers.common.foreign import to_submission
from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.model.codec import unpack_outcome
from nursery_tasks.model.delivery import Delivery, Hint, Reply
from nursery_tasks.model.listing import JobFilter, JobRecord
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract import ManualClock
from nursery_tasks.testing.contract.steps import job, submit, succeeded


@dataclass
class Place:
    """A broker with a clock of the test's, and another program's connection to the same server."""

    url: str
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.broker: RedisBroker = open_redis_broker(self.url, self.clock)
        self.client = redis.Redis(port=shared_server().port, protocol=2)
        self.prefix = f"{{{self.url.rpartition('=')[2]}}}:"

    def push(self, name: str, *bodies: bytes) -> None:
        self.client.rpush(self.prefix + name, *bodies)

    def claim(self, limit: int = 1000, *queues: str) -> list[Delivery]:
        return self.broker.claim(queues or ["work"], limit, "w", 15.0)

    def records(self) -> list[JobRecord]:
        return self.broker.admin.list_jobs(JobFilter(), 10_000)


@pytest.fixture
def place() -> Generator[Place, None, None]:
    with fresh_url() as url:
        place = Place(url)
        try:
            yield place
        finally:
            place.broker.close()
            place.client.close()


def message(**fields: Any) -> bytes:
    return json.dumps({"task": "add", **fields}).encode()


READABLE = [
    message(args=[1, 2]),
    message(id="mine"),
    message(id=7),
    message(id=-7),
    message(id=""),
    message(id=None),
    message(id="gr\u00fcn-\u20ac-\U0001f600"),
    message(id="x" * 200),
    message(priority=5),
    message(priority=50),
    message(priority=-1),
    message(delay=60),
    message(delay=0.5),
    message(delay=-60),
    message(delay=1e300),
    message(parent="job-1", tags=["a", "b"], priority=1, queue="other", unknown={"deep": [1]}),
    message(tags=[]),
    message(key="once", expires=60),
    message(queue=None, priority=None, delay=None, tags=None, expires=None, key=None, parent=None),
    message(id=7.0),
    json.dumps({"task": "gr\u00fcn", "id": "\u20ac"}, ensure_ascii=False).encode(),
    b' \n{"task": "add"}',
    msgspec.msgpack.encode({"task": "add", "id": "packed", "priority": 3, "tags": ["x"]}),
]
UNREADABLE = [
    b"",
    b"not json",
    b"garbage-no-pipe\xff\x00",
    b"{",
    b'{"task": "add"} more',
    b"[" * 100_000,
    b"\x91" * 100_000,
    b"\xdd\xff\xff\xff\xff",
    b"\x80",
    b"[]",
    b"null",
    b'"task"',
    b"{}",
    message(task=None),
    message(task=7),
    message(id=1.5),
    message(id=[]),
    message(id="two words"),
    message(id="x" * 201),
    message(id="nul\x00"),
    message(task="nul\x00"),
    message(task="with spaces"),
    message(task="gr\u00fcn\u00a0"),
    message(id=2**53),
    message(queue=5),
    message(queue="no queue!"),
    message(key="two words"),
    message(expires="5"),
    message(expires=-1),
    message(delay="5"),
    message(tags={"a": "b"}),
    message(priority="high"),
    message(priority=1.5),
    message(delay="soon"),
    b'{"task": "add", "delay": NaN}',
    b'{"task": "add", "delay": 1e999}',
    message(parent=7),
    message(tags="a"),
    message(tags=[1]),
    b'{"task": "\xff"}',
    b'{"task": "\xed\xa0\x80"}',
    b'{"task": "\xc0\xaf"}',
    b'{"task": "\xe0\xc2\xa0\xa0\x80"}',
    b'{"task": "add", "id": "\xf5\x80\x80\x80"}',
]


@pytest.mark.parametrize("body", [*READABLE, *UNREADABLE], ids=range(len(READABLE) + len(UNREADABLE)))
def test_a_message_is_read_as_by_every_inbox(place: Place, body: bytes) -> None:
    place.push("in:work", body)
    place.claim(0)
    place.claim(1, "another")
    assert place.records() == []  # nobody has asked for this queue
    place.claim()
    (found,) = place.records()
    wanted = to_submission(b"work", body)
    assert (found.task, found.queue, found.priority, found.parent, found.tags, found.payload, found.raw) == (
        *(wanted.task, "work", wanted.priority, wanted.parent, wanted.tags, body, False),
    )
    assert (found.task != "") == (body in READABLE)
    assert found.due_at - found.created_at == pytest.approx(wanted.delay_seconds)
    assert found.state is (JobState.SCHEDULED if wanted.delay_seconds else JobState.CLAIMED)
    made_up = len(wanted.id) == 32 and set(wanted.id) <= set("0123456789abcdef")
    assert len(found.id) == 32 if made_up else found.id == wanted.id


def test_order_and_repetitions(place: Place) -> None:
    place.push("in:work", message(id="a"), message(id="b"), message(id="a"), message(id="c"))
    assert [delivery.id for delivery in place.claim()] == ["a", "b", "c"]
    place.client.lpush(place.prefix + "in:work", message(id="c"), message(id="d"))
    assert [delivery.id for delivery in place.claim()] == ["d"]
    assert place.client.keys(place.prefix + "in:*") == []


def test_a_message_with_the_id_of_an_owned_job_detaches_it(place: Place) -> None:
    submit(place.broker, job("mine", owner=b"owner", owner_seconds=15.0), job("other", owner=b"owner", owner_seconds=15.0))
    place.push("in:work", message(id="mine"))
    assert [delivery.owned for delivery in place.claim()] == [False, True]


def test_raw_bodies_are_not_looked_into(place: Place) -> None:
    bodies = [b"hello", b"", bytes(range(256)), message(id="mine", priority=9, delay=60)]
    place.push("raw:work", *bodies)
    place.push("in:work", message(id="first"))  # messages of a queue come before what is raw, when both are found at once
    first, *found = place.claim()
    assert (first.id, first.raw) == ("first", False)
    assert [(delivery.payload, delivery.raw, delivery.task) for delivery in found] == [(body, True, "") for body in bodies]
    assert len({delivery.id for delivery in found}) == 4
    assert place.broker.settle([succeeded(delivery) for delivery in [first, *found]]) == [True] * 5


def test_a_claim_takes_a_bounded_number_in_and_tells_of_the_rest(place: Place) -> None:
    heard: Queue[Hint] = Queue()
    listener = place.broker.listen(["work"], heard.put)
    place.push("in:work", *[message(args=[n]) for n in range(600)])
    place.push("in:large", *[message(args=["x" * 400_000]) for _ in range(5)])
    assert len(place.claim(10)) == 10
    assert place.client.llen(place.prefix + "in:work") == 600 - 256
    assert len(place.claim()) == 246 + 256
    assert len(place.claim()) == 88
    assert place.claim() == []
    assert len(place.claim(1000, "large")) == 3  # a mebibyte
    assert len(place.claim(1000, "large")) == 2
    told: set[str] = set()
    while not told >= {"work", "large"}:
        told.update(heard.get(timeout=DEADLINE).names)
    listener.close()
    assert told == {"work", "large"}


def test_what_is_too_large_for_any_app_is_dead_at_once(place: Place) -> None:
    body = b"x" * (16 * 1024 * 1024 + 1)
    place.push("in:work", body)
    place.push("raw:work", body)
    for _ in range(2):
        assert place.claim() == []
    found = [(record.state, record.raw, record.payload == body, _reason(record)) for record in place.records()]
    reason = "oversize: 16777217 bytes, the most is 16777216"
    assert found == [(JobState.DEAD, False, True, reason), (JobState.DEAD, True, True, reason)]


def _reason(record: JobRecord) -> str | None:
    return unpack_outcome(record.outcome).reason if record.outcome else None


def test_a_key_of_another_kind_stops_nobody(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.client.set(place.prefix + "in:work", "oops")
    place.client.hset(place.prefix + "raw:work", "oops", "oops")
    place.client.set(place.prefix + "out:answers", "oops")
    place.push("in:other", message(id="a"))
    place.push("in:other", message(id="b"))
    first, second = place.claim(10, "work", "other")
    answered = msgspec.structs.replace(succeeded(first), reply=Reply("answers", b"1"))
    assert place.broker.settle([answered, msgspec.structs.replace(succeeded(second), reply=Reply("sums", b"2"))]) == [True] * 2
    assert place.client.lrange(place.prefix + "out:sums", 0, -1) == [b"2"]
    assert [record.getMessage() for record in caplog.records] == ["no answer is put into 'answers': that key is no list"]


def test_replies_have_a_time_to_live_and_a_limit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from nursery_tasks.brokers.redis import scripts

    monkeypatch.setattr(scripts, "REPLIES_KEPT", 3)
    broker = open_redis_broker(place.url, place.clock)
    place.push("raw:work", *[b""] * 5)
    found = broker.claim(["work"], 10, "w", 15.0)
    answers = [b"%d" % number for number in range(5)]
    broker.settle(
        [
            msgspec.structs.replace(succeeded(delivery), reply=Reply("answers", body))
            for delivery, body in zip(found, answers, strict=True)
        ]
    )
    key = place.prefix + "out:answers"
    assert place.client.lrange(key, 0, -1) == answers[2:]
    ttl = place.client.ttl(key)
    assert isinstance(ttl, int)
    assert 86_000 < ttl <= 86_400
    broker.close()


def test_another_program_may_say_that_there_is_work(place: Place) -> None:
    heard: Queue[Hint] = Queue()  # a thread of the broker's hears them
    listener = place.broker.listen(["work"], heard.put)
    for said in (b"work", b"\xff\xfe", b"\x91\xa5other", b""):
        assert place.client.publish(place.prefix + "hint:work", said) == 1
    assert [heard.get(timeout=DEADLINE).names for _ in range(4)] == [("work",), ("\ufffd\ufffd",), ("other",), ("",)]
    listener.close()
