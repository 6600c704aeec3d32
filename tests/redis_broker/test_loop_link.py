"""The link on the event loop: whose answer is whose, and what becomes of calls when it breaks. Nothing hangs."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import create_task_group, current_time, fail_after, move_on_after, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from proxy import Proxy, Shredder
from redis_server import RedisServer, fresh_url, open_redis_broker
from support import until

from nursery_tasks.brokers.gateway import Gateway
from nursery_tasks.brokers.redis import RedisBroker
from nursery_tasks.errors import BrokerClosed, BrokerUnavailable
from nursery_tasks.loop.threads import Threads
from nursery_tasks.model.delivery import Finished, Started, Submission
from nursery_tasks.model.outgoing import Outgoing
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import packed

CALLS = int(os.environ.get("NURSERY_TASKS_CANCELLED_CALLS", "20000"))  # in all of these tests together
TIMEOUT = 0.5  # seconds that a call waits for its answer, here
DEADLINE = 20.0
LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


def job(job_id: str, payload: bytes = b'{"task":"tests.task"}') -> Submission:
    return Submission(id=job_id, queue="work", task="tests.task", payload=payload)


@asynccontextmanager
async def carried(broker: RedisBroker, deadline: float = DEADLINE) -> AsyncGenerator[Gateway, None]:
    """Open a gateway whose calls this loop carries."""
    gateway = Gateway(broker)
    try:
        with fail_after(deadline):
            async with gateway.on_loop():
                yield gateway
    finally:
        gateway.close()
        broker.close()


@pytest.fixture
def broker(proxy: Proxy) -> RedisBroker:
    return open_redis_broker(f"redis://127.0.0.1:{proxy.port}/0?timeout={TIMEOUT}")


async def errors_of(*calls: Coroutine[Any, Any, object]) -> list[BrokerUnavailable | None]:
    """Make calls side by side, and return what each has raised."""
    errors: list[BrokerUnavailable | None] = [None] * len(calls)

    async def call(place: int, awaited: Coroutine[Any, Any, object]) -> None:
        try:
            await awaited
        except BrokerUnavailable as error:
            errors[place] = error

    async with create_task_group() as group:
        for place, awaited in enumerate(calls):
            group.start_soon(call, place, awaited)
    return errors


# --- whose answer is whose ---------------------------------------------------------------------------------------------------


class Callers:
    """Callers who ask for things that differ, half of whom are cancelled in the meantime.

    Attributes:
        counts: How many calls began, were answered, and had their caller go.
        wrong: Answers that belonged to somebody else.
    """

    PLACES = 50

    def __init__(self, gateway: Gateway, calls: int) -> None:
        assert gateway.broker.outbox is not None
        self.outbox = gateway.broker.outbox
        self.gateway = gateway
        self.left = calls
        self.counts: Counter[str] = Counter()
        self.wrong: list[tuple[str, object]] = []
        self.bodies = {f"to:{number}": b"x" * (10 * number) for number in range(self.PLACES)}
        self.outbox.put_outgoing([Outgoing(place, body) for place, body in self.bodies.items()])

    async def serve(self, cancelled: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Call until there are no calls left."""
        while self.left > 0:
            self.left -= 1
            await (self.call() if random.random() < 0.5 else cancelled())

    async def call(self) -> None:
        place = random.choice(list(self.bodies))
        self.counts["began"] += 1
        rows = await self.gateway.call(self.outbox.next_outgoing, place, 1)
        self.counts["answered"] += 1
        if [body for _, body in rows] != [self.bodies[place]]:
            self.wrong.append((place, rows))

    async def cancelled(self) -> None:
        """Call, and be cancelled as AnyIO does it: the call goes to its end, or does not begin."""
        with move_on_after(random.choice((0, random.random() * 0.004))) as scope:
            await self.call()
        self.counts["gone"] += scope.cancelled_caught

    async def cancelled_natively(self) -> None:
        """Call, and be cancelled as asyncio itself does it, which knows no shield: the caller is gone at once."""
        task = asyncio.get_running_loop().create_task(self.call())
        await asyncio.wait([task], timeout=random.random() * 0.004)
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            self.counts["gone"] += 1
        else:
            task.result()


@pytest.mark.parametrize(
    ("loop", "how"), [("asyncio", "natively"), ("uvloop", "natively"), ("uvloop", "by scopes"), ("trio", "")]
)
def test_nobody_gets_or_loses_the_answer_of_another_however_many_callers_are_cancelled(loop: str, how: str) -> None:
    """Bytes come in pieces, and late."""

    async def main(broker: RedisBroker, shredder: Shredder) -> None:
        async with carried(broker, max(DEADLINE, CALLS / 200)) as gateway:
            callers = Callers(gateway, CALLS // 4)
            async with create_task_group() as group:
                for _ in range(32):
                    group.start_soon(callers.serve, callers.cancelled_natively if how == "natively" else callers.cancelled)
            await callers.call()  # its answer comes behind all that nobody waits for any more
            [link] = gateway._carrier._links.values()
            assert callers.wrong == []
            assert link._asked == {}
            counts = callers.counts
            assert counts["answered"] + counts["gone"] == counts["began"] > CALLS // 8
            assert counts["gone"] > CALLS // 80
            assert shredder.links == 2  # the one with which the broker was opened, and one on the loop

    with fresh_url() as url:
        port, _, prefix = url.removeprefix("redis://127.0.0.1:").partition("/")
        with Shredder(int(port)) as shredder:
            broker = open_redis_broker(f"redis://127.0.0.1:{shredder.port}/{prefix}")
            anyio.run(main, broker, shredder, **LOOPS[loop])


async def test_what_everybody_calls_all_the_time_takes_no_thread(broker: RedisBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])  # connecting takes one
        monkeypatch.setattr(Threads, "start", lambda threads, call: pytest.fail(f"{call.method} takes a thread"))
        await gateway.submit([job("second")])
        first, second = await gateway.claim(["work"], 2, "w", 15)
        assert await gateway.settle([Started(first), Finished(second, JobState.SUCCEEDED, packed())]) == [True, True]
        await gateway.call(broker.renew, [first], 15)
        await gateway.cancel([first.id], "why")
        await gateway.renew_owners([b"o"], 15)
        await gateway.sweep(10)
        found = await gateway.outcomes([first.id, second.id])
        assert [stored and stored.state for stored in found] == [JobState.STARTED, JobState.SUCCEEDED]


async def test_a_call_that_cannot_be_encoded_fails_alone(broker: RedisBroker) -> None:
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        [delivery] = await gateway.claim(["work"], 1, "w", 15)
        with pytest.raises(ValueError, match="no job ends in the state"):
            await gateway.settle([Finished(delivery, JobState.READY, packed())])
        with pytest.raises(TypeError):
            await gateway.outcomes([None])  # type: ignore[list-item]
        assert await gateway.settle([Finished(delivery, JobState.SUCCEEDED, packed())]) == [True]


async def test_scripts_that_the_server_has_forgotten_are_sent_again(server: RedisServer, broker: RedisBroker) -> None:
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        assert server.command("SCRIPT", "FLUSH").startswith(b"+OK")
        outbox = broker.outbox
        assert outbox is not None
        assert (
            await errors_of(
                gateway.submit([job("second")]),
                gateway.sweep(10),
                *(gateway.call(outbox.next_outgoing, "x", 1) for _ in range(5)),
            )
            == [None] * 7
        )
        assert [stored is not None for stored in await gateway.outcomes(["first", "second"])] == [True, True]


async def test_answers_of_many_megabytes_leave_the_loop_to_others(broker: RedisBroker) -> None:
    """The same goes for what is sent: it is more than a socket takes at once."""
    size, turns = 1_000_000, 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    broker.submit([job(f"{number}") for number in range(8)])
    async with carried(broker) as gateway:
        deliveries = await gateway.claim(["work"], 8, "w", 15)
        outcomes = [bytes([number]) * size for number in range(8)]
        async with create_task_group() as group:
            group.start_soon(count_turns)
            settled = await gateway.settle(
                [Finished(each, JobState.SUCCEEDED, outcome) for each, outcome in zip(deliveries, outcomes, strict=True)]
            )
            assert settled == [True] * 8
            before = turns
            found = await gateway.outcomes([delivery.id for delivery in deliveries])
            assert turns - before > 20
            group.cancel_scope.cancel()
        assert [stored and stored.outcome for stored in found] == outcomes


# --- links that break --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "after", "stored"), [("to server", 0, False), ("to server", 150, False), ("to client", 0, True)]
)
async def test_what_is_on_a_link_that_is_cut_is_unknown_and_may_be_repeated(
    proxy: Proxy, broker: RedisBroker, direction: str, after: int, stored: bool
) -> None:
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        await gateway.outcomes(["first"])
        marked = b"second" if direction == "to server" else b""
        rule = proxy.on("cut", direction, after=after, marked=marked)  # type: ignore[arg-type]
        calls = [gateway.submit([job("second")]), gateway.outcomes(["first"]), gateway.sweep(10)]
        errors = await errors_of(*calls)
        assert rule.done.is_set()
        assert errors[0] is not None  # the others may have come to the next link
        assert [each is not None for each in await gateway.outcomes(["second"])] == [stored]
        assert [receipt.created for receipt in await gateway.submit([job("second")])] == [not stored]


@pytest.mark.parametrize("what", ["stall", "half open"])
@pytest.mark.parametrize("direction", ["to server", "to client"])
async def test_a_link_that_is_silent_is_given_up_in_time_with_all_that_is_on_it(
    proxy: Proxy, broker: RedisBroker, what: str, direction: str
) -> None:
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        proxy.on(what, direction)  # type: ignore[arg-type]
        began = current_time()
        errors = await errors_of(gateway.submit([job("second")]), gateway.sweep(10))
        assert TIMEOUT * 0.9 <= current_time() - began < TIMEOUT + 2
        assert all(error is not None and "no answer in time" in str(error) for error in errors)
        assert errors[0] is not errors[1]  # each has one of its own to raise
        assert (await gateway.submit([job("third")]))[0].created  # on a new link


async def test_a_link_that_died_while_it_was_idle_costs_no_call(proxy: Proxy, broker: RedisBroker) -> None:
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        [link] = gateway._carrier._links.values()
        proxy.cut_all()
        await until(lambda: link._wire is None)
        assert (await gateway.submit([job("second")]))[0].created


async def test_a_link_that_died_while_the_loop_was_blocked_costs_no_call(
    proxy: Proxy, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nursery_tasks.brokers.carrier.link.LOOK_SECONDS", 0.0)
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        await wait_all_tasks_blocked()
        proxy.cut_all()  # and the loop has no time to see that
        assert (await gateway.submit([job("second")]))[0].created


async def test_an_answer_that_came_while_the_loop_was_blocked_counts(server: RedisServer, broker: RedisBroker) -> None:
    """However long that was: what has come is read before anybody is told that nothing has."""
    async with carried(broker) as gateway:
        gateway.call_seconds = 0.4
        await gateway.submit([job("first")])
        await gateway.outcomes(["first"])  # so that the server knows the scripts
        await gateway.claim(["other"], 1, "w", 15)
        async with create_task_group() as group:

            async def look_up() -> None:
                assert (await gateway.outcomes(["first"]))[0] is not None

            async def claim() -> None:
                assert len(await gateway.claim(["work"], 1, "w", 15)) == 1

            group.start_soon(look_up)
            group.start_soon(claim)
            await checkpoint()
            await checkpoint()
            time.sleep(2 * TIMEOUT)  # noqa: ASYNC251 - that it blocks is the subject
        assert (await gateway.submit([job("second")]))[0].created
        assert len(links_of(server)) == 2


def links_of(server: RedisServer) -> list[bytes]:
    """The connections of a broker: those that do not belong to who asks."""
    listed = server.command("CLIENT", "LIST").splitlines()[1:]
    return [line for line in listed if line and b"cmd=client" not in line]


async def test_a_server_that_takes_no_writes_is_left_and_found_again(server: RedisServer, broker: RedisBroker) -> None:
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        server.command("REPLICAOF", "127.0.0.1", "1")
        [error] = await errors_of(gateway.submit([job("second")]))
        assert error is not None
        assert "a replica" in str(error)
        [link] = gateway._carrier._links.values()
        await until(lambda: link._wire is None)
        server.command("REPLICAOF", "NO", "ONE")
        assert (await gateway.submit([job("second")]))[0].created


async def test_a_server_that_is_away_fails_all_who_wait_and_not_those_who_come_later(proxy: Proxy, broker: RedisBroker) -> None:
    async with carried(broker) as gateway:
        proxy.refuse()
        errors = await errors_of(gateway.submit([job("first")]), gateway.sweep(10), gateway.outcomes(["first"]))
        assert all(error is not None and "no connection" in str(error) for error in errors)
        proxy.refuse(False)
        assert (await gateway.submit([job("first")]))[0].created


async def test_replicas_that_are_missing_are_told_of_and_hold_up_nobody_else(server: RedisServer) -> None:
    broker = open_redis_broker(f"{server.url}?replicas=1&timeout=1")
    async with carried(broker) as gateway:
        errors: list[BrokerUnavailable | None] = []

        async def submit() -> None:
            errors.extend(await errors_of(gateway.submit([job("first")])))

        await gateway.sweep(10)
        async with create_task_group() as group:
            group.start_soon(submit)
            await until(lambda: b"blocked_clients:1" in server.command("INFO", "clients"))
            assert len(await gateway.claim(["work"], 1, "w", 15)) == 1
            assert errors == []
        [error] = errors
        assert error is not None
        assert "too few replicas have it (0 of 1)" in str(error)


# --- the end -----------------------------------------------------------------------------------------------------------------


async def test_jobs_that_come_when_nobody_waits_for_them_any_more_are_given_back(
    server: RedisServer, anyio_backend_name: str
) -> None:
    """A caller that asyncio itself has cancelled, or whose time is over, is gone; its claim is not."""
    broker = open_redis_broker(server.url)
    async with carried(broker) as gateway:
        await gateway.submit([job("first")])
        server.command("CLIENT", "PAUSE", "300", "WRITE")
        if anyio_backend_name == "asyncio":
            task = asyncio.get_running_loop().create_task(gateway.claim(["work"], 1, "w", 15))
            await wait_all_tasks_blocked()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        else:
            gateway.call_seconds = 0.05
            with pytest.raises(BrokerUnavailable, match="no answer to claim"):
                await gateway.claim(["work"], 1, "w", 15)
            gateway.call_seconds = DEADLINE
        [link] = gateway._carrier._links.values()
        await until(lambda: not link._asked)
        other = open_redis_broker(server.url)
        try:
            await until(lambda: [each.attempt for each in other.claim(["work"], 1, "other", 15)] == [1])
        finally:
            other.close()


async def test_leaving_does_not_wait_for_a_server_that_is_silent(proxy: Proxy, broker: RedisBroker) -> None:
    began = current_time()
    async with create_task_group() as group, carried(broker) as gateway:
        await gateway.submit([job("first")])
        proxy.stall_all()

        async def sweep() -> None:
            with pytest.raises(BrokerClosed):
                await gateway.sweep(10)

        group.start_soon(sweep)
        await wait_all_tasks_blocked()
    assert current_time() - began < TIMEOUT


async def test_a_broker_that_was_closed_says_so(server: RedisServer) -> None:
    broker = open_redis_broker(server.url)
    async with carried(broker) as gateway:
        await gateway.sweep(10)
        broker.close()
        with pytest.raises(BrokerClosed):
            await gateway.sweep(10)


async def test_without_hiredis_all_calls_take_threads(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.brokers.redis.broker.HIREDIS_AVAILABLE", False)
    broker = open_redis_broker(server.url)
    assert broker.steps is None
    async with carried(broker) as gateway:
        assert (await gateway.submit([job("first")]))[0].created
        assert gateway._carrier._links == {}
