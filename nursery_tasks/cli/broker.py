"""From `--broker` and `--app` to an open app, for the commands that look at jobs from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from .. import App
from .loading import load_app
from .trouble import USAGE, Trouble

T = TypeVar("T")


def find_app(broker: str | None, app: str | None, *, create: bool = False) -> App:
    """Return the app that is meant, not opened.

    Args:
        create: A database that does not exist yet may be made.

    Raises:
        Trouble: There is nothing to look at.
    """
    if broker is not None and app is not None:
        raise Trouble("--broker and --app both say where the jobs are", "leave one of the two out", code=USAGE)
    found = load_app(app).app if app is not None else App(broker)
    if found.url.startswith("memory:"):
        raise Trouble("the jobs of memory: live inside one program; no other one can see them", "use sqlite:///jobs.db")
    missing = None if create else missing_file(found.url)
    if missing is not None:
        raise Trouble(
            f"there is no database {missing}, seen from {Path.cwd()}",
            "name another one: --broker sqlite:///path/to/jobs.db, or --app module:app",
            "the first `nursery-tasks run` or `nursery-tasks call` makes it",
        )
    return found


def missing_file(url: str) -> Path | None:
    """Return the file of a database that does not exist yet. Opening it would make it."""
    path = database_file(url)
    return path if path is not None and not path.exists() and path.parent.is_dir() else None


def database_file(url: str) -> Path | None:
    """Return the file that a URL names, None for other brokers."""
    if not url.startswith("sqlite:///"):
        return None
    path = unquote(url.removeprefix("sqlite:///").partition("?")[0])
    if url != url.strip() or not path.isprintable() or path.startswith((":memory:", "file:")):
        return None  # it is refused, and that says why
    return Path(path).absolute()


async def ask(app: App, question: Callable[..., T], *args: object) -> T:
    """Make one call to an open app's broker; *question* is a method of its admin side."""
    return await app.connection.gateway.call(question, *args)
