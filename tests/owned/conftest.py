"""Fixtures: a fleet, and the loops' names."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from .fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Generator[Fleet, None, None]:
    """Processes for one test."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture
def loop(anyio_backend: tuple[str, dict[str, object]]) -> str:
    """The loop's name: asyncio, uvloop or trio; the workers of a test run on the same as its client."""
    name, options = anyio_backend
    return "uvloop" if options.get("use_uvloop") else name
