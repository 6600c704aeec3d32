"""Links that break: in the middle of a call, without a sign, half. Nothing hangs, and repeating is safe."""

from __future__ import annotations

import os
import time
from threading import Condition

import pytest
from proxy import Proxy
from redis_server import RedisServer, open_redis_broker

from nursery_tasks.brokers.protocol import Broker
from nursery_tasks.errors import BrokerUnavailable
from nursery_tasks.model.delivery import Finished, Hint, Started, Submission
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import packed

TIMEOUT = 0.5  # seconds that a call waits for its answer, here


def job(job_id: str) -> Submission:
    return Submission(id=job_id, queue="work", task="tests.task", payload=b'{"task":"tests.task"}')


@pytest.fixture
def broker(proxy: Proxy) -> Broker:
    return open_redis_broker(f"redis://127.0.0.1:{proxy.port}/0?timeout={TIMEOUT}")


@pytest.mark.parametrize(
    ("direction", "after", "stored"), [("to server", 0, False), ("to server", 150, False), ("to client", 0, True)]
)
def test_a_submit_that_is_cut_is_unknown_and_may_be_repeated(
    proxy: Proxy, broker: Broker, direction: str, after: int, stored: bool
) -> None:
    broker.submit([job("first")])
    marked = b"second" if direction == "to server" else b""
    rule = proxy.on("cut", direction, after=after, marked=marked)  # type: ignore[arg-type]
    with pytest.raises(BrokerUnavailable):
        broker.submit([job("second"), job("third")])
    assert rule.done.is_set()
    assert [each is not None for each in broker.outcomes(["second", "third"])] == [stored, stored]
    assert [receipt.created for receipt in broker.submit([job("second"), job("third")])] == [not stored] * 2
    assert sorted(delivery.id for delivery in broker.claim(["work"], 10, "w", 15)) == ["first", "second", "third"]
    broker.close()


@pytest.mark.parametrize("what", ["stall", "half open"])
@pytest.mark.parametrize("direction", ["to server", "to client"])
def test_a_call_on_a_link_that_is_silent_ends_in_time(proxy: Proxy, broker: Broker, what: str, direction: str) -> None:
    broker.submit([job("first")])
    proxy.on(what, direction)  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="no answer in time"):
        broker.submit([job("second")])
    assert TIMEOUT * 0.9 <= time.monotonic() - began < TIMEOUT + 2
    assert broker.submit([job("third")])[0].created  # on a new link
    broker.close()


def test_a_settlement_whose_answer_is_lost_took_effect_and_is_stale_when_it_is_repeated(proxy: Proxy, broker: Broker) -> None:
    broker.submit([job("first")])
    (delivery,) = broker.claim(["work"], 1, "w", 15)
    assert broker.settle([Started(delivery)]) == [True]  # and the server knows the script
    proxy.on("cut", "to client")
    finished = Finished(delivery, JobState.SUCCEEDED, packed())
    with pytest.raises(BrokerUnavailable):
        broker.settle([finished])
    (found,) = broker.outcomes(["first"])
    assert found is not None
    assert found.state is JobState.SUCCEEDED
    assert broker.settle([finished]) == [False]
    broker.close()


def test_a_link_that_died_while_it_was_idle_costs_no_call(
    proxy: Proxy, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.submit([job("first")])
    proxy.cut_all()
    monkeypatch.setattr("nursery_tasks.brokers.redis.link.LOOK_SECONDS", 0.0)
    assert broker.submit([job("second")])[0].created
    broker.close()


class Ear:
    """Remembers hints."""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self._news = Condition()

    def __call__(self, hint: Hint) -> None:
        with self._news:
            self.heard.append(hint)
            self._news.notify_all()

    def wait_for(self, wanted: Hint, seconds: float = 20.0) -> None:
        with self._news:
            assert self._news.wait_for(lambda: wanted in self.heard, seconds), self.heard


@pytest.mark.parametrize("how", ["cut", "stall"])
def test_a_listener_that_was_cut_off_looks_at_everything_and_hears_again(
    proxy: Proxy, broker: Broker, server: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("nursery_tasks.brokers.redis.hints.QUIET_SECONDS", 0.2)
    monkeypatch.setattr("nursery_tasks.brokers.redis.hints.ANSWER_SECONDS", 1.0)
    direct = open_redis_broker(server.url)
    ear = Ear()
    broker.listen(["work", "outcome"], ear)
    direct.submit([job("first")])
    ear.wait_for(Hint("work", ("work",)))
    ear.heard.clear()
    proxy.cut_all() if how == "cut" else proxy.stall_all()
    ear.wait_for(Hint("work"))  # everything: who knows what was said meanwhile
    ear.wait_for(Hint("outcome"))
    direct.submit([job("second")])
    ear.wait_for(Hint("work", ("work",)))
    broker.close()
    direct.close()


def test_a_quiet_link_is_asked_and_not_given_up(
    proxy: Proxy, broker: Broker, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.brokers.redis.hints.QUIET_SECONDS", 0.02)
    ear = Ear()
    broker.listen(["work"], ear)
    hearing = clients_that_listen(server)
    assert len(hearing) == 1
    end = time.monotonic() + 20
    while calls_of_ping(server) < 10:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert clients_that_listen(server) == hearing  # the same link after all that silence
    assert ear.heard == []
    broker.close()


def clients_that_listen(server: RedisServer) -> list[bytes]:
    return [line.split()[0] for line in server.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines() if b"sub=1" in line]


def calls_of_ping(server: RedisServer) -> int:
    found = server.command("INFO", "commandstats").partition(b"cmdstat_ping:calls=")[2]
    return int(found.split(b",")[0] or b"0")


def test_close_ends_the_thread_that_listens_at_once(broker: Broker) -> None:
    broker.listen(["work"], Ear())
    began = time.monotonic()
    broker.close()
    broker.close()
    assert time.monotonic() - began < 1


def test_scripts_survive_a_flush(server: RedisServer, broker: Broker) -> None:
    broker.submit([job("first")])
    assert server.command("SCRIPT", "FLUSH").startswith(b"+OK")
    assert broker.submit([job("second")])[0].created
    assert len(broker.claim(["work"], 10, "w", 15)) == 2
    broker.close()


def test_a_child_of_a_fork_is_told_to_open_its_own(broker: Broker) -> None:
    broker.submit([job("first")])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            broker.submit([job("second")])
            os.write(writing, b"it went through")
        except BrokerUnavailable as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answers:
        assert b"before this process was forked" in answers.read()
    os.waitpid(child, 0)
    assert broker.submit([job("third")])[0].created
    assert [each is None for each in broker.outcomes(["first", "second", "third"])] == [False, True, False]
    broker.close()
