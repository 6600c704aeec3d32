"""What all tests share: the event loops that they run on."""

import asyncio
import sys
from typing import Any

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


_ON_A_SERVER = {"amqp", "redis"}
_OTHER_LOOPS = {"uvloop", "asyncio-eager"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what would be tested twice: brokers on a server are called in threads, or have a loop of their own.

    Which of asyncio's loops is outside makes no difference to them that SQLite, called in threads as well, would not show.
    """
    left_out = [item for item in items if _is_on_a_server(item) and _loop_of(item) in _OTHER_LOOPS]
    if left_out:
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=left_out)


def _is_on_a_server(item: pytest.Item) -> bool:
    return (
        isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and bool(_ON_A_SERVER & set(item.callspec.id.split("-")))
    )


def _loop_of(item: pytest.Item) -> str | None:
    """Return the id of the event loop, as it stands in `BACKENDS`."""
    chosen = (
        item.callspec.params.get("anyio_backend") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )
    return next((str(backend.id) for backend in BACKENDS if backend.values[0] is chosen), None)


@pytest.fixture(scope="module", params=BACKENDS)  # module: AnyIO's own has this scope, so wider fixtures may use it
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run the test once on each event loop; a test for one of them parametrizes this name itself."""
    backend: Backend = request.param
    return backend
