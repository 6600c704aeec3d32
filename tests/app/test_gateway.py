"""The one place where async code calls a broker: batches, deadlines, and cancels that leave nothing half done."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence

import anyio
import msgspec
import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after, to_thread
from anyio.lowlevel import checkpoint
from support import DEADLINE, gather, until

from nursery_tasks.brokers.gateway import Gateway
from nursery_tasks.brokers.memory import MemoryBroker
from nursery_tasks.brokers.protocol import Emit, Listener
from nursery_tasks.errors import BrokerUnavailable, NotSupported
from nursery_tasks.loop.batcher import BATCH_LIMIT
from nursery_tasks.loop.deadline import CallDeadline
from nursery_tasks.model.delivery import Submission, Topic
from nursery_tasks.testing import FaultyBroker, Stall


def submission(job_id: str) -> Submission:
    return Submission(id=job_id, queue="default", task="t", payload=b"{}")


@pytest.fixture
def broker() -> FaultyBroker:
    return FaultyBroker(MemoryBroker(), threads=True)


async def reached(stall: Stall) -> None:
    assert await to_thread.run_sync(stall.wait_until_reached)


# --- batches -----------------------------------------------------------------------------------------------------------------


async def test_what_concurrent_callers_submit_while_a_call_is_under_way_goes_out_together(broker: FaultyBroker) -> None:
    gateway, stall = Gateway(broker), broker.stall("submit")
    receipts: dict[int, str] = {}

    async def submit(number: int) -> None:
        [receipt] = await gateway.submit([submission(str(number))])
        receipts[number] = receipt.id

    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            tg.start_soon(submit, 0)
            await reached(stall)
            for number in range(1, 100):
                tg.start_soon(submit, number)
            await anyio.wait_all_tasks_blocked()
            stall.release()
    assert receipts == {number: str(number) for number in range(100)}
    assert broker.calls["submit"] == 2


async def test_one_caller_may_bring_several_items_and_gets_the_answers_to_all_of_them(broker: FaultyBroker) -> None:
    gateway = Gateway(broker)
    await gateway.submit([submission("known")])
    batches = [[f"{number}", "known", f"{number}b"] for number in range(20)]
    found = await gather(*(lambda ids=ids: gateway.submit([submission(i) for i in ids]) for ids in batches))
    for ids, receipts in zip(batches, found, strict=True):
        assert [(receipt.id, receipt.created) for receipt in receipts] == [(ids[0], True), ("known", False), (ids[2], True)]


async def test_a_batch_does_not_grow_without_end(broker: FaultyBroker) -> None:
    gateway, stall = Gateway(broker), broker.stall("submit")
    sizes: list[int] = []
    broker.before("submit", lambda args: sizes.append(len(args[0])))
    chunk = BATCH_LIMIT // 4
    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            for number in range(10):
                tg.start_soon(gateway.submit, [submission(f"{number}-{n}") for n in range(chunk)])
                if number == 0:
                    await reached(stall)
            await anyio.wait_all_tasks_blocked()
            stall.release()
    assert sum(sizes) == 10 * chunk
    assert max(sizes) <= BATCH_LIMIT
    assert len(sizes) < 10


async def test_concurrent_cancels_share_a_call_for_each_reason_and_owner(broker: FaultyBroker) -> None:
    gateway, stall = Gateway(broker), broker.stall("cancel")
    calls: list[tuple[list[str], str | None, bytes | None]] = []
    broker.after("cancel", lambda args: calls.append(args))  # type: ignore[arg-type]
    jobs = [submission("a"), submission("b"), submission("c")]
    await gateway.submit([msgspec.structs.replace(job, owner=b"mine", owner_seconds=60.0) for job in jobs])
    await gateway.submit([submission("detached")])
    answers: dict[tuple[str, str | None, bytes | None], str] = {}

    async def cancel(job_id: str, reason: str | None, owner: bytes | None) -> None:
        [answer] = await gateway.cancel([job_id], reason, owner)
        answers[job_id, reason, owner] = answer.value

    wanted: dict[tuple[str, str | None, bytes | None], str] = {
        ("a", "x", b"mine"): "cancelled",
        ("detached", "x", b"mine"): "unknown",
        ("b", "x", b"other"): "unknown",
        ("b", "y", b"mine"): "cancelled",
        ("detached", "x", None): "cancelled",
        ("c", "x", b"mine"): "cancelled",
    }
    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            tg.start_soon(cancel, "ghost", None, None)
            await reached(stall)
            for each in wanted:
                tg.start_soon(cancel, *each)
                await anyio.wait_all_tasks_blocked()
            stall.release()
    assert answers == {("ghost", None, None): "unknown"} | wanted
    assert [(sorted(ids), reason, owner) for ids, reason, owner in calls] == [
        (["ghost"], None, None),
        (["a", "c", "detached"], "x", b"mine"),
        (["b"], "x", b"other"),
        (["b"], "y", b"mine"),
        (["detached"], "x", None),
    ]


async def test_a_broker_that_never_blocks_is_called_on_the_loop() -> None:
    broker = FaultyBroker(MemoryBroker())
    threads: set[int] = set()
    broker.before("submit", lambda args: threads.add(threading.get_ident()))
    gateway = Gateway(broker)
    await gather(*(lambda n=n: gateway.submit([submission(str(n))]) for n in range(5)))
    assert threads == {threading.get_ident()}
    assert broker.calls["submit"] == 5


# --- errors ------------------------------------------------------------------------------------------------------------------


async def test_a_bad_item_fails_its_own_caller_and_nobody_else(broker: FaultyBroker) -> None:
    def refuse(args: tuple[Sequence[Submission]]) -> None:
        if any(job.id == "bad" for job in args[0]):
            raise ValueError("bad item")

    broker.before("submit", refuse)
    gateway, stall = Gateway(broker), broker.stall("submit")
    answers: dict[str, str] = {}

    async def submit(job_id: str) -> None:
        try:
            [receipt] = await gateway.submit([submission(job_id)])
            answers[job_id] = receipt.id
        except ValueError as error:
            answers[job_id] = str(error)

    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            tg.start_soon(submit, "first")
            await reached(stall)
            for job_id in ("a", "bad", "b", "c"):
                tg.start_soon(submit, job_id)
            await anyio.wait_all_tasks_blocked()
            stall.release()
    assert answers == {"first": "first", "a": "a", "b": "b", "c": "c", "bad": "bad item"}


async def test_a_broker_that_is_away_is_told_to_all_callers_of_a_batch(broker: FaultyBroker) -> None:
    gateway = Gateway(broker)

    async def submit(number: int) -> bool:
        with pytest.raises(BrokerUnavailable):
            await gateway.submit([submission(str(number))])
        return True

    with broker.failing("submit"):
        assert all(await gather(*(lambda n=n: submit(n) for n in range(20))))
    [receipt] = await gateway.submit([submission("after")])
    assert receipt.created


async def test_a_broker_without_listings_says_so() -> None:
    class Small:
        name = "small:"
        blocking = False
        admin = None
        step = ""

        def __getattr__(self, name: str) -> object:
            if name in ("submit", "outcomes"):
                return None
            raise AttributeError(name)

    with pytest.raises(NotSupported, match="small: has no listings"):
        Gateway(Small()).admin  # type: ignore[arg-type]  # noqa: B018 - the property is the subject


# --- deadlines ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["sweep", "submit"])
async def test_a_call_that_is_given_up_early_does_not_say_how_long_it_took(broker: FaultyBroker, call: str) -> None:
    gateway, stall = Gateway(broker, call_seconds=60), broker.stall(call)
    gateway.deadline.end_after(0.05)
    answer = gateway.sweep(1) if call == "sweep" else gateway.submit([submission("a")])
    with fail_after(DEADLINE), pytest.raises(BrokerUnavailable, match=f"no answer to {call} yet, and there is no time left"):
        await answer
    stall.release()


async def test_a_call_that_outlives_its_deadline_is_given_up_and_the_next_ones_are_not_even_made(broker: FaultyBroker) -> None:
    gateway, stall = Gateway(broker, call_seconds=0.05), broker.stall("sweep")
    with fail_after(DEADLINE):
        with pytest.raises(BrokerUnavailable, match=r"no answer to sweep within 0.05 s"):
            await gateway.sweep(1)
        for _ in range(3):
            with pytest.raises(BrokerUnavailable, match=r"an earlier sweep has not returned yet"):
                await gateway.sweep(1)
        assert (await gateway.submit([submission("other calls go on")]))[0].created
        stall.release()
        while True:
            try:
                await gateway.sweep(1)
                break
            except BrokerUnavailable:
                await checkpoint()


async def test_what_a_claim_brings_too_late_is_given_back(broker: FaultyBroker) -> None:
    """Its worker has been told that it brings nothing, and would never run it: it would wait for its lease."""
    gateway = Gateway(broker)
    await gateway.submit([submission("late")])
    hurried, stall = gateway.with_deadline(CallDeadline()), broker.stall("claim")
    with fail_after(DEADLINE):
        async with create_task_group() as group:
            group.start_soon(_claim_in_vain, hurried)
            await reached(stall)
            hurried.deadline.end_after(0)
        stall.release()
        while True:
            with contextlib.suppress(BrokerUnavailable):  # the claim has not returned yet
                if claimed := await gateway.claim(["default"], 1, "another", 3_600.0):
                    break
            await checkpoint()
    assert [(delivery.id, delivery.attempt) for delivery in claimed] == [("late", 1)]
    assert broker.calls["settle"] == 1


async def _claim_in_vain(gateway: Gateway) -> None:
    with pytest.raises(BrokerUnavailable):
        await gateway.claim(["default"], 1, "a worker that stops", 3_600.0)


async def test_a_call_that_ends_just_when_its_deadline_passes_blocks_nothing(broker: FaultyBroker) -> None:
    """The thread may be done before the loop sees that its time is over, and then nobody would ever say that it is done."""
    gateway, stall, ended = Gateway(broker, call_seconds=0.05), broker.stall("sweep"), threading.Event()

    async def sweep() -> None:
        with contextlib.suppress(BrokerUnavailable):
            await gateway.call(sweep_and_tell)

    def sweep_and_tell() -> None:
        broker.sweep(1)
        ended.set()

    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            tg.start_soon(sweep)
            await reached(stall)
            stall.release()
            assert ended.wait(DEADLINE)  # the loop sees nothing of this ...
            time.sleep(0.1)  # noqa: ASYNC251 - ... until the deadline is over, too
        await gateway.call(sweep_and_tell)


async def test_calls_that_never_got_a_thread_are_not_waited_for(broker: FaultyBroker) -> None:
    gateway = Gateway(broker, call_seconds=0.1)
    hanging, hook_over = threading.Event(), broker.before("job", lambda args: hanging.wait(DEADLINE))
    failed = 0

    async def look() -> None:
        nonlocal failed
        try:
            await gateway.call(broker.admin.job, "x")
        except BrokerUnavailable:
            failed += 1

    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            for _ in range(30):  # more than there are threads
                tg.start_soon(look)
        assert failed == 30
        hook_over()
        hanging.set()
        while True:
            try:
                assert await gateway.call(broker.admin.job, "x") is None
                break
            except BrokerUnavailable:
                await checkpoint()


# --- cancels -----------------------------------------------------------------------------------------------------------------


async def test_a_cancel_before_the_call_keeps_it_from_being_made(broker: FaultyBroker) -> None:
    gateway = Gateway(broker)
    with CancelScope() as scope:
        scope.cancel()
        await gateway.submit([submission("never")])
    with CancelScope() as scope:
        scope.cancel()
        await gateway.sweep(1)
    assert not broker.calls


async def test_a_cancel_during_the_call_waits_for_its_answer(broker: FaultyBroker) -> None:
    gateway, stall = Gateway(broker), broker.stall("submit")
    created: list[bool] = []
    with fail_after(DEADLINE):
        async with create_task_group() as tg:

            async def submit() -> None:
                created.append((await gateway.submit([submission("a")]))[0].created)
                await checkpoint()
                created.append(False)  # not reached: the cancel is seen at the next await

            tg.start_soon(submit)
            await reached(stall)
            tg.cancel_scope.cancel()
            with CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            stall.release()
    assert created == [True]


async def test_the_first_of_a_batch_may_be_cancelled_and_the_others_get_their_answers(broker: FaultyBroker) -> None:
    gateway, stall = Gateway(broker), broker.stall("submit")
    answers: list[str] = []

    async def submit(job_id: str) -> None:
        [receipt] = await gateway.submit([submission(job_id)])
        answers.append(receipt.id)

    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            maker = CancelScope()

            async def make() -> None:
                with maker:
                    await submit("maker of the batch")

            tg.start_soon(submit, "under way")
            await reached(stall)
            tg.start_soon(make)
            await anyio.wait_all_tasks_blocked()
            tg.start_soon(submit, "companion")
            await anyio.wait_all_tasks_blocked()
            maker.cancel()
            tg.start_soon(submit, "late companion")
            await anyio.wait_all_tasks_blocked()
            stall.release()
    assert sorted(answers) == ["companion", "late companion", "maker of the batch", "under way"]
    assert broker.calls["submit"] == 2


async def test_three_hundred_cancelled_calls_and_no_wrong_answer(broker: FaultyBroker) -> None:
    """A client that shares one connection may hand an answer to the caller after the cancelled one; here none can."""
    gateway = Gateway(broker)
    await gateway.submit([submission(f"{number}") for number in range(0, 300, 2)])
    wrong: list[int] = []
    answered = 0

    async def look(number: int) -> None:
        nonlocal answered
        with move_on_after(number % 7 * 0.0004):
            [stored] = await gateway.outcomes([f"{number}"])
            answered += 1
            if (stored is not None) != (number % 2 == 0):
                wrong.append(number)

    with fail_after(DEADLINE):
        for _ in range(3):
            async with create_task_group() as tg:
                for number in range(300):
                    tg.start_soon(look, number)
    assert wrong == []
    assert answered > 100


# --- hints -------------------------------------------------------------------------------------------------------------------


async def test_hints_from_any_thread_arrive_on_the_loop_and_several_may_come_as_one(broker: FaultyBroker) -> None:
    gateway = Gateway(broker)
    loop_thread, heard, threads = threading.get_ident(), set[str](), set[int]()

    def on_hint(topic: Topic, names: set[str] | None) -> None:
        assert topic == "work"
        threads.add(threading.get_ident())
        heard.update(names or ())

    async with gateway.listen(["work"], on_hint):
        await to_thread.run_sync(
            lambda: [broker.submit([Submission(id=str(n), queue=f"q{n}", task="t", payload=b"{}")]) for n in range(50)]
        )
        await until(lambda: len(heard) == 50)
        assert threads == {loop_thread}
    broker.submit([Submission(id="after", queue="after", task="t", payload=b"{}")])
    await anyio.wait_all_tasks_blocked()
    assert "after" not in heard


async def test_a_listener_that_closes_slowly_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nursery_tasks.brokers.gateway.CLOSE_SECONDS", 0.05)

    class Slow(FaultyBroker):
        def listen(self, topics: Sequence[Topic], emit: Emit) -> Listener:
            inner = super().listen(topics, emit)

            class SlowListener:
                def close(self) -> None:
                    let_go.wait(DEADLINE)
                    inner.close()

            return SlowListener()

    let_go = threading.Event()
    try:
        with fail_after(5):
            async with Gateway(Slow(MemoryBroker(), threads=True)).listen(["work"], lambda topic, names: None):
                pass
    finally:
        let_go.set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("when", ["before it comes", "in the moment when it comes"])
async def test_a_listener_whose_caller_asyncio_has_cancelled_is_closed(broker: FaultyBroker, when: str) -> None:
    came, closed = threading.Event(), threading.Event()
    inner = broker.listen

    class Told:
        def __init__(self, listener: Listener) -> None:
            self._listener = listener

        def close(self) -> None:
            self._listener.close()
            closed.set()

    def listen(topics: Sequence[Topic], emit: Emit) -> Listener:
        listener = Told(inner(topics, emit))
        came.set()
        return listener

    broker.listen = listen  # type: ignore[method-assign]
    gateway, stall = Gateway(broker), broker.stall("listen")

    async def hear() -> None:
        async with gateway.listen(["work"], lambda topic, names: None):
            pytest.fail("it was cancelled before")

    hearing = asyncio.create_task(hear())
    await reached(stall)
    if when == "before it comes":
        hearing.cancel()
        stall.release()
    else:
        stall.release()
        assert came.wait(DEADLINE)  # the loop sees nothing of this ...
        time.sleep(0.05)  # noqa: ASYNC251 - ... and hears of it together with the cancel
        hearing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hearing
    await until(closed.is_set)


async def test_a_batch_that_never_got_a_thread_does_not_block_those_after_it(broker: FaultyBroker) -> None:
    gateway, hanging = Gateway(broker), threading.Event()
    end = broker.before("job", lambda args: hanging.wait(DEADLINE))

    async def look() -> None:
        assert await gateway.call(broker.admin.job, "x") is None

    with fail_after(DEADLINE):
        async with create_task_group() as tg:
            for _ in range(20):  # more than there are threads
                tg.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            gateway.call_seconds = 0.05
            with pytest.raises(BrokerUnavailable, match=r"no answer to submit within 0\.05 s"):
                await gateway.submit([submission("never made")])
            gateway.call_seconds = DEADLINE
            end()
            hanging.set()
        [receipt] = await gateway.submit([submission("after")])
        assert receipt.created
