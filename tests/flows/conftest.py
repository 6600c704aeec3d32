"""The fixtures of these tests stand in `tests/support.py`; and the three ways to run a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from support import app, memory_app, url

FOLDER: Final = Path(__file__).parent

__all__ = ["app", "memory_app", "url"]


@pytest.fixture(params=["run_local", "run", "enqueue"])
def how(request: pytest.FixtureRequest) -> str:
    """Run the test once in each way."""
    name: str = request.param
    return name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as thinned what would be the same test again: without a broker none makes a difference, and a loop hardly does."""
    for item in items:
        if FOLDER in item.path.parents and _is_said_elsewhere(item):
            item.add_marker(pytest.mark.thinned)


def _is_said_elsewhere(item: pytest.Item) -> bool:
    params: dict[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    broker = params.get("url", "memory")
    is_uvloop = params.get("anyio_backend") == ("asyncio", {"use_uvloop": True})
    return broker != "memory" and (params.get("how") == "run_local" or is_uvloop)
