"""Another revision of ours, to be measured beside this one: a checkout with an environment of its own, gone afterwards."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from measuring import HERE, progress

INSTALL_SECONDS = 300.0
GIT_SECONDS = 60.0
EXTRAS = "redis,rabbitmq"


@contextmanager
def open_revision(revision: str) -> Generator[Path, None, None]:
    """Check a revision out and install it in `.venv` below.

    Raises:
        SystemExit: There is no such revision, or it cannot be installed.
    """
    [commit] = _run("git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", seconds=GIT_SECONDS).split()
    with tempfile.TemporaryDirectory(prefix="nursery-tasks-revision-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "tree"
        try:
            _run("git", "worktree", "add", "--detach", str(home), commit, seconds=GIT_SECONDS)
            progress(f"installing {revision} into {home}")
            _run(sys.executable, "-m", "venv", str(home / ".venv"), seconds=INSTALL_SECONDS)
            python = str(home / ".venv" / "bin" / "python")
            _run(python, "-m", "pip", "install", "--quiet", "--editable", f"{home}[{EXTRAS}]", seconds=INSTALL_SECONDS)
            yield home
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(home)], cwd=HERE, check=False, capture_output=True)


def _run(*command: str, seconds: float) -> str:
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{' '.join(command)} has not ended in {seconds:g} s") from None
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout
