"""A handler that holds the event loop for three leases of the usual length: its thread renews them, and nobody takes its jobs.

`tests/faults/test_kill.py` has the same with short leases.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from redis_server import fresh_url

from nursery_tasks import App

from . import outage_program

BLOCKED_SECONDS = 45.0


@pytest.mark.soak
@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_a_handler_that_blocks_the_loop_for_three_leases_keeps_its_jobs(tmp_path: Path, backend: str) -> None:
    log = tmp_path / "log"
    with fresh_url() as url:
        client = App(url)
        workers: list[subprocess.Popen[str]] = []

        def start() -> None:
            workers.append(
                subprocess.Popen(
                    [sys.executable, outage_program.__file__, backend],
                    env={**os.environ, "NURSERY_TASKS_BROKER": url, "LOG": str(log)},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            assert workers[-1].stdout is not None
            assert workers[-1].stdout.readline() == "ready\n"

        try:
            start()
            jobs = [client.job("work", 1, 1.0), client.job("block", 2, BLOCKED_SECONDS), client.job("work", 3, 1.0)]
            handles = client.sync.enqueue_many(jobs)
            while not log.exists() or len(log.read_text().split()) < 2:
                assert workers[0].poll() is None
                time.sleep(0.01)
            start()  # somebody who would take them
            assert [handle.result(timeout=2 * BLOCKED_SECONDS) for handle in handles] == [1, 2, 3]
            assert [handle.outcome().attempt for handle in handles] == [1, 1, 1]
            assert Counter(log.read_text().split()) == {"1": 1, "2": 1, "3": 1}
            assert [worker.poll() for worker in workers] == [None, None]
        finally:
            client.sync.close()
            for worker in workers:
                worker.kill()
                worker.communicate()
