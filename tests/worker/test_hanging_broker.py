"""Leaving while the broker hangs: bounded, at each call that may be under way."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from threading import Event as ThreadEvent

import pytest
from anyio import CancelScope, current_time, fail_after, sleep_forever
from support import until

from nursery_tasks import App
from nursery_tasks.client import connection
from nursery_tasks.testing import FaultyBroker
from nursery_tasks.worker import levels, slots

pytestmark = pytest.mark.anyio

METHODS = ("claim", "settle", "renew", "sweep", "beat", "renew_owners", "outcomes")
DRAIN = 0.2
SHORT = 0.3  # instead of the seconds that each step of leaving has
LIMIT = DRAIN + 4 * SHORT + 1.5  # a claim, the outbox, the goodbye, the app; and some for the machine. A call has ten seconds


@contextmanager
def hanging(broker: FaultyBroker, *methods: str) -> Generator[list[str], None, None]:
    """Let each call hang while the context is open; gives the names of those that do."""
    released = ThreadEvent()
    hang: list[str] = []

    def wait(name: str) -> None:
        hang.append(name)
        released.wait(60)

    enders = [broker.before(name, lambda _, name=name: wait(name)) for name in methods]
    try:
        yield hang
    finally:
        for end in enders:
            end()
        released.set()


def test_the_steps_of_leaving_take_four_seconds_at_most() -> None:
    assert slots.CLAIM_SECONDS + levels.FLUSH_SECONDS + levels.GOODBYE_SECONDS <= 4.0


@pytest.fixture
def busy(memory_app: App, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app with a task that runs for ever."""
    for module, name in (
        (slots, "CLAIM_SECONDS"),
        (levels, "FLUSH_SECONDS"),
        (levels, "GOODBYE_SECONDS"),
        (connection, "LEAVE_SECONDS"),
    ):
        monkeypatch.setattr(module, name, SHORT)

    @memory_app.task(name="wait")
    async def wait() -> None:
        await sleep_forever()

    return memory_app


@pytest.mark.parametrize("method", ["claim", "settle", "sweep", "beat", "all"])
async def test_worker_and_app_are_left_in_time(busy: App, faulty: FaultyBroker, method: str) -> None:
    with fail_after(40), ExitStack() as stack:
        async with busy:
            async with busy.open_worker(drain=DRAIN, lease=1.0) as worker:
                await busy.job("wait").enqueue()
                await until(lambda: worker.running)
                hangs = stack.enter_context(hanging(faulty, *(METHODS if method == "all" else [method])))
                if method in ("claim", "sweep", "all"):  # the others come with the end
                    await until(lambda: hangs)
                began = current_time()
            worker_took = current_time() - began
        app_took = current_time() - began
    assert worker_took < LIMIT
    assert app_took < LIMIT


async def test_a_cancelled_worker_leaves_in_time(busy: App, faulty: FaultyBroker) -> None:
    with fail_after(40), ExitStack() as stack:
        async with busy:
            with CancelScope() as scope:
                async with busy.open_worker(lease=1.0) as worker:
                    await busy.job("wait").enqueue()
                    await until(lambda: worker.running)
                    hangs = stack.enter_context(hanging(faulty, *METHODS))
                    await until(lambda: "claim" in hangs)
                    began = current_time()
                    scope.cancel()
                    await sleep_forever()
            assert current_time() - began < LIMIT
