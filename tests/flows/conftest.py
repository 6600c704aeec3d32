"""The fixtures of these tests stand in `tests/support.py`; and the three ways to run a flow."""

from __future__ import annotations

import pytest
from support import app, memory_app, url

__all__ = ["app", "memory_app", "url"]


@pytest.fixture(params=["run_local", "run", "enqueue"])
def how(request: pytest.FixtureRequest) -> str:
    """Run the test once in each way."""
    name: str = request.param
    return name
