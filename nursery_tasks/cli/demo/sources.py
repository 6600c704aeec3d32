"""The demo's input: the standard library's own source files, which every machine with Python has."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Final

ENOUGH: Final = 501  # files
_FOREIGN: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})
_TESTS: Final = frozenset({"test", "tests", "idle_test"})  # they hold broken sources on purpose, and twice as much text


def find_sources(limit: int | None) -> tuple[Path, list[Path]]:
    """Return the standard library's directory and its source files; the tests only where the rest is too little."""
    root = Path(sysconfig.get_path("stdlib"))
    found = [path for path in sorted(root.rglob("*.py")) if not _FOREIGN & set(path.relative_to(root).parts)]
    without_tests = [path for path in found if not _TESTS & set(path.relative_to(root).parts)]
    return root, (without_tests if len(without_tests) >= ENOUGH else found)[:limit]
