"""What all tests share: the event loops that they run on."""

import asyncio
import os
import signal
import sys
from typing import Any
from zlib import crc32

import pytest
from hypothesis import settings

collect_ignore = ["typing"]  # read by the type checkers, never run

# A slow machine is no wrong answer, and the run is shared by two processes; a hung test meets pytest's timeout.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

Backend = tuple[str, dict[str, Any]]


def eager_loop() -> asyncio.AbstractEventLoop:
    """Make a loop where `asyncio.create_task()` runs the first step at once.

    AnyIO's own children start lazily even here; the loop is tested because an application may have chosen it.
    """
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]  # since 3.12
    return loop


BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]
if sys.version_info >= (3, 12):
    BACKENDS.append(pytest.param(("asyncio", {"loop_factory": eager_loop}), id="asyncio-eager"))


def pytest_configure() -> None:
    """Have Ctrl-C work in the programs that tests start, also where a shell runs all of this in the background with `&`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


EVERY_LOOP = "NURSERY_TASKS_EVERY_LOOP"  # in the environment: leave nothing out
_ON_A_SERVER = ("amqp", "redis")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out most of what a test on each broker would show again on each loop.

    A broker that blocks is called in threads, and which loop is outside makes little difference to that. In memory each test
    runs on each loop; on SQLite on asyncio and Trio; on a server on one of the two, chosen by the test's name so that both have
    their half there, and those about owned jobs on both.
    """
    if EVERY_LOOP in os.environ:
        return
    left_out = [item for item in items if isinstance(item, pytest.Function) and _is_left_out(item)]
    if left_out:
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=left_out)


def _is_left_out(item: pytest.Function) -> bool:
    if not hasattr(item, "callspec"):
        return False
    words = set(item.callspec.id.split("-"))
    loop = next((backend.id for backend in BACKENDS if backend.values[0] is item.callspec.params.get("anyio_backend")), None)
    place = next((number for number, name in enumerate(_ON_A_SERVER) if name in words), None)
    if loop is None or (place is None and "sqlite" not in words):
        return False
    if loop not in ("asyncio", "trio"):
        return True
    if place is None or "owned" in item.path.parts:
        return False
    return loop != ("asyncio", "trio")[(crc32(item.originalname.encode()) + place) % 2]


@pytest.fixture(scope="module", params=BACKENDS)  # module: AnyIO's own has this scope, so wider fixtures may use it
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run the test once on each event loop; a test for one of them parametrizes this name itself."""
    backend: Backend = request.param
    return backend
