"""What all tests share: the event loops that they run on."""

import asyncio
import compileall
import os
import signal
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import settings
from places import clear_memory, move_into_memory

collect_ignore = ["typing"]  # read by the type checkers, never run

# A slow machine is no wrong answer, and the run is shared by several processes; a hung test meets pytest's timeout.
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


PACKAGE = Path(__file__).parents[1] / "nursery_tasks"
PROCESSES_PER_CORE = 2.5  # with three the cores are hardly busier, and each test waits longer for its turn
MOST_PROCESSES = 16  # each of them reads all tests and starts servers of its own


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what the programs that tests start inherit: bytecode, the place of temporary files, and signals that work.

    Also where all of this runs in the background, with `&` or `nohup`: what is ignored here would be ignored there, too. A
    handler is not inherited.
    """
    _keep_bytecode(config)
    move_into_memory()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


def _keep_bytecode(config: pytest.Config) -> None:
    """Have the package and the tests compiled once and not by each process, also where the surroundings say otherwise.

    To compile the package takes as long as all else that a program does to start, and tests start hundreds. These write none
    of their own: Python may take a module that a test has just written again for the old one.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(PACKAGE, quiet=2)
    sys.dont_write_bytecode = False
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def pytest_unconfigure() -> None:
    """Tidy up, in the process that is the last one of the run."""
    clear_memory()


def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes `-n auto` is: more than there are cores, because most tests wait most of the time."""
    return min(int(PROCESSES_PER_CORE * (os.cpu_count() or 1)), MOST_PROCESSES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make quick` runs, and as thinned most of what a test on each broker would show again on each loop.

    AnyIO drives uvloop and a loop with eager tasks as it drives asyncio's own: in memory each test runs on asyncio and Trio,
    and every third one on each of the others. A broker that blocks is called in threads, and which loop is outside makes little
    difference to that: there each test runs on asyncio or on Trio, chosen by its name so that both have their half, and those
    about owned jobs on both.
    """
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and _is_shown_elsewhere(item):
            item.add_marker(pytest.mark.thinned)
        if _is_quick(item):
            item.add_marker(pytest.mark.quick)


_ON_A_SERVER = ("amqp", "redis")
_WITH_A_SERVER = {"redis_broker", "rabbit_broker"}  # folders whose tests start one, on whatever broker
_LIKE_ASYNCIO = ("uvloop", "asyncio-eager")


def _is_shown_elsewhere(item: pytest.Function) -> bool:
    words = set(item.callspec.id.split("-"))
    loop = next((backend.id for backend in BACKENDS if backend.values[0] is item.callspec.params.get("anyio_backend")), None)
    blocks = bool(words & {"sqlite", *_ON_A_SERVER}) or item.path.parent.name in _WITH_A_SERVER
    if loop is None:
        return False
    if loop in _LIKE_ASYNCIO:
        return blocks or crc32(item.nodeid.encode()) % 3 != _LIKE_ASYNCIO.index(loop)
    return blocks and "owned" not in item.path.parts and loop != ("asyncio", "trio")[_number(item, words) % 2]


def _number(item: pytest.Function, words: set[str]) -> int:
    """Return a number by which a test has its loop: another on one server than on the other, and independent on SQLite."""
    number = crc32(item.originalname.encode())
    place = next((place for place, name in enumerate(_ON_A_SERVER) if name in words), None)
    return number >> 1 if place is None else number + place


_QUICK = {"model", "app", "worker", "flows", "workflows", "testing"}
_PROCESSES = {"test_kills.py", "test_exits.py", "test_forks.py"}  # start some
_NOT_QUICK = {"uvloop", "trio", "eager", *_ON_A_SERVER}


def _is_quick(item: pytest.Item) -> bool:
    """Say whether a test runs in this process, on asyncio or no loop, in memory or on SQLite, and shows much in little time."""
    words = set(item.callspec.id.split("-")) if isinstance(item, pytest.Function) and hasattr(item, "callspec") else set()
    return item.path.parent.name in _QUICK and item.path.name not in _PROCESSES and not words & _NOT_QUICK


@pytest.fixture(scope="module", params=BACKENDS)  # module: AnyIO's own has this scope, so wider fixtures may use it
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run the test once on each event loop; a test for one of them parametrizes this name itself."""
    backend: Backend = request.param
    return backend
