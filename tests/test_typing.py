"""mypy and pyright accept the right calls and reject every wrong one, and only those."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRONG = ROOT / "tests" / "mistyped" / "wrong_calls.py"
RIGHT = ROOT / "tests" / "typing" / "right_calls.py"


def run_mypy(file: Path) -> set[int]:
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-incremental", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    found = re.findall(rf"{re.escape(file.name)}:(\d+):(?:\d+:)? error", ended.stdout)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    assert bool(found) == bool(ended.returncode), ended.stdout  # nothing is wrong elsewhere
    return {int(line) for line in found}


def run_pyright(file: Path) -> set[int]:
    ended = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", str(file)], cwd=ROOT, capture_output=True, text=True
    )
    report = json.loads(ended.stdout)
    return {item["range"]["start"]["line"] + 1 for item in report["generalDiagnostics"] if item["severity"] == "error"}


def marked(file: Path) -> set[int]:
    return {number for number, line in enumerate(file.read_text().splitlines(), 1) if "  # wrong: " in line}


CHECKERS = [
    pytest.param(check, id=name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name, check in (("mypy", run_mypy), ("pyright", run_pyright))
]


@pytest.mark.timeout(85)  # a type checker reads all of the package first
@pytest.mark.parametrize("check", CHECKERS)
def test_every_wrong_call_is_rejected_and_nothing_else(check: object) -> None:
    assert callable(check)
    assert check(WRONG) == marked(WRONG)


@pytest.mark.timeout(85)
@pytest.mark.parametrize("check", CHECKERS)
def test_the_right_calls_are_accepted_with_their_types(check: object) -> None:
    assert callable(check)
    assert check(RIGHT) == set()
