"""A worker in a process of its own, which ends with this one whatever happens.

Its standard input is a pipe from here, and `--until-eof` ends it when that pipe closes: also when this process is killed and
cannot tidy up. It is in a session of its own, so that Ctrl-C reaches only this process, which then stops it in good order.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from anyio import create_task_group, fail_after, move_on_after, open_process
from anyio.abc import Process

from ..trouble import Trouble, one_line

STOP_SECONDS: Final = 5.0  # after SIGTERM; then it is killed
DRAIN_SECONDS: Final = 2.0


@asynccontextmanager
async def worker_process(place: str, url: str, options: Sequence[str], log: Path) -> AsyncGenerator[Process, None]:
    """Run `nursery-tasks run PLACE` on the broker *url* while the context is open; owns a nursery of one child.

    Args:
        log: The file for what it writes.

    Raises:
        Trouble: It ended by itself.

    Cancellation:
        Stops it, which takes at most some seconds.
    """
    command = [sys.executable, "-m", "nursery_tasks", "run", place, "--until-eof", "--drain", str(DRAIN_SECONDS), *options]
    with log.open("wb") as out:
        process = await open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"NURSERY_TASKS_BROKER": url},
            start_new_session=True,
        )
    try:
        async with create_task_group() as watching:
            watching.start_soon(_watch, process, log, name="worker process")
            yield process
            watching.cancel_scope.cancel()
    finally:
        await _stop(process)


async def _watch(process: Process, log: Path) -> None:
    code = await process.wait()
    text = log.read_text(errors="replace")  # noqa: ASYNC240 - a few lines, and nothing else is left to do
    last = [line for line in text.splitlines() if line.strip()][-1:]
    raise Trouble(f"the worker ended with exit code {code}", one_line(last[0]) if last else "it said nothing", f"see {log}")


async def _stop(process: Process) -> None:
    with move_on_after(STOP_SECONDS * 2, shield=True):
        try:
            if process.returncode is None:
                process.terminate()
                with fail_after(STOP_SECONDS):
                    await process.wait()
        except TimeoutError:
            process.kill()
        except ProcessLookupError:
            pass
        await process.aclose()
