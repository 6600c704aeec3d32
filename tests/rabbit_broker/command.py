"""The command line beside a RabbitMQ node: in this process, which is quick, or each command as a process of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from nursery_tasks.cli.main import run_command

SECONDS = 50.0


@dataclass(frozen=True)
class Ended:
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it says with --json."""
        assert self.code == 0, self
        return json.loads(self.out)

    def assert_error(self, *texts: str, code: int = 1) -> None:
        """Assert that it failed in at most three lines, with these texts in them."""
        assert self.code == code, self
        assert 1 <= len(self.err.splitlines()) <= 3, self.err
        assert self.err.startswith("error: ")
        assert "Traceback" not in self.err
        for text in texts:
            assert text in self.err


def command(url: str, *words: str, stdin: bytes = b"", **variables: str) -> Ended:
    """Run a command to its end as `main` does, in this process and its main thread; *url* is its broker's."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin))
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch("sys.stdin", given),
        patch.dict(os.environ, _environment(url, variables)),
    ):
        code = run_command(list(words))
    return Ended(code, out.getvalue(), err.getvalue())


def program(url: str, *words: str, stdin: bytes = b"", folder: Path | None = None, **variables: str) -> Ended:
    """Run a command to its end as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "nursery_tasks", *words],
        cwd=folder,
        env={**os.environ, **_environment(url, variables), "PYTHONWARNINGS": "error"},
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def _environment(url: str, variables: dict[str, str]) -> dict[str, str]:
    return {"NURSERY_TASKS_BROKER": url, "NO_COLOR": "1", **variables}
