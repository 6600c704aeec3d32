"""The lab: an app and its workers on a virtual clock.

Retries over an hour take milliseconds, and each run is the same as the one before: the broker is in memory and reads the loop's
clock, Trio's autojump clock leaps to the next deadline whenever everybody waits, ids are numbered, the jitter is seeded, and
Trio's scheduler runs its tasks in a fixed order.

    async def check() -> None:
        async with open_lab(app) as lab:
            assert await flaky.run() == "done"
            assert lab.elapsed_seconds > 3600

    run_lab(check)

Threads live in real time, which an autojump clock leaps past, so the lab calls `def` handlers on the loop.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar, Unpack

import anyio
from anyio import current_time

from ..app import App
from ..events import EventKind, JobEvent
from ..worker import Worker, WorkerOptions
from .lab_broker import LabBroker

T = TypeVar("T")

PACE: Final = math.inf  # nobody looks unless something happens: hints are never lost here, so there is no need for nets
LEASE_SECONDS: Final = 10 * 365 * 86_400.0  # no worker is ever lost, so there is nothing to renew
EPOCH: Final = 1_893_456_000.0  # 2030-01-01: when every lab begins, in epoch seconds


class Lab:
    """One running lab.

    Attributes:
        app: The app, open on the lab's broker.
        broker: The broker in memory, for looking at any state.
        workers: The workers.
        events: All events so far, oldest first.
    """

    def __init__(self, app: App, broker: LabBroker, began: float) -> None:
        self.app = app
        self.broker = broker
        self.workers: list[Worker] = []
        self.events: list[JobEvent] = []
        self._began = began

    @property
    def elapsed_seconds(self) -> float:
        """How much virtual time has passed."""
        return current_time() - self._began

    def history(self, job_id: str) -> list[EventKind]:
        """Return what happened to one job, oldest first."""
        return [event.kind for event in self.events if event.job_id == job_id]


@asynccontextmanager
async def open_lab(app: App, *, workers: int = 1, seed: int = 0, **options: Unpack[WorkerOptions]) -> AsyncGenerator[Lab, None]:
    """Open *app* on a broker in memory, with workers, in the running loop's time.

    Inside `run_lab` (or a test whose `anyio_backend` is `lab_backend()`) that time is virtual. It works on any other loop too,
    in real time.

    Args:
        workers: How many.
        seed: Of the jitter.
        options: For the workers; see `WorkerOptions`. Default: 8 slots.
    """
    began = current_time()

    def now() -> float:
        return EPOCH + current_time() - began

    broker = LabBroker(now)
    lab = Lab(app, broker, began)
    numbers = itertools.count(1)
    jitter = random.Random(seed)
    unsubscribe = app.subscribe(lab.events.append)
    try:
        with app.use_broker(broker):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(app)
                app.connection.submitter.encoder.new_id = lambda: f"job-{next(numbers)}"
                app.connection.submitter.encoder.now = now
                app.hooks.threads = False
                app.connection.waiter.poll_seconds *= PACE
                app.connection.lock_keeper.ask_seconds *= PACE
                app.connection.longest_nap_seconds *= PACE
                for number in range(1, workers + 1):
                    defaults: WorkerOptions = {
                        "slots": 8,
                        "name": f"lab-{number}",
                        "threads": False,
                        "fraction": jitter.random,
                        "lease": LEASE_SECONDS,
                        "pace": PACE,
                    }
                    defaults.update(options)
                    worker = app.open_worker(**defaults)
                    lab.workers.append(await stack.enter_async_context(worker))
                yield lab
    finally:
        unsubscribe()
        broker.close()


def lab_backend() -> tuple[str, dict[str, Any]]:
    """Return what AnyIO's pytest plugin wants as `anyio_backend`: Trio with a clock that jumps; a new one for each test."""
    from trio.testing import MockClock

    _fix_order()
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def run_lab(check: Callable[[], Awaitable[T]]) -> T:
    """Run an async function in virtual time and return its result; needs Trio (`pip install trio`)."""
    backend, options = lab_backend()
    return anyio.run(check, backend=backend, backend_options=options)


def _fix_order() -> None:
    """Have Trio run tasks in a fixed order, as Hypothesis does: by two private names, used where they exist.

    Trio shuffles each batch of runnable tasks so that nobody relies on an order. See
    https://github.com/python-trio/trio/issues/890 (`_ALLOW_DETERMINISTIC_SCHEDULING` and the module's `_r`).
    """
    from trio._core import _run  # pyright: ignore[reportPrivateUsage]

    if hasattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING"):
        setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010 - the type checkers know it as Final
    order = getattr(_run, "_r", None)
    if isinstance(order, random.Random):
        order.seed(0)
