"""The door is made of the same coroutines on each loop; what differs is sockets, which `test_http_hostile.py` has on all."""

from __future__ import annotations

from typing import Any

import pytest

LOOPS: list[Any] = [pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"), pytest.param(("trio", {}), id="trio")]


@pytest.fixture(scope="module", params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run the test on asyncio and on Trio."""
    return request.param
