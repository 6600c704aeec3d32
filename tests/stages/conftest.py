"""The apps of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_tools import StagedApp
from support import app, memory_app, url

__all__ = ["app", "memory_app", "staged", "url"]


@pytest.fixture(params=["memory", "sqlite"])
def staged(request: pytest.FixtureRequest, tmp_path: Path) -> StagedApp:
    """An app for each test, not open, with two channels in memory."""
    return StagedApp(request.param, tmp_path)
