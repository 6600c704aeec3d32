"""A pipeline whose worker is killed again and again: no item is lost, and none is counted twice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis_server import fresh_url

PROGRAM = Path(__file__).parent / "pipeline_program.py"
SECONDS = 100.0


def run_and_kill(url: str, count: int, kills: int, log: Path) -> list[list[int]]:
    """Run the pipeline, kill it when it has got a little further, as often as *kills*; returns the totals that have left."""
    command = [sys.executable, str(PROGRAM), url, str(count), str(log)]
    for number in range(kills):
        before = len(totals(log))
        with subprocess.Popen(command) as victim:
            until = time.monotonic() + SECONDS / 2
            while len(totals(log)) <= before:
                assert victim.poll() is None, f"it has ended by itself after {number} kills"
                assert time.monotonic() < until, f"it came no further after {number} kills"
                time.sleep(0.01)
            victim.kill()
    subprocess.run(command, check=True, timeout=SECONDS)
    return totals(log)


def totals(log: Path) -> list[list[int]]:
    if not log.exists():
        return []
    return [[int(word) for word in line.split()] for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.timeout(150)
def test_no_item_is_lost_or_counted_twice_on_sqlite(tmp_path: Path) -> None:
    found = run_and_kill(f"sqlite:///{tmp_path}/jobs.db?synchronous=normal", 2_000, 2, tmp_path / "log")
    assert max(found) == [4_000, 2 * sum(range(2_000))]


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_ten_kills_and_ten_thousand_items(broker: str, tmp_path: Path) -> None:
    if broker == "redis":
        with fresh_url() as url:
            found = run_and_kill(url, 10_000, 10, tmp_path / "log")
    else:
        found = run_and_kill(f"sqlite:///{tmp_path}/jobs.db", 10_000, 10, tmp_path / "log")
    assert max(found) == [20_000, 2 * sum(range(10_000))]
